import struct

import pytest
import torch
from test_listops_run import tiny

from sstricks.experiments.listops.pictures import draw_curves, draw_parses
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.runs.metrics import MetricsLog


def size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.mark.parametrize("edges", ["arborescence", "independent-undirected", "ground-truth"])
def test_parses_are_drawn(tmp_path, edges):
    experiment = ListOpsRun(tiny(edges=edges, utility=None if edges == "ground-truth" else "gumbel"))
    before = torch.get_rng_state()
    width, height = size(draw_parses(experiment.module(), experiment.data(), tmp_path / "parses.png"))
    assert torch.equal(before, torch.get_rng_state())
    assert width > 1200
    assert height > 800


def test_curves_are_drawn_even_without_edges(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 4):
        log.append({"step": step, "train/accuracy": 0.5, "valid/accuracy": 0.4, "valid/edge_precision": float("nan")})
    log.close()
    assert size(draw_curves(tmp_path, tmp_path / "curves.png"))[0] > 1000

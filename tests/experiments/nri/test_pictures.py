import struct

import pytest
import torch

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.pictures import draw_comparison, draw_curves, draw_graphs
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.metrics import MetricsLog


def size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.fixture
def folder(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 8):
        row = {"train/elbo": -1e4 / step, "valid/elbo": -2e4 / step, "valid/edge_precision": 0.1 * step}
        log.append({"step": step, **row, "valid/edge_recall": float("nan") if step == 3 else 0.5})
    log.close()
    return tmp_path


@pytest.mark.parametrize("edges", ["spanning-tree", "independent"])
def test_graphs_are_drawn(tmp_path, edges):
    run = GraphLayoutRun(
        NRIConfig(edges, "sst", "quick", num_frames=4, hidden=8, train_examples=200, valid_examples=1, test_examples=9)
    )
    before = torch.get_rng_state()
    width, height = size(draw_graphs(run.module(), run.data(), tmp_path / "graphs.png"))
    assert torch.equal(before, torch.get_rng_state())
    assert width > 1200
    assert height > 800


def test_curves_are_drawn_even_with_gaps(folder):
    assert size(draw_curves(folder, folder / "curves.png"))[0] > 1000
    assert size(draw_comparison({"one": folder, "two": folder}, folder / "both.png"))[0] > 1000


def test_curves_of_a_run_without_rows_are_empty_axes(tmp_path):
    assert size(draw_curves(tmp_path, tmp_path / "curves.png"))[0] > 1000

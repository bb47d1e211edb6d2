"""The pictures that need models, drawn with models as they are initialised, through the command."""

import json
import struct
from dataclasses import replace

import pytest
import torch

from sstricks import cli
from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.corpus import digest_of, write_corpus
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.l2x.synthetic import synthetic_corpus
from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.run import GraphLayoutRun


def size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def untrained(run, folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(run.to_json()))
    torch.save({"state_dict": run.module().state_dict()}, folder / "checkpoints" / "best.ckpt")
    return folder


def said(capsys):
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())


def test_layouts(tmp_path, capsys):
    tree = NRIConfig("spanning-tree", "sst", "quick", num_nodes=6, num_frames=4, hidden=8, train_examples=150)
    tree = replace(tree, valid_examples=4, test_examples=9)
    for config in (tree, replace(tree, edges="independent")):
        untrained(GraphLayoutRun(config), tmp_path / "runs" / config.edges)
    command = ["plot", "layout", str(tmp_path / "runs"), "--out", str(tmp_path / "layout.png"), "--force"]
    assert cli.main(command) == 0
    width, height = size(tmp_path / "layout.png")
    assert cli.main([*command, "--graphs", "9", "2"]) == 0
    assert size(tmp_path / "layout.png") == (width, pytest.approx(2 * height, rel=0.3))
    assert size(tmp_path / "layout.png")[1] > height
    for wrong in ("0", "10"):
        assert cli.main([*command, "--graphs", "1", wrong]) == 2
        assert "there are 9 test graphs, numbered from 1" in said(capsys)[1]
    untrained(GraphLayoutRun(replace(tree, num_frames=5)), tmp_path / "runs" / "longer")
    assert cli.main(command) == 2
    assert "num_frames is 4" in said(capsys)[1]


def test_parses(tmp_path, capsys):
    sizes = {"train_examples": 100, "valid_examples": 40, "test_examples": 40, "hidden": 8, "message_steps": 2}
    runs = tmp_path / "runs"
    for name, kind in {
        "tree": ("gnn", "arborescence", "gumbel"),
        "gold": ("gnn", "ground-truth", None),
        "lstm": ("lstm", None, None),
    }.items():
        untrained(ListOpsRun(ListOpsConfig(*kind, "quick", **sizes)), runs / name)
    command = ["plot", "parses", "--out", str(tmp_path / "parses.png"), "--force"]
    assert cli.main([*command, str(runs), "--example", "1"]) == 0
    both = size(tmp_path / "parses.png")
    assert cli.main([*command, str(runs / "tree"), "--example", "1"]) == 0
    assert both[1] > 1.5 * size(tmp_path / "parses.png")[1]
    assert cli.main([*command, str(runs), "--example", "9"]) == 2
    assert "--example 9: there are" in said(capsys)[1]
    assert cli.main([*command, str(runs / "lstm")]) == 2
    assert "an LSTM has no parses" in said(capsys)[1]


def test_words(tmp_path, capsys):
    data = tmp_path / "data"
    write_corpus(synthetic_corpus(200, 40, 30, seed=0), data)
    for relaxation in ("corr-top-k", "euclid"):
        config = L2XConfig(
            str(data), digest_of(data, "rooms"), "synthetic", "rooms", relaxation, 3, "simple", "quick", batch_size=20
        )
        untrained(L2XRun(config), tmp_path / "runs" / relaxation)
    command = ["plot", "words", str(tmp_path / "runs"), "--out", str(tmp_path / "words.png"), "--force"]
    assert cli.main([*command, "--review", "3"]) == 0
    assert min(size(tmp_path / "words.png")) > 200
    assert cli.main([*command, "--review", "30"]) == 2
    assert "there are 30 test reviews" in said(capsys)[1]

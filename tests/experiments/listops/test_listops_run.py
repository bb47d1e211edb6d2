import dataclasses
import io
import json
import math
import struct

import pytest
import torch
from rich.console import Console

from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.overrides import ListOpsOverrides
from sstricks.experiments.listops.presets import preset_config
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Silence, display_on
from sstricks.experiments.runs.run import train

MODELS = [
    ("lstm", None, None),
    ("gnn", "ground-truth", None),
    ("gnn", "arborescence", "gumbel"),
    ("gnn", "arborescence", "normal"),
    ("gnn", "arborescence", "negative-exponential"),
    ("gnn", "spanning-tree", "gumbel"),
    ("gnn", "independent-directed", "gumbel"),
    ("gnn", "independent-undirected", "normal"),
]


def tiny(model="gnn", edges="arborescence", utility="gumbel", **changes):
    sizes = {"train_examples": 100, "valid_examples": 40, "test_examples": 40, "hidden": 8, "message_steps": 2}
    return ListOpsConfig(
        model, edges, utility, "quick", **{**sizes, "batch_size": 20, "steps": 8, "valid_every": 4, **changes}
    )


def run(config, path):
    return train(ListOpsRun(config), path, resume=False, jobs=1, display=Silence())


def test_an_epoch_is_as_many_steps_as_show_every_expression_once():
    for examples, share, batch, steps in ((100, 1.0, 20, 5), (100, 0.03, 20, 1), (45, 1.0, 20, 3), (100, 0.605, 20, 4)):
        experiment = ListOpsRun(tiny(train_examples=examples, train_share=share, batch_size=batch))
        batches = experiment.data().train_dataloader().indices
        shown = torch.cat([batches[step] for step in range(steps)])
        assert sorted(shown.tolist()) == list(range(len(experiment.data().train)))
        assert experiment.summary()["epochs"] == pytest.approx(8 / steps, abs=0.005)


@pytest.mark.parametrize(("model", "edges", "utility"), MODELS)
def test_every_model_trains_and_reports(tmp_path, model, edges, utility):
    config = tiny(model, edges, utility)
    result = run(config, tmp_path)
    assert 0 <= result["test/accuracy"] <= 1
    for name in ("test/edge_precision", "test/edge_recall"):
        if model == "lstm":
            assert result[name] is None
        else:
            assert 0 <= result[name] <= 1
    assert (result["test/edge_recall"] == 1) == (edges == "ground-truth")
    assert (result["model"], result["edges"], result["utility"]) == (model, edges, utility)
    assert (result["preset"], result["seed"], result["steps"], result["epochs"]) == ("quick", 0, 8, 1.6)
    assert result["version"]
    assert ListOpsConfig.from_json(json.loads((tmp_path / "config.json").read_text())) == config
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8]
    assert (tmp_path / "parses.png").exists() == (model != "lstm")
    assert (tmp_path / "curves.png").exists()


def test_a_model_without_edges_shows_none(tmp_path):
    said = io.StringIO()
    for kind in (("lstm", None, None), ("gnn", "arborescence", "gumbel")):
        train(
            *(ListOpsRun(tiny(*kind, steps=4)), tmp_path / kind[0]),
            resume=False,
            jobs=1,
            display=display_on(Console(file=said, width=200)),
        )
    lstm, gnn = (line for line in said.getvalue().splitlines() if "accuracy" in line)
    assert "edge" not in lstm
    assert "nan" not in lstm
    assert "edge precision 0." in gnn
    widths = [struct.unpack(">I", (tmp_path / name / "curves.png").read_bytes()[16:20])[0] for name in ("lstm", "gnn")]
    assert widths[0] == widths[1] / 2


def test_a_single_test_expression_is_drawn(tmp_path):
    result = run(tiny(test_examples=1), tmp_path)
    assert result["test_examples"] == 1
    assert (tmp_path / "parses.png").stat().st_size > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gold_edges_teach_the_values(tmp_path, precision):
    config = tiny(
        edges="ground-truth", utility=None, hidden=24, message_steps=5, precision=precision, lr=5e-3, steps=240
    )
    run(dataclasses.replace(config, valid_every=60, dropout=0.0), tmp_path)
    rows = read_metrics(tmp_path)
    assert rows[-1]["train/accuracy"] > rows[0]["train/accuracy"] + 0.2


def test_evaluation_takes_hard_graphs_whatever_the_temperature():
    graphs = []
    for t in (1e6, 1e-3):
        experiment = ListOpsRun(tiny(temperature=t, final_temperature=t))
        model, batch = experiment.module().eval(), next(iter(experiment.data().test_dataloader()))
        torch.manual_seed(0)
        graphs.append(model.sample_graphs(batch))
        assert set(graphs[-1].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(*graphs)


def test_the_temperature_falls_by_a_constant_factor():
    config = tiny(temperature=1.0, final_temperature=0.25, steps=400, valid_every=100)
    assert [config.temperature_at(step) for step in (0, 200, 400)] == pytest.approx([1.0, 0.5, 0.25])
    assert tiny().temperature_at(5) == 1.0


def test_trials_differ_in_their_weights(tmp_path):
    config = tiny(trials=2, trial_steps=4)
    result = run(config, tmp_path)
    assert result["trials"] == 2
    assert result["trial"] in {0, 1}
    weights = [next(ListOpsRun(config).trial(i, 4).module().parameters()) for i in (0, 1)]
    assert not torch.equal(*weights)


def test_diverged_parameters_are_told():
    experiment = ListOpsRun(tiny())
    model, batch = experiment.module(), next(iter(experiment.data().test_dataloader()))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(ValueError, match=r"diverged at step 0.*Lower --lr"):
        model.sample_graphs(batch)


@pytest.mark.parametrize(
    ("model", "edges", "utility", "message"),
    [
        ("lstm", "arborescence", "gumbel", "none for the LSTM"),
        ("gnn", None, None, "edges is None, expected edges"),
        ("gnn", "arborescence", None, "expected a utility where edges are learnt"),
        ("gnn", "ground-truth", "gumbel", "and none elsewhere"),
    ],
)
def test_what_does_not_fit_together_is_refused(model, edges, utility, message):
    with pytest.raises(ValueError, match=message):
        tiny(model, edges, utility)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout": 1.0}, "dropout is 1.0, expected a number from 0 to below 1.0"),
        ({"negligible": -0.1}, "negligible is -0.1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected a number above 0"),
        ({"train_share": 2.0}, "train_share is 2.0, expected a share above 0 and at most 1"),
        ({"valid_share": 0.0}, "valid_share is 0.0, expected a share above 0 and at most 1"),
        ({"steps": 9}, "steps is 9, expected a multiple of valid_every=4"),
        ({"trials": 4, "trial_steps": 6}, "steps is 8, expected at least 12"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)


def test_overrides_are_fields_of_the_configuration():
    fields = {field.name: field for field in dataclasses.fields(ListOpsConfig)}
    assert {field.name for field in dataclasses.fields(ListOpsOverrides)} <= fields.keys()
    assert ListOpsOverrides(temperature=0.5).given() == {"temperature": 0.5, "final_temperature": 0.5}
    given = ListOpsOverrides(temperature=0.5, final_temperature=0.1).given()
    assert given == {"temperature": 0.5, "final_temperature": 0.1}


@pytest.mark.parametrize("preset", ["paper", "cpu", "quick"])
@pytest.mark.parametrize(("model", "edges", "utility"), MODELS)
def test_presets_are_valid_and_survive_json(preset, model, edges, utility):
    config = preset_config(preset, model, edges, utility, seed=3)
    assert (config.preset, config.model, config.edges, config.utility) == (preset, model, edges, utility)
    assert (config.seed, config.hidden, config.message_steps) == (3, 60, 5)
    assert ListOpsConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_paper_preset_has_the_papers_sizes():
    config = preset_config("paper", "gnn", "arborescence", "gumbel")
    assert (config.train_examples, config.valid_examples, config.test_examples) == (100_000, 10_000, 10_000)
    assert (config.hidden, config.batch_size, config.valid_every, config.dropout) == (60, 100, 800, 0.1)
    assert config.steps / 1000 == pytest.approx(50, abs=1)
    assert (config.temperature, config.lr_decay, config.negligible) == (config.final_temperature, 0, 0)


def test_a_configuration_of_something_else_is_refused():
    with pytest.raises(ValueError, match="experiment 'nri'"):
        ListOpsConfig.from_json({**tiny().to_json(), "experiment": "nri"})
    with pytest.raises(ValueError, match="'depth'"):
        ListOpsConfig.from_json({**tiny().to_json(), "depth": 1})

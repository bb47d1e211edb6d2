import dataclasses
import json
import math

import pytest
import torch

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.overrides import NRIOverrides
from sstricks.experiments.nri.presets import preset_config
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import train

EDGES = ("spanning-tree", "top-k", "independent")
ESTIMATORS = ("sst", "reinforce", "nvil")


def tiny(edges="spanning-tree", estimator="sst", **changes):
    return NRIConfig(
        edges,
        estimator,
        "quick",
        **{
            **{"num_nodes": 5, "num_frames": 4, "train_examples": 64, "valid_examples": 32, "test_examples": 32},
            **{"hidden": 8, "batch_size": 16, "steps": 8, "valid_every": 4, "lr": 1e-3},
            **changes,
        },
    )


def run(config, path):
    return train(GraphLayoutRun(config), path, resume=False, jobs=1, display=Silence())


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_combination_trains_and_reports(tmp_path, edges, estimator):
    result = run(tiny(edges, estimator), tmp_path)
    for name in ("test/elbo", "test/edge_precision", "test/edge_recall", "valid/elbo"):
        assert math.isfinite(result[name])
    assert 0 <= result["test/edge_precision"] <= 1
    assert result["edges"] == edges
    assert result["estimator"] == estimator
    assert (result["preset"], result["seed"], result["steps"], result["num_frames"]) == ("quick", 0, 8, 4)
    assert result["chance/edge_precision"] == pytest.approx(2 / 5)
    assert NRIConfig.from_json(json.loads((tmp_path / "config.json").read_text())) == tiny(edges, estimator)
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8]


def test_training_improves_the_elbo(tmp_path):
    run(tiny(steps=60, valid_every=20, lr=5e-3, temperature=1e6), tmp_path)
    rows = read_metrics(tmp_path)
    assert rows[-1]["train/elbo"] > rows[0]["train/elbo"] + 10


def test_the_elbo_of_the_test_is_that_of_hard_samples(tmp_path):
    # With a temperature this high every relaxed sample is the same; were it used, graphs would not matter.
    hot, cold = (GraphLayoutRun(tiny(temperature=t)).module().eval() for t in (1e6, 1e-3))
    positions = torch.randn(6, 4, 5, 2)
    for model in (hot, cold):
        torch.manual_seed(0)
        graphs, _ = model.sample_graphs(positions)
        assert set(graphs.unique().tolist()) == {0.0, 1.0}
    torch.manual_seed(0)
    assert torch.equal(hot.sample_graphs(positions)[0], graphs)


def test_trials_go_through_the_temperatures(tmp_path):
    config = tiny(trials=2, trial_steps=4, trial_temperatures=(0.5, 2.0))
    result = run(config, tmp_path)
    assert result["trials"] == 2
    assert result["temperature"] == (0.5, 2.0)[result["trial"]]
    assert result["seed"] == 0
    weights = [next(GraphLayoutRun(config).trial(i, 4).module().parameters()) for i in (0, 1)]
    assert not torch.equal(*weights)


def test_weight_decay_is_for_the_encoder_and_the_baseline():
    model = GraphLayoutRun(tiny(estimator="nvil", weight_decay=0.1)).module()
    decayed, plain = model.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in plain["params"]} == {id(p) for p in model.decoder.parameters()}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_diverged_parameters_are_told():
    model = GraphLayoutRun(tiny()).module()
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match=r"diverged at step 0.*Lower --lr"):
        model.sample_graphs(torch.randn(2, 4, 5, 2))


def test_overrides_are_fields_of_the_configuration():
    fields = {field.name: field for field in dataclasses.fields(NRIConfig)}
    assert {field.name for field in dataclasses.fields(NRIOverrides)} <= fields.keys()
    assert NRIOverrides(lr=0.5, temperature=2.0).given() == {"lr": 0.5, "temperature": 2.0, "trial_temperatures": ()}


@pytest.mark.parametrize("preset", ["paper", "cpu", "quick"])
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_presets_are_valid_and_survive_json(preset, edges, estimator):
    config = preset_config(preset, edges, estimator, seed=3)
    assert (config.preset, config.edges, config.estimator, config.seed) == (preset, edges, estimator, 3)
    assert (config.num_nodes, config.num_frames) == (10, 10)
    assert NRIConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_paper_preset_has_the_papers_sizes():
    config = preset_config("paper", "spanning-tree")
    assert (config.train_examples, config.valid_examples, config.test_examples) == (50_000, 10_000, 10_000)
    assert (config.hidden, config.batch_size, config.steps, config.valid_every) == (256, 128, 50_000, 500)


def test_a_configuration_of_something_else_is_refused():
    with pytest.raises(ValueError, match="experiment 'listops'"):
        NRIConfig.from_json({**tiny().to_json(), "experiment": "listops"})
    with pytest.raises(ValueError, match="'depth'"):
        NRIConfig.from_json({**tiny().to_json(), "depth": 1})

import dataclasses
import math

import pytest

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.overrides import L2XOverrides
from sstricks.experiments.l2x.ranges import ranges_of as l2x_ranges
from sstricks.experiments.listops.overrides import ListOpsOverrides
from sstricks.experiments.listops.presets import preset_config as listops_preset
from sstricks.experiments.listops.ranges import ranges_of as listops_ranges
from sstricks.experiments.nri.overrides import NRIOverrides
from sstricks.experiments.nri.presets import preset_config as nri_preset
from sstricks.experiments.nri.ranges import ranges_of as nri_ranges
from sstricks.experiments.sweep.ranges import Choice, LogUniform, Uniform, draw

RANGES = {"lr": LogUniform(1e-4, 1e-2), "t": Uniform(0.1, 2.0), "decay": Choice((0.0, 1e-6, 1e-5))}
PRESETS = ("paper", "cpu", "quick")


def l2x(gradient):
    return L2XConfig("data", "digest", "hotels", "service", "ef-top-k", 10, "simple", "paper", gradient=gradient)


def test_draws_have_their_law():
    trials = [draw(RANGES, 0, trial) for trial in range(2000)]
    logs, temperatures = ([f(trial[name]) for trial in trials] for f, name in ((math.log10, "lr"), (float, "t")))
    for values, low, high in ((logs, -4, -2), (temperatures, 0.1, 2.0)):
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(values) <= high
        for quarter in range(4):
            bounds = [low + (high - low) * (quarter + side) / 4 for side in (0, 1)]
            assert sum(bounds[0] <= value < bounds[1] for value in values) == pytest.approx(500, abs=100)
    for value in (0.0, 1e-6, 1e-5):
        assert sum(trial["decay"] == value for trial in trials) == pytest.approx(2000 / 3, abs=110)
    correlation = sum((a + 3) * (b - 1.05) for a, b in zip(logs, temperatures, strict=True)) / 2000
    assert abs(correlation) < 0.05
    assert len({trial["seed"] for trial in trials}) == 2000


def test_a_draw_depends_on_the_seed_and_the_trial_and_on_no_other_range():
    assert draw(RANGES, 3, 5) == draw(dict(reversed(RANGES.items())), 3, 5)
    assert draw({"lr": RANGES["lr"]}, 3, 5)["lr"] == draw(RANGES, 3, 5)["lr"]
    assert draw(RANGES, 3, 5) != draw(RANGES, 4, 5)
    assert draw(RANGES, 3, 5)["seed"] not in {draw(RANGES, seed, 5)["seed"] for seed in range(3)}


def test_values_can_be_typed_again():
    assert all(len(f"{draw(RANGES, 0, trial)['lr']:.4g}") <= 9 for trial in range(50))
    assert all(float(f"{value:.4g}") == value for value in draw(RANGES, 0, 7).values() if isinstance(value, float))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("estimator", ["sst", "reinforce", "nvil"])
def test_the_presets_of_graph_layout_are_inside(preset, estimator):
    config = nri_preset(preset, "spanning-tree", estimator)
    ranges = nri_ranges(config)
    assert_inside(config, ranges)
    assert set(ranges) == ({"lr", "temperature"} if estimator == "sst" else {"lr", "weight_decay", "baseline_decay"})
    assert set(ranges) <= fields(NRIOverrides)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "model", [("lstm", None, None), ("gnn", "ground-truth", None), ("gnn", "arborescence", "gumbel")]
)
def test_the_presets_of_listops_are_inside(preset, model):
    config = listops_preset(preset, *model)
    ranges = listops_ranges(config)
    assert_inside(config, ranges)
    assert set(ranges) == {"lr", "weight_decay"} | ({"temperature"} if model[2] else set())
    assert set(ranges) <= fields(ListOpsOverrides)


def test_the_ranges_of_l2x_are_the_papers():
    ranges = l2x_ranges(l2x("exact"))
    assert [round(value * 1e4) for value in ranges["lr"].values] == [1, 3, 5, 10, 30, 50, 100]
    assert [round(value * 1e4) for value in ranges["lr_final"].values] == [1, 10, 100, 1000]
    assert [round(value * 10) for value in ranges["lr_share"].values] == [5, 6, 7, 8, 9, 10]
    assert [round(value * 1e6) for value in ranges["weight_decay"].values] == [0, 1, 10, 100]
    assert ranges["temperature"] == Uniform(0.1, 2.0)
    assert set(ranges) <= fields(L2XOverrides)
    assert set(l2x_ranges(l2x("finite-difference"))) - set(ranges) == {"finite_difference_eps"}


def assert_inside(config, ranges):
    for name, range_ in ranges.items():
        value = getattr(config, name)
        if isinstance(range_, Choice):
            assert value in range_.values
        else:
            assert range_.low < value < range_.high or (name == "weight_decay" and value == 0)


def fields(overrides):
    return {field.name for field in dataclasses.fields(overrides)}

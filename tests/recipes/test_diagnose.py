"""sst diagnose: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import csv
import itertools

import pandas as pd
import pytest
import torch

import sstricks_cli as cli
from sstricks.recipes.diagnose import random_loss

TINY = ("--samples", "40", "--truth-samples", "200", "--temperatures", "0.5", "2")


def diagnose(*arguments: object) -> int:
    return cli.main(["diagnose", *TINY, *map(str, arguments)])


@pytest.mark.parametrize("structure", ["one-hot", "subset", "k-subset", "spanning-tree"])
def test_every_structure_is_diagnosed(structure: str, capsys):
    assert diagnose("--structure", structure, "--n", 4) == 0
    printed = capsys.readouterr().out
    for text in ("relaxed", "straight-through", "REINFORCE on U", "0.5", "Truth:"):
        assert text in printed


def test_files_are_written_and_never_overwritten(tmp_path, capsys):
    table, picture = tmp_path / "a.csv", tmp_path / "a.png"
    assert diagnose("--out", table, picture) == 0
    assert f"Written: {picture}" in capsys.readouterr().out
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["temperature"] for row in rows[:4]] == ["0.5", "2.0"] * 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = table.read_bytes()
    assert diagnose("--out", tmp_path / "b.csv", table) == 2
    assert f"{table}: it exists and was not touched" in " ".join(capsys.readouterr().err.split())
    assert table.read_bytes() == before
    assert not (tmp_path / "b.csv").exists()


def test_the_seed_decides_and_may_have_any_size(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2**70)):
        assert diagnose("--seed", seed, "--out", tmp_path / f"{name}.csv") == 0
    a, b, c = (pd.read_csv(tmp_path / f"{name}.csv").drop(columns="milliseconds") for name in "abc")
    assert a.equals(b)
    assert not a.equals(c)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.doc"], "--out a.doc: found the suffix '.doc', expected one of .csv, .png, .pdf, .svg"),
        (["--structure", "k-subset", "--k", "9"], "k: found 9, expected an integer from 1 to n = 5"),
        (["--n", "0"], "n: found 0"),
        (["--temperatures", "0", "1"], "temperatures: found (0.0, 1.0), expected numbers > 0"),
        (["--samples", "3"], "samples: found 3"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_paragraph(arguments: list[str], message: str, capsys):
    assert diagnose(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sst: ")
    assert message in " ".join(error.split())


@pytest.mark.parametrize("name", ["rebar", "quadratic", "network"])
def test_losses_are_functions_of_their_seed(name: str):
    x = torch.rand(7, 5, dtype=torch.float64)
    value = random_loss(name, 5, 0)(x)
    assert value.shape == (7,)
    assert torch.equal(value, random_loss(name, 5, 0)(x))
    assert (name == "rebar") == torch.equal(value, random_loss(name, 5, 1)(x))


def test_every_utility_and_regularizer_can_be_named():
    utilities = ("gumbel", "logistic", "normal", "negative-exponential")
    regularizers = ("euclidean", "categorical", "binary", "exponential-family")
    for utility, regularizer in itertools.product(utilities, regularizers):
        assert diagnose("--structure", "k-subset", "--utility", utility, "--regularizer", regularizer) == 0


@pytest.mark.parametrize(
    ("structure", "utility", "traced"),
    [
        ("spanning-tree", "gumbel", True),
        ("arborescence", "gumbel", False),
        ("arborescence", "negative-exponential", True),
        ("k-subset", "negative-exponential", True),
        ("k-subset", "logistic", False),
        ("matching", "gumbel", False),
    ],
)
def test_traces_are_diagnosed_where_their_law_is_known(structure: str, utility: str, traced: bool, tmp_path):
    regularizer = "categorical" if structure == "matching" else "exponential-family"
    table = tmp_path / "a.csv"
    arguments = ("--structure", structure, "--n", 3, "--utility", utility, "--regularizer", regularizer)
    assert diagnose(*arguments, "--estimators", "--out", table) == 0
    with table.open() as file:
        losses = {row["estimator"]: row["evaluations"] for row in csv.DictReader(file)}
    assert "I-MLE, λ = 1" in losses
    assert (losses.get("RLOO on traces, 4 samples"), losses.get("RELAX, untrained")) == (
        ("4", "3") if traced else (None, None)
    )

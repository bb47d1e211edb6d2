import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sstricks_cli as cli
from recipes.toy import Team
from sstricks.recipes.harness.batches import TrainingBatches
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.recipe import DivergedError, fold_in
from sstricks.recipes.harness.run import train
from sstricks.recipes.harness.training import Devices, Evaluation, Training
from sstricks.recipes.nri import GraphLayout

ALIKE = {"rtol": 1e-9, "atol": 1e-9}


def run(recipe, path, count=1, resume=False):
    return train(recipe, path, resume=resume, devices=Devices("cpu", count))


def weights(path, name="last"):
    parameters = torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key.removeprefix("model."): value for key, value in parameters.items()}


def moments(path):
    checkpoint = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    return [state["exp_avg"] for state in checkpoint["optimizer_states"][0]["state"].values()]


def curves(path):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(path)]


def assert_same_run(one, other, **tolerance):
    torch.testing.assert_close(weights(one), weights(other), **tolerance)
    torch.testing.assert_close(weights(one, "best"), weights(other, "best"), **tolerance)
    expected = curves(other)
    assert [row["step"] for row in curves(one)] == [row["step"] for row in expected]
    for row, wanted in zip(curves(one), expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)  # Lightning averages metrics in float32
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    assert results[0]["test/elbo"] == pytest.approx(results[1]["test/elbo"], rel=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone")
    run(Team(), path)
    return path


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 3, 4, 11])
def test_shares_are_a_partition_or_all_of_a_batch_too_small_for_one(count, size):
    batches = TrainingBatches(torch.arange(size), size, 0, 1)
    batch, shares = batches.indices(0), []
    for rank in range(count):
        batches.rank, batches.world_size = rank, count
        shares.append(batches.indices(0))
    if size < count:
        assert all(share.equal(batch) for share in shares)
    else:
        assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_come_to_what_one_does(tmp_path, alone):
    run(Team(), tmp_path, 2)
    assert_same_run(tmp_path, alone, **ALIKE)
    assert len(curves(tmp_path)) == 4


def test_three_processes_with_unequal_shares_come_to_what_one_does(tmp_path):
    team = Team(examples=39, steps=10)
    run(team, tmp_path / "three", 3)
    run(team, tmp_path / "one")
    assert_same_run(tmp_path / "three", tmp_path / "one", **ALIKE)


def test_the_batch_norm_and_the_average_of_the_reference_do_see_the_whole_batch(tmp_path, alone):
    start = Training(Team()).model.state_dict()
    end = weights(alone)
    for name in ("average.total", "layers.1.running_mean", "layers.1.running_var", "seldom.weight"):
        assert not torch.allclose(start[name], end[name], rtol=1e-3)


def test_a_run_that_lost_a_process_says_so_and_resumes_with_any_number_of_devices(tmp_path, alone):
    team = Team(dies_at=12, mark=str(tmp_path / "mark"))
    for name, count in (("two", 2), ("one", 1)):
        with pytest.raises(RunError, match=r"one of the 2 processes that trained together was lost.*--resume"):
            run(team, tmp_path / name, 2)
        assert [row["step"] for row in curves(tmp_path / name)] == [5, 10]
        run(team, tmp_path / name, count, resume=True)
        assert_same_run(tmp_path / name, alone, **ALIKE)
        Path(team.mark).unlink()


def test_restarts_come_first_and_the_best_trains_on_all_devices(tmp_path):
    team = Team(restarts=2, steps=10)
    run(team, tmp_path / "two", 2)
    run(team, tmp_path / "one")
    assert_same_run(tmp_path / "two", tmp_path / "one", **ALIKE)


def test_divergence_in_one_process_ends_all(tmp_path):
    with pytest.raises(DivergedError, match="the second process diverged"):
        run(Team(diverges_at=7), tmp_path, 2)


@contextlib.contextmanager
def free_port():
    # Bound without listening, it stays ours until somebody who names it listens there.
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield str(holder.getsockname()[1])


def on_two_machines(recipes, path):
    """Give torchrun's environment to one process for each of two machines, and return their output."""
    with free_port() as port:
        machines = []
        for rank, recipe in enumerate(recipes):
            code = "from pathlib import Path; from recipes.toy import *; from sstricks.recipes.harness.run import *;"
            code += f"train({recipe!r}, Path({str(path)!r}), resume=True)"
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MASTER_ADDR": "127.0.0.1"}
            environment |= {"MASTER_PORT": port, "RANK": str(rank), "GROUP_RANK": str(rank), "LOCAL_RANK": "0"}
            environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "test"}
            words = [sys.executable, "-c", code]
            machines.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
        return [machine.communicate(timeout=600)[1] for machine in machines]


def test_two_machines_come_to_what_one_does(tmp_path, alone):
    on_two_machines([Team(), Team()], tmp_path)
    assert_same_run(tmp_path, alone, **ALIKE)


def test_machines_with_different_commands_do_not_train(tmp_path):
    errors = on_two_machines([Team(), Team(seed=1)], tmp_path)
    assert "seed is 0 there and 1 here" in errors[1]
    assert not curves(tmp_path)


@pytest.mark.parametrize("estimator", ["sst", "nvil"])
def test_graph_layout_is_one_process_whose_examples_have_the_noise_of_their_processes(tmp_path, monkeypatch, estimator):
    sizes = {"graph_nodes": 5, "num_frames": 4, "train_examples": 48, "valid_examples": 16, "test_examples": 16}
    recipe = GraphLayout(edges="independent", estimator=estimator, **sizes, hidden=8, batch_size=16)
    recipe = replace(recipe, steps=1, valid_every=1)
    run(recipe, tmp_path / "two", 2)

    draw = torch.rand

    def draw_each(shape, dtype=None, **_):
        noise = torch.empty(shape, dtype=dtype)
        for rank, generator in enumerate(generators):
            part = noise[rank::2]
            part.copy_(draw(part.shape, dtype=dtype, generator=generator))
        return noise

    generators = [torch.Generator().manual_seed(fold_in(recipe.run_seed, "train", 0, rank)) for rank in range(2)]
    monkeypatch.setattr(torch, "rand", draw_each)
    begin = Evaluation.__init__
    monkeypatch.setattr(
        Evaluation, "__init__", lambda *args: (monkeypatch.setattr(torch, "rand", draw), begin(*args))[1]
    )
    run(recipe, tmp_path / "one")
    gradients = [moments(tmp_path / name) for name in ("two", "one")]
    assert max(gradient.abs().max() for gradient in gradients[1]) > 1
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    for name, found in weights(tmp_path / "two").items():
        if "running" in name or "average" in name:
            torch.testing.assert_close(found, weights(tmp_path / "one")[name])


TINY = (
    *("--model", "gnn", "--edges", "ground-truth", "--dropout", "0", "--precision", "float32", "--hidden", "8"),
    *("--train-examples", "60", "--valid-examples", "20", "--test-examples", "20", "--batch-size", "8"),
    *("--train-share", "1", "--valid-share", "1", "--steps", "8", "--valid-every", "4"),
)


def test_the_command_prints_and_writes_the_same_with_two_devices(tmp_path, capfd):
    tables = []
    for name, more in (("one", ()), ("two", ("--devices", "2"))):
        assert cli.main(["train", "listops", "--out", str(tmp_path / name), *TINY, *more]) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        assert "step 4/8" in printed.out or "step 8/8" in printed.out
        tables.append([line for line in printed.out.splitlines() if "Ground Truth" in line])
    assert tables[0][0].rsplit("│", 2)[0] == tables[1][0].rsplit("│", 2)[0]
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-4, atol=1e-6)
    names = sorted(os.listdir(tmp_path / "one"))
    assert sorted(os.listdir(tmp_path / "two")) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "--devices is 0, expected at least 1"),
        (["--devices", "9"], "9 devices share the 8 examples of a step"),
    ],
)
def test_impossible_numbers_of_devices_are_refused(tmp_path, capsys, arguments, message):
    assert cli.main(["train", "listops", "--out", str(tmp_path / "run"), *TINY, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_several_machines_share_no_restarts(tmp_path):
    errors = on_two_machines([Team(restarts=2), Team(restarts=2)], tmp_path)
    assert all("restarts is 2, but several machines or processes share no restarts" in error for error in errors)

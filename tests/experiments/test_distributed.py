import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
import torch

from experiments.together import Team
from sstricks import cli
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.batches import Share
from sstricks.experiments.runs.devices import Devices
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.noise import StatelessNoise
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import assist, train
from sstricks.experiments.runs.seeds import fold_in
from sstricks.experiments.runs.training import DivergedError
from sstricks.experiments.runs.workers import run_tasks

ALIKE = {"rtol": 1e-9, "atol": 1e-9}


def run(experiment, path, count=1, resume=False):
    devices = Devices.here(count, 1, batch_size=7)
    return train(experiment, path, resume=resume, jobs=1, display=Silence(), devices=devices)


def weights(path, name="last"):
    return torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


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
def test_shares_are_a_partition_or_the_whole_of_a_batch_too_small_for_one(count, size):
    batch = torch.randperm(50)[:size]
    shares = [Share([batch], rank, count)[0] for rank in range(count)]
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
    start = Team().module().state_dict()
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


def test_trials_come_first_and_the_survivor_trains_on_all_devices(tmp_path):
    team = Team(trials=2, steps=10)
    run(team, tmp_path / "two", 2)
    run(team, tmp_path / "one")
    assert_same_run(tmp_path / "two", tmp_path / "one", **ALIKE)


def test_divergence_in_one_process_ends_all(tmp_path):
    with pytest.raises(DivergedError, match="the second process diverged"):
        run(Team(diverges_at=7), tmp_path, 2)


@contextlib.contextmanager
def own_ports(count):
    # A socket that is bound and does not listen keeps the port from whoever asks the system for any, and lets whoever
    # names it listen there, since both say that they share it.
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("", 0))
        yield [each.getsockname()[1] for each in sockets]


def take_part(task):
    path, machine, port, seed = task
    train_as(machine, Team(seed=seed), path, port)


def train_as(machine, team, path, port):
    devices = Devices(1, 2, machine, "127.0.0.1", port)
    if machine == 0:
        train(team, path, resume=True, jobs=1, display=Silence(), devices=devices)
    else:
        assist(team, path, display=Silence(), devices=devices)


def test_two_machines_come_to_what_one_does(tmp_path, alone):
    with own_ports(1) as (port,):
        for _ in run_tasks(take_part, [(tmp_path, machine, port, 0) for machine in (0, 1)], 2):
            pass
    assert_same_run(tmp_path, alone, **ALIKE)


def test_a_port_that_another_program_has_is_refused(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RunError, match=rf"port {port} of 127.0.0.1 cannot be listened at .*set MASTER_PORT"):
            take_part((tmp_path, 0, port, 0))


def take_part_twice(task):
    path, machine, ports = task
    with pytest.raises(RunError, match="lost" if machine == 0 else "diverged"):
        train_as(machine, Team(diverges_at=7), path / "broken", ports[0])
    train_as(machine, Team(), path / "whole", ports[1])


def test_a_process_whose_training_failed_may_take_part_in_another(tmp_path, alone):
    with own_ports(2) as ports:
        for _ in run_tasks(take_part_twice, [(tmp_path, machine, ports) for machine in (0, 1)], 2):
            pass
    assert_same_run(tmp_path / "whole", alone, **ALIKE)


def test_machines_with_different_commands_do_not_train(tmp_path):
    with own_ports(1) as (port,), pytest.raises(RunError, match="seed differ from those of machine 0"):
        for _ in run_tasks(take_part, [(tmp_path, machine, port, machine) for machine in (0, 1)], 2):
            pass
    assert not curves(tmp_path)


@pytest.mark.parametrize("estimator", ["sst", "nvil"])
def test_graph_layout_is_one_process_whose_examples_have_the_noise_of_their_processes(tmp_path, monkeypatch, estimator):
    sizes = {"num_nodes": 5, "num_frames": 4, "train_examples": 48, "valid_examples": 16, "test_examples": 16}
    config = NRIConfig("independent", estimator, "quick", **sizes, hidden=8, batch_size=16, steps=1, valid_every=1)
    experiment = GraphLayoutRun(config)
    run(experiment, tmp_path / "two", 2)

    draw = torch.rand

    def seed_each(self, trainer, module, batch, batch_idx):
        seeds = [fold_in(config.run_seed, "train", trainer.global_step, rank) for rank in range(2)]
        module.noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        monkeypatch.setattr(torch, "rand", lambda shape, dtype, device: draw_each(module.noise, shape, dtype))

    def draw_each(generators, shape, dtype):
        noise = torch.empty(shape, dtype=dtype)
        for rank, generator in enumerate(generators):
            part = noise[rank::2]
            part.copy_(draw(part.shape, dtype=dtype, generator=generator))
        return noise

    monkeypatch.setattr(StatelessNoise, "on_train_batch_start", seed_each)
    start = StatelessNoise.on_validation_start
    monkeypatch.setattr(
        StatelessNoise,
        "on_validation_start",
        lambda *args: (monkeypatch.setattr(torch, "rand", draw), start(*args)),
    )
    run(experiment, tmp_path / "one")
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


def test_the_command_prints_and_writes_the_same(tmp_path, capfd):
    tables = []
    for name, more in (("one", ()), ("two", ("--devices", "2"))):
        assert cli.main(["train", "listops", "--out", str(tmp_path / name), *TINY, *more]) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        assert "step 4/8" in printed.out or "step 8/8" in printed.out
        tables.append([line for line in printed.out.splitlines() if "ground-truth" in line and "%" in line])
    assert tables[0][0].rsplit("│", 2)[0] == tables[1][0].rsplit("│", 2)[0]
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-4, atol=1e-6)
    names = sorted(os.listdir(tmp_path / "one"))
    assert sorted(os.listdir(tmp_path / "two")) == names


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--devices", "0"], {}, "--devices is 0, expected at least 1"),
        (["--devices", "-1"], {}, "--devices is -1, expected at least 1"),
        (["--num-nodes", "0"], {}, "--num-nodes is 0, expected at least 1"),
        (
            ["--devices", "9"],
            {},
            "--devices 9 on --num-nodes 1 are 9 devices, expected at most the 8 examples",
        ),
        (["--num-nodes", "2", "--devices", "5"], {}, "are 10 devices, expected at most the 8 examples"),
        (["--num-nodes", "2"], {"NODE_RANK": "1"}, "MASTER_ADDR, MASTER_PORT missing in the environment"),
        (["--num-nodes", "2"], {"NODE_RANK": "2"}, "NODE_RANK is 2, expected less than --num-nodes 2"),
        (["--num-nodes", "2"], {"NODE_RANK": "one"}, "NODE_RANK is 'one' in the environment, expected a number"),
        (["--num-nodes", "2", "--trials", "2", "--trial-steps", "4"], {"NODE_RANK": "0"}, "there are 2 trials"),
    ],
)
def test_devices_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path, capsys, monkeypatch, arguments, environment, message
):
    for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    if environment and "missing" not in message:
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", **environment}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["train", "listops", "--out", str(tmp_path / "run"), *TINY, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()

"""The parts of the harness: files, metrics, batches, rounds of restarts, options."""

import errno
import json
import os

import pytest
import torch

from recipes.toy import Points, Toy
from sstricks.recipes.harness.batches import AllBatches, TrainingBatches
from sstricks.recipes.harness.files import hold, naming, write_atomically, write_json, write_section
from sstricks.recipes.harness.metrics import MetricsLog, column, read_metrics


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "a.json", fail)
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / ".partial-1-a.json").touch()
    with hold(tmp_path):
        assert sorted(os.listdir(tmp_path)) == [".lock", "a.json"]


def test_what_the_system_refuses_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as told, naming(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "a.txt")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_section_is_replaced_and_nothing_else(tmp_path, end):
    page = tmp_path / "page.md"
    page.write_bytes(end.join(["# A", "<!-- one -->", "old", "<!-- end -->", "<!-- two -->", "<!-- end -->"]).encode())
    write_section(page, "one", "new\nlines\n")
    lines = ["# A", "<!-- one -->", "new", "lines", "<!-- end -->", "<!-- two -->", "<!-- end -->"]
    assert page.read_bytes() == end.join(lines).encode()
    write_section(page, "two", "")
    assert page.read_bytes() == end.join(lines).encode()
    for name in ("three", "end"):
        with pytest.raises(ValueError, match="expected one line"):
            write_section(page, name, "")


def test_metrics_that_are_not_finite_are_recorded_as_null(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.append({"step": 1, "a": float("nan")})
    log.append({"step": 2, "a": 5.0, "b": float("-inf")})
    log.close()
    rows = read_metrics(tmp_path)
    assert rows == [{"step": 1, "a": None}, {"step": 2, "a": 5.0, "b": None}]
    assert (tmp_path / "metrics.csv").read_text() == "step,a,b\n1,,\n2,5.0,\n"
    assert column(rows, "a") == ([2.0], [5.0])
    assert read_metrics(tmp_path / "nothing") == []


def test_batches_are_a_function_of_the_step():
    batches = TrainingBatches(torch.arange(10), 3, 5, 3, step=4)
    epoch = torch.cat([batches.indices(step) for step in range(3)])
    assert len(epoch.unique()) == 9
    assert not torch.equal(epoch, torch.cat([batches.indices(step) for step in range(3, 6)]))
    again = TrainingBatches(torch.arange(10), 3, 5, 3)
    assert torch.equal(again.indices(4), batches.indices(4))
    assert [batch.tolist() for batch in batches] == [batches.indices(step).tolist() for step in (4, 5)]


def test_batches_by_length_hold_every_example_once_a_pass_and_waste_little():
    lengths = torch.randint(1, 50, (103,), generator=torch.Generator().manual_seed(0))
    batches = TrainingBatches(Points(torch.arange(103), lengths), 10, 0, 1)
    for first in (0, 11):
        chosen = [batches.indices(step) for step in range(first, first + 11)]
        assert sorted(torch.cat(chosen).tolist()) == list(range(103))
        assert sum(int(lengths[one].max() * len(one)) for one in chosen) < 1.15 * int(lengths.sum())
    steps = [int(lengths[batches.indices(step)].max()) for step in range(11)]
    assert steps != sorted(steps)
    ordered = list(AllBatches(Points(lengths, lengths), 25))
    assert torch.equal(torch.cat(ordered), lengths.sort().values)


@pytest.mark.parametrize(
    ("restarts", "factor", "rounds"),
    [
        (1, 2, []),
        (2, 2, [(5, 2)]),
        (5, 2, [(5, 5), (10, 3), (20, 2)]),
        (10, 3, [(5, 10), (15, 4), (45, 2)]),
    ],
)
def test_rounds_of_restarts(restarts, factor, rounds):
    assert Toy(restarts=restarts, restart_steps=5, restart_factor=factor).rounds == rounds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"restarts": 0}, "restarts is 0"),
        ({"restart_factor": 1}, "restart_factor is 1"),
        ({"restarts": 9}, "steps is 12, expected at least 16"),
        ({"steps": 13}, "steps is 13, expected a multiple of valid_every=3"),
        ({"restarts": 2}, "the length of the last restart is 2, expected a multiple"),
        ({"lr": float("nan")}, "lr is nan, expected a finite number"),
        ({"weight_decay": -1.0}, r"weight_decay is -1\.0"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Toy(**changes).check()


def test_a_recipe_survives_json_and_refuses_what_is_not_its_own():
    toy = Toy(lr=0.1, restarts=2, valid_every=2)
    content = json.loads(json.dumps(toy.to_json()))
    assert Toy.from_json(content) == toy
    assert Toy.from_json({**content, "lr": 1}).lr == 1  # JSON does not tell 1 from 1.0
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\]"):
        Toy.from_json({**content, "colour": "red"})
    for wrong in ("many", True, None, [1]):
        with pytest.raises(ValueError, match=r"steps is .*use the version of sstricks that started the run"):
            Toy.from_json({**content, "steps": wrong})

import json

import pytest

from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.sweep.folder import Plan, SweepFolder
from sstricks.experiments.sweep.ranges import Choice, LogUniform

PLAN = Plan({"experiment": "toy", "seed": 0, "steps": 12}, {"lr": LogUniform(1e-4, 1e-2), "k": Choice((5, 10))})


def opened(path, trials, plan=PLAN):
    with SweepFolder(path) as folder:
        return folder.open(plan, trials)


def test_growing_keeps_what_was_drawn(tmp_path):
    six = opened(tmp_path / "sweep", 6)
    assert len(six) == 6
    before = (tmp_path / "sweep" / "sweep.json").read_bytes()
    assert opened(tmp_path / "sweep", 6) == six
    assert (tmp_path / "sweep" / "sweep.json").read_bytes() == before
    twenty = opened(tmp_path / "sweep", 20)
    assert twenty[:6] == six
    assert twenty == opened(tmp_path / "other", 20)
    assert opened(tmp_path / "sweep", 3) == twenty


def test_what_was_drawn_is_read_and_not_drawn_again(tmp_path):
    opened(tmp_path, 2)
    content = json.loads((tmp_path / "sweep.json").read_text())
    content["trials"][1]["lr"] = 0.123
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert [values["lr"] for values in opened(tmp_path, 3)][1] == 0.123


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan({**PLAN.configuration, "steps": 24}, PLAN.ranges), "steps is 12 there and 24 here"),
        (Plan({**PLAN.configuration, "seed": 1}, PLAN.ranges), "seed is 0 there and 1 here"),
        (
            Plan({**PLAN.configuration, "k": 5}, {"lr": PLAN.ranges["lr"]}),
            r"k is '\(absent\)' there and 5 here; the range of k is .* there and '\(absent\)' here",
        ),
        (
            Plan(PLAN.configuration, {**PLAN.ranges, "lr": LogUniform(1e-4, 1e-1)}),
            "the range of lr is .*0.01.* there and .*0.1.* here",
        ),
    ],
)
def test_another_sweep_is_refused_and_the_difference_is_named(tmp_path, plan, message):
    opened(tmp_path, 2)
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(RunError, match=message):
        opened(tmp_path, 4, plan)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"not empty \(config.json\) and holds no sweep"):
        opened(tmp_path, 2)
    assert not (tmp_path / "sweep.json").exists()


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"--out .*/file/sweep: cannot write there \(Not a directory\)"):
        opened(tmp_path / "file" / "sweep", 2)


def test_a_second_sweep_in_the_folder_is_refused(tmp_path):
    with SweepFolder(tmp_path) as folder:
        folder.open(PLAN, 2)
        with pytest.raises(RunError, match="another process"):
            opened(tmp_path, 2)
    assert len(opened(tmp_path, 2)) == 2

"""Which folders and files are runs, and which of them are the same."""

import json
import shutil

import pytest
from rich.console import Console

from recipes.tables.made_up import nri_result, run_folder
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.table import find_runs


def found(*paths):
    return find_runs(paths, None, Console(quiet=True))


def seeds(*paths):
    return [record.facts["seed"] for record in found(*paths)]


def test_runs_are_found_at_any_depth(tmp_path):
    for seed in range(4):
        run_folder(tmp_path / "sweeps" / "ab"[seed // 2] / f"trial-{seed % 2:03d}", nri_result(seed=seed))
    (tmp_path / "sweeps" / "b" / "sweep.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert seeds(tmp_path) == [0, 1, 2, 3]
    assert seeds(tmp_path / "sweeps" / "b") == [2, 3]
    assert seeds(tmp_path / "sweeps" / "b" / "trial-001", tmp_path / "sweeps" / "a") == [3, 0, 1]


def test_restarts_inside_a_run_are_not_runs(tmp_path):
    run = run_folder(tmp_path / "run", nri_result())
    run_folder(run / "restarts" / "00", nri_result(restart=1))
    assert len(found(tmp_path)) == 1


@pytest.mark.parametrize("shape", [list, lambda results: {str(i): r for i, r in enumerate(results)}])
def test_files_hold_results_by_name_or_in_a_list(tmp_path, shape):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(shape([nri_result(seed=3), nri_result(seed=4)])))
    assert seeds(file) == [3, 4]
    assert [(one.score("valid/elbo"), one.folder) for one in found(file)] == [(-1000.0, None)] * 2
    assert seeds(run_folder(tmp_path / "run", nri_result(seed=9)) / "result.json") == [9]


def test_the_same_run_counts_once_and_finished(tmp_path):
    run_folder(tmp_path / "begun", nri_result(seed=0), finished=False)
    run = run_folder(tmp_path / "run", nri_result(seed=0))
    run_folder(tmp_path / "other", nri_result(seed=1))  # equal numbers, but another run
    shutil.copytree(run, tmp_path / "copy")
    run_folder(tmp_path / "again", nri_result(seed=0, valid=-1000.5, seconds=7.0))  # repeated on another machine
    run_folder(tmp_path / "going", nri_result(seed=3), finished=False)
    file = tmp_path / "results.json"
    file.write_text(json.dumps([nri_result(seed=0, seconds=3.0), nri_result(seed=2)]))
    assert seeds(tmp_path, run, file) == [0, 1, 2, 3]
    assert [one.score("valid/elbo") is None for one in found(tmp_path, file)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", "{", "found no JSON"),
        ("results.json", "3", "found int"),
        ("results.json", '[{"lr": 1}]', "without the field 'experiment'"),
        ("results.json", "[1]", "without the field 'experiment'"),
        ("results.json", "[]", "found no run"),
        ("run/result.json", '{"test/elbo": ', "found no JSON"),
        ("run/config.json", "", "found no JSON"),
        ("sweep.json", '{"configuration": {}, "trials": 3}', "found no list of trials"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (run_folder(tmp_path / "run", nri_result()) / "checkpoints").mkdir()
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        found(file if name == "results.json" else tmp_path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ['{"theme": "dark"}', "[1]", "// not JSON"])
def test_other_programs_have_files_of_that_name(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    run = run_folder(tmp_path / "runs" / "run", nri_result())
    assert len(found(tmp_path)) == len(found(run)) == 1


def test_nothing_is_refused(tmp_path):
    with pytest.raises(RunError, match="found no run there"):
        found(tmp_path / "absent")
    with pytest.raises(RunError, match="found no run there"):
        found(tmp_path)

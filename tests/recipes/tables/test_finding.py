"""Which folders and files are runs, and which of them are the same."""

import json
import shutil

import pytest
from rich.console import Console

from recipes.tables.made_up import nri_result, run_folder
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.table import find_runs


def find_records(paths):
    return find_runs(paths, None, Console(quiet=True))


def seeds(records):
    return [record.facts["seed"] for record in records]


def test_a_run_a_sweep_and_several_sweeps(tmp_path):
    for sweep in ("a", "b"):
        for trial in range(2):
            seed = trial + 2 * (sweep == "b")
            run_folder(tmp_path / "sweeps" / sweep / f"trial-{trial:03d}", nri_result(seed=seed))
        (tmp_path / "sweeps" / sweep / "sweep.json").write_text("{}")
    assert seeds(find_records([tmp_path])) == [0, 1, 2, 3]
    assert seeds(find_records([tmp_path / "sweeps" / "b"])) == [2, 3]
    assert seeds(find_records([tmp_path / "sweeps" / "b" / "trial-001", tmp_path / "sweeps" / "a"])) == [3, 0, 1]


def test_restarts_inside_a_run_are_not_runs(tmp_path):
    run = run_folder(tmp_path / "run", nri_result())
    restart = run_folder(run / "restarts" / "00", nri_result(restart=1))
    assert len(find_records([tmp_path])) == 1
    for path in (restart, restart.parent):
        with pytest.raises(RunError, match="part of the run"):
            find_records([path])


def test_a_run_without_result_is_not_finished(tmp_path):
    run_folder(tmp_path / "run", nri_result(), finished=False)
    (record,) = find_records([tmp_path])
    assert not record.metrics
    assert record.score("valid/elbo") is None


@pytest.mark.parametrize("shape", [list, lambda results: {str(i): r for i, r in enumerate(results)}])
def test_files_of_results(tmp_path, shape):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(shape([nri_result(seed=3), nri_result(seed=4)])))
    records = find_records([file])
    assert seeds(records) == [3, 4]
    assert records[0].score("valid/elbo") == -1000.0
    assert all(record.metrics and record.folder is None for record in records)


def test_a_result_itself_is_a_file_of_results(tmp_path):
    run = run_folder(tmp_path / "run", nri_result(seed=9))
    assert seeds(find_records([run / "result.json"])) == [9]


def test_the_same_run_counts_once(tmp_path):
    run = run_folder(tmp_path / "run", nri_result(seed=0))
    run_folder(tmp_path / "other", nri_result(seed=1))
    shutil.copytree(run, tmp_path / "copy")
    run_folder(tmp_path / "again", nri_result(seed=0, valid=-1000.5, seconds=7.0))  # repeated on another machine
    file = tmp_path / "results.json"
    file.write_text(json.dumps([nri_result(seed=0, seconds=3.0), nri_result(seed=2)]))
    assert sorted(seeds(find_records([tmp_path, run, file]))) == [0, 1, 2]


def test_the_finished_one_is_kept(tmp_path):
    run_folder(tmp_path / "a", nri_result(seed=0), finished=False)
    run_folder(tmp_path / "b", nri_result(seed=0))
    (record,) = find_records([tmp_path])
    assert record.metrics


def test_two_seeds_with_equal_numbers_are_two_runs(tmp_path):
    for seed in (0, 1):
        run_folder(tmp_path / str(seed), nri_result(seed=seed))
    assert len(find_records([tmp_path])) == 2


def test_links_that_lead_in_a_circle_end(tmp_path):
    run_folder(tmp_path / "run", nri_result())
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(find_records([tmp_path])) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "found no JSON"),
        ("3", "found int"),
        ('[{"lr": 1}]', "without the field 'experiment'"),
        ("[1]", "without the field 'experiment'"),
        ("[]", "found no run"),
    ],
)
def test_files_that_are_something_else_are_named(tmp_path, content, message):
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        find_records([file])
    assert str(file) in str(caught.value)


def test_a_damaged_result_is_named_not_skipped(tmp_path):
    run = run_folder(tmp_path / "run", nri_result())
    (run / "result.json").write_text('{"test/elbo": ')
    with pytest.raises(RunError, match=r"result\.json: found no JSON"):
        find_records([tmp_path])


def test_a_damaged_configuration_is_named_not_skipped(tmp_path):
    run = run_folder(tmp_path / "run", nri_result())
    (run / "checkpoints").mkdir()
    (run / "config.json").write_text("")
    with pytest.raises(RunError, match=r"config\.json: found no JSON"):
        find_records([tmp_path])


@pytest.mark.parametrize("content", ['{"theme": "dark"}', "[1]", "// not JSON"])
def test_other_programs_have_files_of_that_name(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    run = run_folder(tmp_path / "runs" / "run", nri_result())
    assert len(find_records([tmp_path])) == len(find_records([run])) == 1


def test_nothing_is_refused(tmp_path):
    with pytest.raises(RunError, match="found nothing there"):
        find_records([tmp_path / "absent"])
    with pytest.raises(RunError, match="found no run there"):
        find_records([tmp_path])

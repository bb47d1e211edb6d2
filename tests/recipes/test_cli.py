import contextlib
import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sstricks as sst
import sstricks_cli as cli
from recipes.killed import assert_a_killed_run_resumes
from recipes.outcome import result_of
from sstricks.recipes import nri
from sstricks.recipes.nri import GraphLayoutModel

TINY = (
    *("--hidden", "8", "--graph-nodes", "5", "--num-frames", "4", "--batch-size", "16", "--valid-every", "4"),
    *(
        "--train-examples",
        "64",
        "--valid-examples",
        "32",
        "--test-examples",
        "32",
        "--restarts",
        "1",
        "--restart-factor",
        "2",
        "--lr-decay",
        "0",
    ),
    *("--no-edge-hold", "2", "--no-edge-ramp", "2"),
)


def train(path, *more, steps=8):
    return cli.main(["train", "nri", "--out", str(path), "--steps", str(steps), *TINY, *more])


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sstricks {sst.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ["train", "evaluate", "demo", "diagnose"]),
        (["diagnose", "--help"], ["--structure", "--temperatures", "--out"]),
        (["train", "--help"], ["nri"]),
        (
            ["train", "nri", "--help"],
            ["--edges", "--estimator", "--preset", "--resume", "--lr FLOAT", "(default: 0.002)"],
        ),
        (["train", "nri", "--preset", "paper", "--help"], ["(default: 0.0005)", "(default: 50000)"]),
        (["evaluate", "--help"], ["--out"]),
        (["demo", "--help"], ["runs/demo"]),
    ],
)
def test_every_level_has_help(capsys, arguments, expected):
    with contextlib.suppress(SystemExit):  # tyro's way to end after help
        assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    for text in expected:
        assert text in printed


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_NEEDED", ("lightning", "no_such_package_at_all"))
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "sst: the experiments need no_such_package_at_all, which is not installed. Run: pip install\n"
        "'sstricks[recipes]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "found 'trian' after `sst`, expected one of train, sweep, evaluate"),
        (["train", "nrl"], "found 'nrl' after `sst train`, expected one of nri, listops, l2x"),
        ([], "found no word after `sst`"),
    ],
)
def test_typos_are_told_with_the_nearest_word(capsys, arguments, message):
    assert cli.main(arguments) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert ("Did you mean" in error) == bool(arguments)


def test_help_and_typos_load_nothing_heavy():
    code = "import sys; import sstricks_cli as cli; cli.main(['--help']); cli.main(['trian']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sstricks_cli" in loaded
    assert not {"lightning", "matplotlib", "ray", "pandas", "tyro"} & set(loaded)


def test_a_copied_recipe_is_an_experiment_of_its_own(tmp_path):
    copy = tmp_path / "mine.py"
    copy.write_text(Path(nri.__file__).read_text().replace('name: ClassVar = "nri"', 'name: ClassVar = "mine"'))
    words = [sys.executable, str(copy), *TINY, "--steps", "8", "--restarts", "2", "--restart-steps", "4", "--jobs", "2"]
    shown = subprocess.run([sys.executable, str(copy), "--help"], capture_output=True, text=True, check=True).stdout
    assert "usage: mine.py" in shown
    assert "--edges" in shown
    subprocess.run([*words, "--out", str(tmp_path / "run")], check=True, stdout=subprocess.DEVNULL)
    assert result_of(tmp_path / "run")["experiment"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "9"], "steps is 9, expected a multiple of valid_every=4"),
        (["--lr", "-1"], "lr is -1.0, expected a number above 0"),
        (["--batch-size", "100"], "batch_size is 100, expected at most train_examples=64"),
        (
            ["--restarts", "4", "--restart-steps", "6"],
            "steps is 8, expected at least 12, which is what 4 restarts take",
        ),
        (
            ["--restarts", "2", "--restart-steps", "3"],
            "the length of the last restart is 3, expected a multiple of valid_every=4",
        ),
        (["--no-edge-hold", "-3"], "no_edge_hold is -3"),
        (["--clip", "inf"], "clip is inf, expected a finite number: pass a very large one, such as 1e30, for no limit"),
        (["--weight-decay", "inf"], "weight_decay is inf, expected a finite number"),
        (["--lr", "nan"], "lr is nan, expected a finite number: pass one"),
        (["--weight-decay", "-1"], "weight_decay is -1.0"),
        (["--baseline-decay", "1"], "baseline_decay is 1.0"),
        (["--graph-nodes", "1"], "graph_nodes is 1, expected at least 2: change --graph-nodes"),
        (["--num-frames", "1"], "num_frames is 1, expected at least 2: change --num-frames"),
        (["--horizon", "5"], "horizon is 5, expected at most num_frames=4"),
        (["--data-seed", "-1"], "data_seed is -1, expected at least 0"),
        (["--jobs", "0"], "--jobs is 0, expected at least 1"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_paragraph(tmp_path, capsys, arguments, message):
    assert train(tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sst: ")
    assert message in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_used_folder_is_refused_with_status_2(tmp_path, capsys):
    assert train(tmp_path, steps=4) == 0
    capsys.readouterr()
    assert train(tmp_path, steps=4) == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tmp_path, "--resume", "--lr", "0.5", steps=8) == 2
    lr = result_of(tmp_path)["lr"]
    assert f"lr is {lr} there and 0.5 here; steps is 4 there and 8 here" in " ".join(capsys.readouterr().err.split())
    assert train(tmp_path, "--resume", steps=4) == 0
    assert "nothing was trained" in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_same_result(tmp_path, capsys):
    assert train(tmp_path, steps=4) == 0
    before = result_of(tmp_path)
    (tmp_path / "graphs.png").unlink()
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert f"{100 * before['test/edge_precision']:.1f}" in capsys.readouterr().out
    assert result_of(tmp_path) == before
    assert (tmp_path / "graphs.png").exists()


def test_evaluating_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "result.json").touch()
    assert cli.main(["evaluate", str(tmp_path / "result.json")]) == 2
    assert "no run was ever started in it. Name the folder" in " ".join(capsys.readouterr().err.split())


def test_evaluating_nothing_is_refused(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path / "nothing")]) == 2
    assert "no run was ever started" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "nothing").exists()


def test_a_full_disk_is_told_with_the_file_and_what_to_do(tmp_path, capsys, monkeypatch):
    replace = Path.replace
    for step, name in enumerate(("config.json", "checkpoints/best.ckpt", "result.json", "curves.png")):
        folder = tmp_path / str(step)

        def refuse(self, target, full=folder / name):
            if target == full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuse)
        assert train(folder) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert said.startswith(f"sst: {folder / name}: No space left on device. Make room on the disk, and give")
        assert ("pictures are missing" in said) == (name == "curves.png")
        monkeypatch.setattr(Path, "replace", replace)
        assert train(folder, "--resume") == 0
        capsys.readouterr()


def test_help_shows_no_empty_default(capsys):
    for command in (["table"], ["plot", "curves"], ["explain"], ["evaluate"], ["train", "l2x"]):
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        assert "default: )" not in capsys.readouterr().out


def test_a_demo_leaves_the_files_of_others_alone(tmp_path, capsys):
    for name in ("curves.png", "config.json"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        assert cli.main(["demo", "--out", str(folder)]) == 2
        assert f"the folder is not empty ({name}) and holds no demo" in " ".join(capsys.readouterr().err.split())
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    original = GraphLayoutModel.loss

    def interrupted(self, batch, step):
        if step == 6:
            raise KeyboardInterrupt
        return original(self, batch, step)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(GraphLayoutModel, "loss", interrupted)
    assert train(tmp_path) == 130
    assert "sst: interrupted. Give the same command again to continue" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.setattr(GraphLayoutModel, "loss", original)
    assert train(tmp_path, "--resume") == 0
    assert result_of(tmp_path)["steps"] == 8


def test_a_run_killed_by_the_system_resumes_to_the_same_result(tmp_path):
    assert_a_killed_run_resumes(tmp_path, "nri", *TINY)

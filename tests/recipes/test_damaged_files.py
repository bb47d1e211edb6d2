"""Files of a run, a sweep and prepared reviews that something else has cut off or overwritten."""

import json
import shutil

import pytest

import sstricks_cli as cli
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.run import read_restarts

TINY = (
    *("--hidden", "8", "--graph-nodes", "5", "--num-frames", "4", "--batch-size", "16", "--steps", "4"),
    *("--valid-every", "2", "--train-examples", "64", "--valid-examples", "16", "--test-examples", "16"),
    *("--restarts", "1", "--no-edge-hold", "1", "--no-edge-ramp", "1"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "run"
    assert cli.main(["train", "nri", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def resume(run):
    return cli.main(["train", "nri", "--out", str(run), *TINY, "--resume"])


def evaluate(run):
    return cli.main(["evaluate", str(run)])


def changed(**fields):
    return lambda content: json.dumps({**json.loads(content), **fields}).encode()


def without(field):
    return lambda content: json.dumps({k: v for k, v in json.loads(content).items() if k != field}).encode()


def half(content):
    return content[: len(content) // 2]


def nothing(content):
    return b""


def garbage(content):
    return b"\xff\x00\x13garbage" * 20


def a_list(content):
    return b"[1, 2]"


@pytest.mark.parametrize("command", [resume, evaluate])
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("config.json", damage) for damage in (half, nothing, garbage, a_list, changed(colour="red"))),
        *(("config.json", changed(**{field: "many"})) for field in ("steps", "edges", "clip")),
        *(("checkpoints/last.ckpt", damage) for damage in (half, nothing, garbage)),
    ],
)
def test_a_damaged_file_is_named(run, capsys, command, name, damage):
    file = run / name
    file.write_bytes(damage(file.read_bytes()))
    if command is resume:
        (run / "result.json").unlink()
    before = file.read_bytes()
    assert command(run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert str(file if command is evaluate or "config" not in name else run) in said
    assert any(remedy in said for remedy in ("Restore the file", "restore the file", "Repeat the command"))
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", [half, nothing, garbage])
def test_a_damaged_best_checkpoint_is_named(run, capsys, damage):
    file = run / "checkpoints" / "best.ckpt"
    file.write_bytes(damage(file.read_bytes()))
    assert evaluate(run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file}: found no whole checkpoint" in said
    assert "weights_only" not in said  # torch's advice to trust the file


def test_a_checkpoint_of_another_model_is_named(run, capsys):
    config = run / "config.json"
    config.write_bytes(changed(hidden=16)(config.read_bytes()))
    assert evaluate(run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "best.ckpt: its parameters are not those of the model" in said
    assert "size mismatch" in said


@pytest.mark.parametrize(
    "damage",
    [
        *(half, nothing, garbage, a_list, changed(seconds=None), changed(**{"test/elbo": "low"})),
        *map(without, ("seconds", "edges", "test/edge_precision", "chance/edge_recall")),
    ],
)
def test_a_damaged_result_is_measured_again(run, capsys, damage):
    file = run / "result.json"
    before = json.loads(file.read_bytes())
    file.write_bytes(damage(file.read_bytes()))
    assert resume(run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert str(file) in said
    assert f"`sst evaluate {run}` writes it anew" in said
    assert evaluate(run) == 0
    assert json.loads(file.read_bytes()) == before


@pytest.mark.parametrize("line", ["garbage", '{"step": ', "[1]", '{"step": "four"}', '{"step": null}', "{}", ""])
def test_a_damaged_row_is_named_by_its_line(run, capsys, line):
    file = run / "metrics.jsonl"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([rows[0], line, *rows[1:]]) + "\n")
    assert evaluate(run) == 2
    assert f"{file}: line 2 is {line!r}, expected a row" in " ".join(capsys.readouterr().err.split())


def test_rows_of_other_bytes_are_named_and_a_last_line_that_was_cut_off_is_not(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 2}\n{"step": 4}\n{"st')
    assert read_metrics(tmp_path) == [{"step": 2}, {"step": 4}]
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 2}\n\xff\xfe\n')
    with pytest.raises(RunError, match="line 2"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"st')
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("content", ["", "[]", '{"scores": 1, "survivor": 2}', '{"scores": {}, "survivor": "last"}'])
def test_a_damaged_record_of_restarts_is_named(tmp_path, content):
    (tmp_path / "restarts.json").write_text(content)
    with pytest.raises(RunError, match=r"restarts\.json: found .* Restore the file"):
        read_restarts(tmp_path)

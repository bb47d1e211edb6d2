import re
from dataclasses import replace

import pytest
import torch

from sstricks import cli
from sstricks.experiments.listops.data import Specification, make_splits
from sstricks.experiments.listops.storage import load_or_make
from sstricks.experiments.runs.errors import RunError

SMALL = Specification(train=3000, valid=500, test=502, seed=3)
WORDS = ["prepare", "listops", "--train", "3000", "--valid", "500", "--test", "502", "--seed", "3", "--out"]


def test_a_folder_keeps_the_data(tmp_path):
    splits = make_splits(SMALL)
    made = load_or_make(SMALL, tmp_path / "a" / "data")
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in (tmp_path / "a" / "data").iterdir()}
    loaded = load_or_make(SMALL, tmp_path / "a" / "data")
    assert set(before) == {"listops.npz", "metadata.json"}
    assert before == {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in (tmp_path / "a" / "data").iterdir()}
    assert made.metadata == loaded.metadata == splits.metadata
    for name in ("train", "valid", "test"):
        for field in ("tokens", "lengths", "heads", "answers", "depths"):
            expected = getattr(getattr(splits, name), field)
            torch.testing.assert_close(getattr(getattr(loaded, name), field), expected, atol=0, rtol=0)


def test_a_folder_is_never_overwritten(tmp_path):
    load_or_make(SMALL, tmp_path)
    with pytest.raises(RunError, match="seed is 3 there and 4 here"):
        load_or_make(replace(SMALL, seed=4), tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match=r"not empty \(letter.txt\)"):
        load_or_make(SMALL, tmp_path / "other")
    with pytest.raises(RunError, match="cannot read or write there"):
        load_or_make(SMALL, tmp_path / "other" / "letter.txt")


def test_data_whose_making_was_interrupted_is_made_again(tmp_path):
    (tmp_path / "listops.npz").write_bytes(b"half")
    (tmp_path / ".partial-123-metadata.json").write_bytes(b"{")
    assert load_or_make(SMALL, tmp_path).metadata == load_or_make(SMALL, tmp_path).metadata


def test_damaged_data_is_refused(tmp_path):
    load_or_make(SMALL, tmp_path)
    whole = (tmp_path / "listops.npz").read_bytes()
    (tmp_path / "listops.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="damaged"):
        load_or_make(SMALL, tmp_path)
    (tmp_path / "listops.npz").write_bytes(whole)
    metadata = (tmp_path / "metadata.json").read_text()
    (tmp_path / "metadata.json").write_text(re.sub(r'"checksum": "..', '"checksum": "zz', metadata))
    with pytest.raises(RunError, match="damaged"):
        load_or_make(SMALL, tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        load_or_make(SMALL, tmp_path)


def test_the_command_writes_what_training_draws(tmp_path, capsys):
    folder = tmp_path / "data"
    assert cli.main([*WORDS, str(folder)]) == 0
    assert cli.main([*WORDS, str(folder)]) == 0  # reads and checks it
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    metadata = make_splits(SMALL).metadata
    assert metadata["checksum"][:16] in first
    assert load_or_make(SMALL, folder).metadata == metadata


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--train", "0"], "train is 0, expected at least 1"),
        (["--min-length-from", "1"], "expressions of depth 1, of which there are 0"),
        (["--seed", "4"], "seed is 3 there and 4 here"),
    ],
)
def test_the_command_refuses_what_it_cannot_write(tmp_path, capsys, words, complaint):
    load_or_make(SMALL, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert cli.main([*WORDS, str(tmp_path), *words]) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

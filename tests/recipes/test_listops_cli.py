import pytest

import sstricks_cli as cli
from recipes.killed import assert_a_killed_run_resumes
from recipes.outcome import result_of

TINY = (
    *("--train-examples", "100", "--valid-examples", "40", "--test-examples", "40", "--train-share", "1"),
    *("--valid-share", "1", "--hidden", "8", "--message-steps", "2", "--batch-size", "20", "--valid-every", "4"),
)


def train(path, *more, steps=4):
    return cli.main(["train", "listops", "--out", str(path), "--steps", str(steps), *TINY, *more])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("gnn", "arborescence", "gumbel")),
        (["--model", "lstm"], ("lstm", None, None)),
        (["--edges", "ground-truth"], ("gnn", "ground-truth", None)),
        (["--edges", "spanning-tree", "--utility", "normal"], ("gnn", "spanning-tree", "normal")),
    ],
)
def test_defaults_follow_from_what_is_given(tmp_path, capsys, arguments, expected):
    assert train(tmp_path, *arguments) == 0
    result = result_of(tmp_path)
    assert (result["network"], result["edges"], result["utility"]) == expected
    accuracy = f"{100 * result['test/accuracy']:.1f}"
    assert accuracy in capsys.readouterr().out
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert accuracy in capsys.readouterr().out
    assert result_of(tmp_path) == result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-examples", "2000000"], "take 400016 different expressions of depth 1, of which there are 333300"),
        (["--train-share", "-inf"], "train_share is -inf, expected a finite number"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_paragraph(tmp_path, capsys, arguments, message):
    assert train(tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sst: ")
    assert message in " ".join(error.split())
    assert not (tmp_path / "run").exists()


def test_killed_run_resumes_to_the_same_result(tmp_path):
    assert_a_killed_run_resumes(tmp_path, "listops", *TINY)

import io

from rich.console import Console

from experiments.toy import Toy
from sstricks.experiments.runs.files import write_json
from sstricks.experiments.sweep.progress import watching_trials
from sstricks.experiments.sweep.trial import Trial
from sstricks.experiments.sweep.worker import train_trial


def toys(path, count=3):
    return [Trial(i, path / f"trial-{i:03d}", {"seed": i, "lr": 0.1 / (i + 1)}, Toy(seed=i)) for i in range(count)]


def test_a_terminal_shows_all_trials_and_those_under_way(tmp_path):
    trials = toys(tmp_path)
    train_trial(trials[0], threads=1)
    trials[1].path.mkdir()
    write_json(trials[1].path / "config.json", trials[1].experiment.to_json())
    (trials[1].path / "metrics.jsonl").write_text('{"step": 9, "valid/elbo": -3.5}\n')
    screen = io.StringIO()
    with watching_trials(Console(file=screen, force_terminal=True, width=100), trials):
        pass
    last = screen.getvalue().rpartition("3 trials")[2]
    assert "21/36 1 finished" in " ".join(last.split())
    assert "trial-001  lr 0.05" in last
    assert "9/12 ELBO -3.50" in " ".join(last.split())
    assert "trial-000" not in last
    assert "trial-002" not in last


def test_elsewhere_a_line_tells_what_ended(tmp_path):
    trials = toys(tmp_path)
    train_trial(trials[0], threads=1)
    screen = io.StringIO()
    with watching_trials(Console(file=screen, width=60), trials):
        train_trial(trials[2], threads=1)
        trials[1].path.mkdir()
        trials[1].give_up("the training diverged.")
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert {line.split()[1] for line in lines} == {"trials"}
    assert sorted(line.split()[0] for line in lines) == ["2/3", "3/3"]
    assert any("trial-001  lr 0.05: diverged" in line for line in lines)
    assert any("trial-002  lr 0.0333333: ELBO" in line for line in lines)

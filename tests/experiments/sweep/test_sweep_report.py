"""The table at the end of a sweep, from result.json files that were made up."""

import io
import json

import pytest
from rich.console import Console

from sstricks.experiments.l2x.sweep import SweepL2X
from sstricks.experiments.nri.presets import preset_config
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.nri.sweep import SweepNRI
from sstricks.experiments.sweep.report import print_trials
from sstricks.experiments.sweep.trial import Trial

NRI = {"lr": 0.0005111, "weight_decay": 1.457e-06, "baseline_decay": 0.999}
L2X = {"lr": 0.0005, "lr_final": 0.0001, "lr_share": 0.5, "weight_decay": 1e-06, "temperature": 1.234}


def printed(folder, columns, searched, width):
    trials = []
    for index in range(12):
        values = {"seed": index, **searched}
        trials.append(Trial(index, folder / str(index), values, GraphLayoutRun(preset_config("quick", "top-k"))))
        trials[-1].path.mkdir(parents=True)
        metrics = {name: -21771.5 - index if "elbo" in name else 0.5111 for name in ("valid/elbo", *columns)}
        content = {"steps": 8, "seconds": 4205, **metrics}
        (trials[-1].path / "result.json").write_text(json.dumps(content))
    text = io.StringIO()
    print_trials(Console(file=text, width=width), trials, columns)
    return text.getvalue()


@pytest.mark.parametrize(("command", "searched"), [(SweepNRI, NRI), (SweepL2X, L2X)])
@pytest.mark.parametrize("width", [64, 80, 200])
def test_no_value_and_no_heading_is_cut_off(tmp_path, command, searched, width):
    text = printed(tmp_path, command.columns, searched, width)
    lines = [line.split() for line in text.replace("* ", "*").splitlines()]
    values = {f"{value:g}" for value in searched.values()}
    for index in range(12):
        found = [word for line in lines if line and line[0].lstrip("*") == str(index) for word in line]
        assert values <= set(found)
        assert "1:10:05" in found
        if command is SweepNRI:
            assert str(round(-21771.5 - index)) in found
    words = {word for line in lines for word in line}
    assert {"trial", "time", *(word for name in searched for word in name.split("_"))} <= words
    assert all(len(line) <= width for line in text.splitlines() if str(tmp_path) not in line)
    tables = sum(line[:1] == ["trial"] for line in lines)
    assert tables == (1 if width == 200 else 2)

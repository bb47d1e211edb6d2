"""Several models' parses of the same expression."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.pictures import draw_parse, explain_arcs, parses_of, readable_examples
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.plots.trained import TrainedRun, agree_on_data
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.pictures import save_figure
from sstricks.experiments.runs.training import load_best

_DATA = ("data_seed", "train_examples", "valid_examples", "test_examples")

_WIDTH = 16  # tokens, at least


def draw_parses_of_runs(runs: Sequence[TrainedRun], example: int, path: Path) -> Path:
    """Draw a test expression once for each model, the gold edges above the tokens, the model's below.

    Args:
        runs: trained on the same data; those without graphs are left out.
        example: which of the expressions in a run's `parses.png`, from 1.
        path: the picture to write.

    Returns:
        The path.

    Raises:
        RunError: if no model has graphs, the runs are of different data, or there are not as many expressions.
    """
    runs = [run for run in runs if run.config["edges"] is not None]
    if not runs:
        raise RunError("found LSTMs only, expected runs with edges: an LSTM has no parses. Name other folders.")
    agree_on_data(runs, _DATA)
    experiments = [ListOpsRun(run.configuration(ListOpsConfig)) for run in runs]
    sentences = readable_examples(experiments[0].data())
    if not 1 <= example <= len(sentences):
        raise RunError(f"--example {example}: there are {len(sentences)}, numbered from 1. Choose one of them.")
    figure = Figure(figsize=(11.5, 2.9 * len(runs) + 0.9), layout="constrained")
    length = int(sentences.mask[example - 1].sum())
    for axis, run, experiment in zip(figure.subplots(len(runs), squeeze=False)[:, 0], runs, experiments, strict=True):
        module = experiment.module()
        load_best(module, RunFolder(run.folder))
        shown = draw_parse(axis, sentences, example - 1, *parses_of(module, sentences))
        axis.set_xlim(-0.8, max(length, _WIDTH) - 0.2)
        axis.set_title(f"{run.name}: {shown}", fontsize=10, loc="left")
    explain_arcs(figure)
    figure.suptitle("A test expression: gold parse above, each model's below", fontsize=12)
    return save_figure(figure, path)

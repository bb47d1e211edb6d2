"""Several models' graphs of the same moving points, like the paper's Fig. 3."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.datamodule import select
from sstricks.experiments.nri.pictures import draw_recovered, draw_truth, explain_colors, recovered_graphs
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.plots.trained import TrainedRun, agree_on_data
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.pictures import save_figure
from sstricks.experiments.runs.training import load_best

_DATA = ("data_seed", "num_nodes", "num_frames", "train_examples", "valid_examples", "test_examples")
_JUDGED = 500  # test graphs by which it is decided whether a model's graphs or their complements are shown


def draw_layouts(runs: Sequence[TrainedRun], examples: Sequence[int], path: Path) -> Path:
    """Draw true graphs and, beside them, what each model recovers.

    Args:
        runs: trained on the same data.
        examples: numbers of test graphs, from 1: a row each.
        path: the picture to write.

    Returns:
        The path.

    Raises:
        RunError: if the runs are of different data, or there are not as many test graphs.
    """
    agree_on_data(runs, _DATA)
    experiments = [GraphLayoutRun(run.configuration(NRIConfig)) for run in runs]
    test = experiments[0].data().splits.test
    wrong = [example for example in examples if not 1 <= example <= len(test)]
    if wrong or not examples:
        raise RunError(f"--graphs {wrong}: there are {len(test)} test graphs, numbered from 1. Choose some of them.")
    layouts = select(test, slice(0, max(_JUDGED, *examples)))
    found = []
    for run, experiment in zip(runs, experiments, strict=True):
        module = experiment.module()
        load_best(module, RunFolder(run.folder))
        found.append(recovered_graphs(module, layouts))
    figure = Figure(figsize=(3.1 * (1 + len(runs)), 3.5 * len(examples) + 0.7), layout="constrained")
    axes = figure.subplots(len(examples), 1 + len(runs), squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        truth, positions = layouts.edges[example - 1], layouts.positions[example - 1, -1]
        draw_truth(row[0], positions, truth)
        row[0].set_title(f"Ground Truth\ntest graph {example}", fontsize=11)
        for axis, run, graphs in zip(row[1:], runs, found, strict=True):
            share = draw_recovered(axis, positions, truth, graphs[example - 1])
            axis.set_title(f"{run.name}\n{share}", fontsize=11)
    explain_colors(figure)
    return save_figure(figure, path)

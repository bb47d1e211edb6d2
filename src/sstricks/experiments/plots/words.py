"""Several models' explanations of the same review, like the paper's Fig. 4."""

from collections.abc import Sequence
from pathlib import Path

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.explanation import explain, test_review
from sstricks.experiments.l2x.highlight import draw_explanations
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.plots.trained import TrainedRun


def draw_words(runs: Sequence[TrainedRun], review: int, path: Path) -> Path:
    """Draw a test review once for each model, with the words that explain its rating.

    Args:
        runs: the models; the review is one of those that the first was tested on.
        review: its number, from 0.
        path: the picture to write.

    Returns:
        The path.
    """
    experiments = [L2XRun(run.configuration(L2XConfig)) for run in runs]
    text = test_review(experiments[0], review)
    found = [explain(experiment, run.folder, text) for experiment, run in zip(experiments, runs, strict=True)]
    return draw_explanations(text, found, path)

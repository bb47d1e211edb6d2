"""What the regularizer does: the same utility under all four."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import sstricks as sst
from sstricks.experiments.field_guide.bars import Bars
from sstricks.experiments.field_guide.exhibit import save

_REGULARIZERS = {
    "Euclidean": sst.Euclidean(),
    "categorical": sst.CategoricalEntropy(),
    "binary": sst.BinaryEntropy(),
    "exponential family": sst.ExponentialFamilyEntropy(),
}


def draw_regularizers(folder: Path) -> Path:
    """Draw the relaxations of the best two of five under every regularizer, at t = 1.

    Args:
        folder: where the PNG goes.

    Returns:
        The file.
    """
    u = torch.tensor([1.6, 0.9, 0.6, -0.4, -1.2], dtype=torch.float64)
    picture = Bars(("a", "b", "c", "d", "e"))
    width, height = picture.size
    figure = Figure(figsize=(5 * width, height), layout="constrained")
    axes = figure.subplots(1, 5, sharey=True)
    axes[0].set_title("utility $U$", fontsize=11)
    picture.paint_utility(axes[0], u)
    for axis, (name, f) in zip(axes[1:], _REGULARIZERS.items(), strict=True):
        axis.set_title(name, fontsize=11)
        picture.paint_point(axis, sst.KSubset(5, 2).softmax(u, 1.0, f))
    return save(figure, folder / "regularizers.png")

from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import sstricks as sst
from sstricks.experiments.field_guide.picture import Picture
from sstricks.experiments.runs.files import write_atomically
from sstricks.experiments.runs.seeds import generator_of


@dataclass(frozen=True)
class Exhibit:
    """A structure small enough to be drawn, with a utility and a relaxation.

    Attributes:
        name: of its file.
        trick: 𝒳, U, f; the temperature does not matter.
        picture: how its points look.
        temperatures: at which X_t is drawn, from warm to cold.
    """

    name: str
    trick: sst.StochasticSoftmaxTrick
    picture: Picture
    temperatures: tuple[float, ...] = (5.0, 1.0, 0.2)

    def draw(self, folder: Path, seed: int) -> Path:
        """Draw one utility, its X_t at each temperature, and its argmax, as in the paper's Fig. 2.

        Args:
            folder: where the PNG goes.
            seed: of the utility.

        Returns:
            The file.
        """
        with torch.no_grad():
            u = self.trick.draw(generator=generator_of(seed)).utility
        relaxed = {
            f"$t$ = {t:g}": self.trick.structure.softmax(u, t, self.trick.regularizer, solver=self.trick.solver)
            for t in self.temperatures
        }
        points = {**relaxed, "argmax, $t$ = 0": self.trick.structure.argmax(u)}
        count = len(points) + 1
        width, height = self.picture.size
        stacked = self.picture.stacked
        figure = Figure(figsize=(width, height * count) if stacked else (width * count, height), layout="constrained")
        axes = figure.subplots(*((count, 1) if stacked else (1, count)), sharey=not stacked)
        for axis, title in zip(axes, ("utility $U$", *points), strict=True):
            if stacked:
                axis.annotate(title, (-0.005, 0.63), xycoords="axes fraction", ha="right", va="center", fontsize=10)
            else:
                axis.set_title(title, fontsize=11)
        self.picture.paint_utility(axes[0], u)
        for axis, x in zip(axes[1:], points.values(), strict=True):
            self.picture.paint_point(axis, x)
        return save(figure, folder / f"{self.name}.png")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG.

    Args:
        figure: what is drawn.
        path: the file, which is replaced.

    Returns:
        The path.
    """
    FigureCanvasAgg(figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110, facecolor="white"))
    return path

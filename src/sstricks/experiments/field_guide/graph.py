from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from sstricks.experiments.field_guide.picture import INK, LEAST, Picture, visible


@dataclass(frozen=True)
class Graph(Picture):
    """Nodes in the plane, and edges as wide and as dark as their coordinates.

    Attributes:
        edges: LongTensor (2, E), from and to.
        places: of the nodes, shape (n, 2).
        names: of the nodes.
        directed: whether edges have arrow heads, and bend so that there and back are told apart.
        ends: nodes that are drawn filled: a root, a start, a goal.
    """

    edges: Tensor
    places: Tensor
    names: Sequence[str]
    directed: bool = False
    bend: float = 0.0
    ends: frozenset[int] = frozenset()

    def paint(self, axis: Axes, weights: Tensor, color: str) -> None:
        """Draw the nodes, and the edges that have weight.

        Args:
            axis: where to draw.
            weights: of the edges.
            color: of the edges.
        """
        places = self.places.tolist()
        for a, b, weight in zip(*self.edges.tolist(), weights.tolist(), strict=True):
            if weight > LEAST:
                width, alpha = visible(weight)
                axis.add_patch(
                    FancyArrowPatch(
                        places[a],
                        places[b],
                        arrowstyle="-|>,head_length=0.5,head_width=0.25" if self.directed else "-",
                        mutation_scale=5 + 7 * weight,
                        connectionstyle=f"arc3,rad={self.bend}",
                        shrinkA=7 if self.directed else 0,
                        shrinkB=8 if self.directed else 0,
                        linewidth=width * (0.7 if self.directed else 1),
                        color=color,
                        alpha=alpha,
                        zorder=1 + weight / 2,
                    )
                )
        for node, (x, y) in enumerate(places):
            filled = node in self.ends
            axis.scatter(x, y, s=170, color=INK if filled else "#FFFFFF", edgecolors=INK, linewidths=1.1, zorder=2)
            axis.annotate(
                self.names[node],
                (x, y),
                ha="center",
                va="center_baseline",
                fontsize=8,
                color="#FFFFFF" if filled else INK,
                zorder=3,
            )
        axis.margins(0.14)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_axis_off()

"""The graph layout data: latent spanning trees drawn by a force-directed algorithm (App. D.4.1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import sstricks as sst
from sstricks.experiments.runs.seeds import generator_of

_CHUNK = 2048  # examples laid out at once: their pairwise differences stay in the cache


@dataclass(frozen=True)
class Layouts:
    """Trajectories of trees being laid out, and the trees that no model gets to see.

    Attributes:
        positions: float32 (N, T, n, 2), in [-1, 1].
        edges: bool (N, n(n-1)/2), the tree, in the order of ``torch.triu_indices(n, n, 1)``.
    """

    positions: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def to(self, device: torch.device) -> "Layouts":
        """The same layouts on a device.

        Args:
            device: where they should be.

        Returns:
            The layouts there.
        """
        return Layouts(self.positions.to(device), self.edges.to(device))

    @property
    def num_frames(self) -> int:
        """T, the number of frames of a trajectory."""
        return self.positions.shape[1]

    @property
    def num_nodes(self) -> int:
        """n, the number of nodes of a tree."""
        return self.positions.shape[2]


def spring_step(positions: Tensor, adjacency: Tensor) -> Tensor:
    r"""One iteration of the Fruchterman–Reingold layout, as ``networkx.spring_layout(iterations=1)`` does it.

    .. math:: F_i = \sum_j (p_i - p_j) (k^2 / d_{ij}^2 - A_{ij} d_{ij} / k), \quad k = n^{-1/2}

    Every node moves a tenth of the larger axis range along its force; then the layout is centred and its largest
    absolute coordinate made 1. Distances, and the length that a force is divided by, are at least 0.01.

    Args:
        positions: (..., n, 2).
        adjacency: (..., n, n), symmetric.

    Returns:
        The next positions, (..., n, 2).
    """
    ideal = 1 / math.sqrt(positions.shape[-2])
    delta = positions.unsqueeze(-2) - positions.unsqueeze(-3)
    distance = delta.square().sum(-1).sqrt_().clamp_(min=0.01)
    strength = ideal**2 / distance.square() - adjacency * distance / ideal
    force = (delta * strength.unsqueeze(-1)).sum(-2)
    reach = 0.1 * (positions.amax(-2) - positions.amin(-2)).amax(-1)
    length = force.square().sum(-1, keepdim=True).sqrt_().clamp_(min=0.01)
    moved = positions + force * (reach[..., None, None] / length)
    centred = moved - moved.mean(-2, keepdim=True)
    return centred / centred.abs().amax((-2, -1), keepdim=True)


def simulate(
    num_examples: int, num_nodes: int = 10, num_frames: int = 10, *, generator: torch.Generator | None = None
) -> Layouts:
    """Draw trees and lay them out: frame 1 is the first output of the layout, for the start is an outlier (App. D.4.1).

    A tree is the maximum spanning tree of independent Gumbel(0) edge weights, which is not uniform over trees; the
    start is N(0, I) in the plane; each frame is one fresh :func:`spring_step` of the frame before.

    Args:
        num_examples: N, the number of trajectories.
        num_nodes: n, the number of nodes, at least 2.
        num_frames: T, the number of frames, at least 2.
        generator: where the randomness comes from; by default torch's own.

    Returns:
        The N layouts.

    Raises:
        ValueError: If there are fewer than 2 nodes or frames, or a negative number of examples.

    Example:
        >>> simulate(3, num_nodes=5, num_frames=4).positions.shape
        torch.Size([3, 4, 5, 2])
    """
    for name, found, least in (
        ("num_examples", num_examples, 0),
        ("num_nodes", num_nodes, 2),
        ("num_frames", num_frames, 2),
    ):
        if found < least:
            raise ValueError(f"{name} is {found}, expected at least {least}: pass a larger {name}.")
    trees = sst.SpanningTree.complete(num_nodes)
    weights = -torch.empty(num_examples, *trees.event_shape).exponential_(generator=generator).log()
    edges = trees.argmax(weights)
    start = torch.randn(num_examples, num_nodes, 2, dtype=torch.float64, generator=generator)
    frames = torch.empty(num_examples, num_frames, num_nodes, 2)
    for first in range(0, num_examples, _CHUNK):
        part = slice(first, first + _CHUNK)
        positions, adjacency = start[part], trees.to_adjacency(edges[part]).double()
        for frame in range(num_frames):
            positions = spring_step(positions, adjacency)
            frames[part, frame] = positions.float()
    return Layouts(frames, edges.bool())


@dataclass(frozen=True)
class Splits:
    """Training, validation and test layouts, drawn one after the other from one seed."""

    train: Layouts
    valid: Layouts
    test: Layouts


def make_splits(train: int, valid: int, test: int, num_nodes: int, num_frames: int, seed: int) -> Splits:
    """Draw the three splits of given sizes; the same arguments give the same numbers.

    Each split has a stream of its own, so that the test set does not depend on the size of the training set.

    Args:
        train: Number of training examples.
        valid: Number of validation examples.
        test: Number of test examples.
        num_nodes: n.
        num_frames: T.
        seed: Chooses the data set, non-negative.

    Returns:
        The three splits.
    """

    def draw(size: int, stream: int) -> Layouts:
        generator = generator_of(3 * seed + stream)
        return simulate(size, num_nodes, num_frames, generator=generator)

    return Splits(train=draw(train, 0), valid=draw(valid, 1), test=draw(test, 2))

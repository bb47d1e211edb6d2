"""The streets of a small town, as a structure of which only the argmax is known."""

import torch
from torch import Tensor


def lattice(side: int) -> tuple[Tensor, Tensor]:
    """The streets that lead right and down from crossing to crossing, LongTensor (2, E), and the crossings' places.

    Args:
        side: how many crossings there are in a row, and in a column.
    """
    nodes = torch.arange(side * side).reshape(side, side)
    right = torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()])
    down = torch.stack([nodes[:-1].flatten(), nodes[1:].flatten()])
    edges = torch.cat([right, down], -1)
    edges = edges[:, torch.argsort(edges[0] * side**2 + edges[1])]
    places = torch.stack([nodes.flatten() % side, -(nodes.flatten() // side)], -1)
    return edges, places.double()


def best_paths(u: Tensor, edges: Tensor) -> Tensor:
    """The indicator vectors of the best paths from the first node to the last, by dynamic programming.

    Args:
        u: utilities of the edges, shape (rows, E).
        edges: LongTensor (2, E), sorted by where they begin, which is before where they end.
    """
    chosen = torch.zeros_like(u)
    for row, weights in enumerate(u.tolist()):
        best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
        for e, (a, b) in enumerate(edges.T.tolist()):
            value, path = best[a]
            if b not in best or value + weights[e] > best[b][0]:
                best[b] = value + weights[e], [*path, e]
        chosen[row, best[int(edges.max())][1]] = 1
    return chosen

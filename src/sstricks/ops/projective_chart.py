"""Where the spans of a sentence stand in a chart, and the edges of projective trees among them.

A span of width w is a stretch of nodes i…i + w. Charts are flat: spans by width, those of one width by i.
"""

from typing import TypeVar

import torch
from torch import Tensor

from sstricks.errors import invalid

_Numbers = TypeVar("_Numbers", int, Tensor)


def offset(nodes: int, width: _Numbers) -> _Numbers:
    """Where the spans of a width begin."""
    return width * nodes - width * (width - 1) // 2


def size(nodes: int) -> int:
    """How many spans there are."""
    return nodes * (nodes + 1) // 2


def divisions(nodes: int, width: int, a: int, b: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the two parts of every division s < width of every span stand, each of shape (width, spans).

    The first part has width s + a; the second, width − s − b, begins s + b nodes later.
    """
    s = torch.arange(width, device=device).unsqueeze(-1)
    i = torch.arange(nodes - width, device=device)
    first, second = offset(nodes, s + a), offset(nodes, width - s - b)
    return first + i, second + s + b + i


def edge_ends(nodes: int, device: torch.device | None = None) -> Tensor:
    """All pairs i → j with i ≠ j and j ≠ 0 in lexicographic order, shape (2, (n−1)²)."""
    ends = torch.cartesian_prod(*[torch.arange(nodes, device=device)] * 2).T
    return ends[:, (ends[0] != ends[1]) & (ends[1] > 0)].contiguous()


def edge_cells(u: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Where every edge stands once the nodes without edges are left out, and how many nodes remain: 0 without a root.

    Edges to the right have the spans of one chart, edges to the left those of a second one behind it.
    """
    i, j = edge_ends(nodes, u.device)
    here = (u > -torch.inf).to(u.dtype)
    touching = (torch.nn.functional.one_hot(i, nodes) + torch.nn.functional.one_hot(j, nodes)).to(u.dtype)
    present = here @ touching > 0
    rank = present.cumsum(-1) - 1  # those left out follow behind, in any places of their own
    rank = torch.where(present, rank, present.sum(-1, keepdim=True) + (~present).cumsum(-1) - 1)
    a, b = rank[..., i], rank[..., j]
    cell = offset(nodes, (a - b).abs()) + torch.minimum(a, b) + torch.where(a > b, size(nodes), 0)
    return cell, torch.where(present[..., 0], present.sum(-1), 0)


def check_feasible(feasible: Tensor) -> None:
    """Raise unless every row has a projective tree."""
    if not bool(feasible.all()):
        row = int((~feasible.bool()).nonzero()[0])
        raise invalid(
            "u",
            f"no projective tree from node 0 in row {row} (without its masked and -inf edges)",
            "edges that hold at least one tree",
            "Unmask edges: those out of node 0 always allow one. A node without any edge is padding and is skipped.",
        )

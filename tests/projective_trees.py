"""Projective dependency trees from their definition, and the structure of any listed vertices.

None of the library's algorithms are used.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

import sstricks as sst

Edges = tuple[tuple[int, int], ...]


def ordered_pairs(n: int) -> Edges:
    return tuple((i, j) for i in range(n) for j in range(n) if i != j and j != 0)


def descendants(heads: dict[int, int], node: int) -> set[int]:
    """The node itself and all whose chain of heads meets it; nothing for nodes on a cycle."""
    found = set()
    for v in [*heads, 0]:
        chain = [v]
        while chain[-1] in heads and heads[chain[-1]] not in chain:
            chain.append(heads[chain[-1]])
        if node in chain:
            found.add(v)
    return found


def is_projective_tree(heads: dict[int, int], nodes: list[int]) -> bool:
    """Everybody descends from node 0, and everybody's descendants are neighbours among the nodes."""
    if descendants(heads, 0) != set(nodes):
        return False
    for v in nodes:
        places = sorted(nodes.index(d) for d in descendants(heads, v))
        if places != list(range(places[0], places[-1] + 1)):
            return False
    return True


def projective_vertices(edges: Edges) -> np.ndarray:
    """Every choice of one edge into each node but 0 that is a projective tree on the nodes that some edge touches."""
    nodes = sorted({v for edge in edges for v in edge})
    into = [[e for e, (_, j) in enumerate(edges) if j == v] for v in nodes if v != 0]
    rows = [
        [int(e in chosen) for e in range(len(edges))]
        for chosen in itertools.product(*into)
        if nodes[:1] == [0] and is_projective_tree({edges[e][1]: edges[e][0] for e in chosen}, nodes)
    ]
    return np.array(rows, dtype=np.int8).reshape(-1, len(edges))


def projective_trees(n: int) -> np.ndarray:
    """All of them on the root 0 and words 1..n−1, as matrices [head, modifier]."""
    pairs = ordered_pairs(n)
    vertices = projective_vertices(pairs)
    trees = np.zeros((len(vertices), n, n))
    for pair, (head, modifier) in enumerate(pairs):
        trees[:, head, modifier] = vertices[:, pair]
    return trees


def first_best(vertices: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Of the best vertices the lexicographically largest."""
    values = np.where(vertices > 0, u, 0.0).sum(-1)
    return np.array(max(map(tuple, vertices[values == values.max()])), dtype=np.int8)


class Listed(sst.Structure):
    """Any vertices, with the argmax and the exponential family by going through all of them."""

    def __init__(self, vertices: np.ndarray) -> None:
        super().__init__(vertices.shape[1:], None, at_least=1)
        self.vertices = torch.from_numpy(vertices).double()

    def softmax(self, u, temperature, regularizer, *, solver=None):
        if not isinstance(regularizer, sst.ExponentialFamilyEntropy):
            return super().softmax(u, temperature, regularizer, solver=solver)
        t = torch.as_tensor(temperature, dtype=torch.float64).unsqueeze(-1)
        return ((u.double() / t) @ self.vertices.T).softmax(-1).matmul(self.vertices).to(u.dtype)

    def _argmax(self, u: torch.Tensor) -> torch.Tensor:
        rows = u.reshape(-1, u.shape[-1]).numpy()
        best = np.stack([first_best(self.vertices.numpy(), row) for row in rows])
        return torch.from_numpy(best).to(u.dtype).reshape(u.shape)

    def _log_partition(self, u: torch.Tensor) -> torch.Tensor:
        return (u @ self.vertices.T).logsumexp(-1)

    def _contains(self, x: torch.Tensor) -> torch.Tensor:
        return (x.unsqueeze(-2) == self.vertices).all(-1).any(-1)

    def _candidates(self) -> int:
        return len(self.vertices)

    def _support(self) -> torch.Tensor:
        return self.vertices

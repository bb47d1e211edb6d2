"""The structure of any listed vertices: its argmax and its exponential family by going through all of them."""

from __future__ import annotations

import numpy as np
import torch

import sstricks as sst


def first_of_the_best(vertices: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Of the best vertices (more coordinates at +∞ first), that which has the first item in which they differ."""
    infinite = (vertices @ np.isposinf(u)).astype(float)
    value = np.where(vertices > 0, np.where(np.isposinf(u), 0.0, u), 0.0).sum(-1)
    keys = zip(infinite.tolist(), value.tolist(), vertices.tolist(), strict=True)
    return np.array(max(keys)[2], dtype=np.int8)


class Listed(sst.Structure):
    """Any 𝒳 by the list of its vertices, with its exponential family."""

    def __init__(self, vertices: np.ndarray) -> None:
        super().__init__((vertices.shape[1],), None, at_least=0)
        self.vertices = torch.from_numpy(vertices).double()

    def softmax(self, u, temperature, regularizer, *, solver=None):
        # Apart from the library's registry, since it is no structure of the library.
        listed = _by_listing if isinstance(regularizer, sst.ExponentialFamilyEntropy) else sst.FrankWolfe()
        return super().softmax(u, temperature, regularizer, solver=solver or listed)

    def _argmax(self, u):
        found = [first_of_the_best(self.vertices.numpy(), row) for row in u.reshape(-1, u.shape[-1]).numpy()]
        return torch.from_numpy(np.stack(found)).to(u).reshape(u.shape)

    def _contains(self, x):
        return (x.unsqueeze(-2) == self.vertices).all(-1).any(-1)

    def _candidates(self):
        return len(self.vertices)

    def _support(self):
        return self.vertices

    def _log_partition(self, u):
        return (u @ self.vertices.T).logsumexp(-1)


def _by_listing(structure: Listed, regularizer: sst.Regularizer, u: torch.Tensor) -> torch.Tensor:
    return torch.softmax(u @ structure.vertices.T, -1) @ structure.vertices

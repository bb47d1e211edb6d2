from abc import abstractmethod
from typing import NoReturn

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.distributions.support import Vertices, all_vertices
from sstricks.errors import invalid, joint_shape
from sstricks.functional import from_working, to_working
from sstricks.ops.operator import is_eager
from sstricks.randomness import device_of
from sstricks.structures.structure import Structure


class VertexDistribution(BaseDistribution):
    """A distribution on the vertices of a structure 𝒳 whose probabilities are known.

    A subclass supplies `dtype`, `_log_prob`, `_mean`, `mode`, `entropy`, `sample` and `expand`.

    Args:
        structure: 𝒳.
        batch_shape: That of the parameters and the structure's mask together.
        validate_args: Whether `log_prob` of NaN is an error. Torch's default.
    """

    has_enumerate_support = True

    def __init__(self, structure: Structure, batch_shape: torch.Size, *, validate_args: bool | None = None) -> None:
        self.structure = structure
        super().__init__(batch_shape, structure.event_shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None: the structure checks the parameters."""
        return {}

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """That of the parameters, and of what is computed from them."""

    @property
    def support(self) -> Constraint:
        """𝒳."""
        return Vertices(self._present())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log P(X = value), shape (*batch); −∞ for what is no vertex.

        Args:
            value: Shape (*batch, *event_shape), any dtype.

        Raises:
            ValueError: `value` has the wrong shape, or NaN.
        """
        batch = self.structure.check_shape("value", value)
        joint_shape("value", value.shape, self.batch_shape, "distribution", batch)
        if self._validate_args and is_eager(value) and value.isnan().any():
            raise invalid("value", "NaN", "elements of 𝒳", "Look upstream for an overflow or 0/0.")
        inside = self._contains(value)
        somewhere = inside.reshape(*inside.shape, *[1] * len(self.event_shape))
        vertex = torch.where(somewhere, value, torch.zeros_like(value))
        dtype = torch.promote_types(value.dtype, self.dtype)
        return torch.where(inside, self._log_prob(to_working(vertex)), -torch.inf).to(dtype)

    def _contains(self, value: Tensor) -> Tensor:
        """Whether each is a vertex that `_log_prob` knows the probability of, which may be zero, shape (*batch)."""
        return self.structure.contains(value)

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor:
        """Log P(X = x) of vertices, in the working dtype; of zeros any number, with a finite gradient."""

    @abstractmethod
    def _mean(self) -> Tensor:
        """The marginals, in the working dtype."""

    @property
    def mean(self) -> Tensor:
        """The marginals P(xᵢ = 1), shape (*batch, *event_shape), differentiable."""
        return from_working(self._mean(), self.dtype)

    @property
    def variance(self) -> Tensor:
        """That of each coordinate, p(1 − p); differentiable.

        Raises:
            NotImplementedError: 𝒳 is not of zeros and ones.
        """
        if not self.structure.is_binary:
            raise NotImplementedError(
                "variance: found a structure that is not of zeros and ones. Take that of samples."
            )
        mean = self._mean()
        return from_working(mean * (1 - mean), self.dtype)

    def rsample(self, sample_shape: Shape = torch.Size()) -> NoReturn:
        """Not defined: a vertex has no gradient.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "rsample: a vertex has no gradient. Use sample() and log_prob in a score-function estimator "
            "(sst.estimators), or relax the argmax of random utilities by a StochasticSoftmaxTrick."
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All embeddings, shape (|𝒳|, *batch_shape, *event_shape), or with 1s for the batch if not `expand`."""
        return all_vertices(self.structure, self._present(), self.batch_shape, device_of(self), expand)

    def _present(self) -> Structure:
        """The structure without the coordinates that have probability zero."""
        return self.structure

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.structure!r}, batch_shape={tuple(self.batch_shape)})"


_OF_THE_MASK = {"mask", "batch_shape", "_copies"}


def check_same_structure(p: VertexDistribution, q: VertexDistribution) -> None:
    """Raise unless both structures are of one type and were made from equal arguments, masks apart.

    Args:
        p: One distribution.
        q: Another.

    Raises:
        ValueError: They are different sets 𝒳.
    """
    a, b = p.structure, q.structure
    if a is b:
        return
    if _equal(a, b):
        return
    raise invalid(
        "structure",
        f"{a!r} and {b!r}",
        "two distributions on the same structure",
        "There is no divergence between distributions on different sets.",
    )


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Structure) and type(a) is type(b):
        a, b = ({k: v for k, v in vars(s).items() if k not in _OF_THE_MASK} for s in (a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b

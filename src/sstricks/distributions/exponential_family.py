from copy import copy
from typing import Self

import torch
from torch import Tensor
from torch.distributions import register_kl
from torch.types import _size as Shape

from sstricks.distributions.base import as_asked
from sstricks.distributions.vertex_distribution import VertexDistribution, check_same_structure
from sstricks.errors import check_sizes, invalid, joint_shape
from sstricks.functional import from_working, working_dtype
from sstricks.ops.operator import is_readable
from sstricks.regularizers import ExponentialFamilyEntropy
from sstricks.solvers.registry import NoSolverError, find_solver, no_family
from sstricks.structures.structure import Structure


class ExponentialFamily(VertexDistribution):
    r"""The exponential family on the vertices of a structure, as a torch distribution (Sec. 5, eq. 8).

    .. math:: p(x) = \exp(u^\top x - A(u)), \quad x \in \mathcal{X}, \qquad
              A(u) = \log \sum_{x \in \mathcal{X}} \exp(u^\top x)

    It is exact: probabilities, samples, marginals, entropy, and the divergence from another one on the same structure,
    also under masks and −∞, which mark absent coordinates. A coordinate at +∞ is one wherever that is possible: all
    mass lies on the vertices with the most such coordinates.

    The gradient of `log_prob(x)` in u is x minus the marginals. The cross entropy E_p[−log q(x)], differentiable in the
    parameters of both, is ``kl_divergence(p, q) + p.entropy()``.

    Args:
        structure: 𝒳.
        u: Natural parameters, shape (*batch, *event_shape), any floating dtype.
        validate_args: Whether u is looked at right away, and an invalid row, or NaN in `log_prob`, is an error;
            otherwise it comes out as NaN. By default torch's on the CPU, and False on a device.

    Raises:
        NoSolverError: The family of this structure is intractable, as that of matchings.
        ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.

    Example:
        >>> trees = sst.ExponentialFamily(sst.SpanningTree.complete(4), torch.zeros(6))
        >>> trees.mean
        tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
        >>> trees.entropy().exp()
        tensor(16.)
        >>> trees.log_prob(trees.sample((2,))).exp()
        tensor([0.0625, 0.0625])
        >>> trees.log_prob(torch.ones(6))
        tensor(-inf)
    """

    def __init__(self, structure: Structure, u: Tensor, *, validate_args: bool | None = None) -> None:
        if not isinstance(structure, Structure):
            raise invalid("structure", repr(structure), "a structure such as sst.KSubset(n, k)", "It comes first.")
        try:
            find_solver(structure, ExponentialFamilyEntropy())
        except NoSolverError:
            raise no_family(structure, "marginals") from None
        batch = structure.check_shape("u", u)
        self.u = u.expand(batch + structure.event_shape)
        super().__init__(structure, batch, validate_args=validate_args)
        if self._validate_args:
            with self._checking():
                structure.scaled(u.detach(), 1.0)  # which finds fault with the values, if there is any

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same family with a larger batch shape."""
        new = self._expanded(ExponentialFamily, batch_shape, _instance)
        new.u = self.u.expand(new.batch_shape + self.event_shape)
        return new

    @property
    def dtype(self) -> torch.dtype:
        """That of u."""
        return self.u.dtype

    @property
    @as_asked
    def mode(self) -> Tensor:
        """The vertex of largest uᵀx; of several, the one that `Structure.argmax` takes."""
        return self.structure.argmax(self.u)

    @as_asked
    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Exact samples, shape (*sample_shape, *batch_shape, *event_shape), without gradient.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        return self.structure.sample(self.u, check_sizes("sample_shape", sample_shape), generator=generator)

    @as_asked
    def entropy(self) -> Tensor:
        """H = A(u) − uᵀ∇A(u), in nats, shape (*batch), differentiable."""
        return self.structure.entropy(self.u)

    def _present(self) -> Structure:
        """The structure without the coordinates at −∞."""
        present = self.u > -torch.inf
        if torch.compiler.is_compiling() or (is_readable(present) and present.all()):
            return self.structure  # objects cannot be copied in a graph that is traced
        masked = copy(self.structure)  # by hand: `Structure.masked` looks at the mask, and waits for it
        masked.mask = present if masked.mask is None else present & masked.mask.to(present.device)
        masked.batch_shape = self.batch_shape
        return masked

    def _contains(self, value: Tensor) -> Tensor:
        # Also with an absent coordinate, of which `_log_prob` takes care: a graph that lacks a node has other trees.
        inside, present = super()._contains(value), self._present()
        return inside if present is self.structure else inside | present.contains(value)

    def _natural(self) -> Tensor:
        """The parameters in the working dtype: absent ones at −∞, those at +∞ more than all finite ones together."""
        u, mask = self.u.to(working_dtype(self.u)), self.structure.mask
        if _may_hold(u == torch.inf):
            return self.structure.scaled(u, 1.0)
        return u if mask is None else u.masked_fill(~mask.to(u.device), -torch.inf)

    @as_asked
    def _mean(self) -> Tensor:
        return self.structure.softmax(self._natural(), 1.0, ExponentialFamilyEntropy())

    @as_asked
    def _log_prob(self, x: Tensor) -> Tensor:
        u = self._natural()
        absent = u == -torch.inf
        possible = ~self._any(absent & (x != 0))
        sure = (self.u == torch.inf) & ~absent
        if _may_hold(sure):
            possible = possible & (self._count(sure, x) == self._count(sure, self.mode))
        height = self._sum(torch.where(absent, 0.0, u) * x)
        return torch.where(possible, -_at_least_zero(self.structure.log_partition(u) - height), -torch.inf)

    def _sum(self, x: Tensor) -> Tensor:
        return x.flatten(-len(self.event_shape)).sum(-1)

    def _any(self, x: Tensor) -> Tensor:
        return x.flatten(-len(self.event_shape)).any(-1)

    def _count(self, which: Tensor, x: Tensor) -> Tensor:
        """The sum of these coordinates."""
        return self._sum(torch.where(which, x, 0.0))

    def __repr__(self) -> str:
        return f"ExponentialFamily({self.structure!r}, u: {tuple(self.u.shape)})"


def _may_hold(where: Tensor) -> bool:
    """Whether it holds somewhere, or this cannot be seen."""
    return not is_readable(where) or bool(where.any())


def _at_least_zero(x: Tensor) -> Tensor:
    """A number that rounding may have led below zero, with its derivatives, which a clamp would cut off there."""
    return x + (x.clamp(min=0.0) - x).detach()


def _outside(p: ExponentialFamily, u: Tensor, q: ExponentialFamily, v: Tensor) -> Tensor:
    """Whether p has mass where q has none, shape (*batch); u and v are the natural parameters.

    q has none where a coordinate that it lacks is one, and where fewer than possible of those at +∞ are. So look for
    the vertex in the support of p with the most of the former and the least of the latter. The support is what an
    argmax keeps to, if coordinates that p lacks are at −∞, and those that it has at +∞ outweigh all others.
    """
    n = p.event_shape.numel()
    lost, sure = (u > -torch.inf) & (v == -torch.inf), (q.u == torch.inf) & (v > -torch.inf)
    worth = (n + 1) * lost.to(u.dtype) - sure.to(u.dtype)
    heavy = worth + 2 * (n + 1) ** 2 * (p.u == torch.inf).to(u.dtype)
    x = p.structure.argmax(torch.where(u > -torch.inf, heavy, -torch.inf))
    return p._sum(worth * x) > -q._count(sure, q.mode)


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    r"""(u − v)ᵀμ − A(u) + A(v), with the marginals μ of p.

    Where a coordinate is absent from p, μ is zero. Where it is absent from q alone, μ is zero or the divergence is
    infinite. So both drop out of the product.
    """
    check_same_structure(p, q)
    joint_shape("q", q.batch_shape, p.batch_shape, "p")
    u, v = p._natural(), q._natural()
    both = (u > -torch.inf) & (v > -torch.inf)
    gap = torch.where(both, u, 0.0) - torch.where(both, v, 0.0)
    value = p._sum(gap * p._mean()) - p.structure.log_partition(u) + q.structure.log_partition(v)
    value = _at_least_zero(value)
    if _may_hold((u > -torch.inf) & (v == -torch.inf) | (q.u == torch.inf)):
        value = torch.where(_outside(p, u, q, v), torch.inf, value)
    return from_working(value, torch.promote_types(p.u.dtype, q.u.dtype))

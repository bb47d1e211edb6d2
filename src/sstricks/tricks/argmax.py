from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions import VertexDistribution, Vertices
from sstricks.distributions.support import all_vertices
from sstricks.errors import invalid
from sstricks.ops.operator import is_eager
from sstricks.randomness import device_of
from sstricks.structures.structure import Structure
from sstricks.tricks.known_law import known_law
from sstricks.tricks.trick import Trick


class StochasticArgmaxTrick(Trick):
    r"""The law of the best embedding under a random utility (Def. 1, eq. 4), as a torch distribution.

    .. math:: X = \operatorname{argmax}_{x \in \mathcal{X}} U^\top x

    Its probabilities are known for OneHot, and KSubset up to k = 12, with Gumbel or NegativeExponential utilities, for
    Subset with Logistic, and for Matching with Sorting utilities. There, and nowhere else, it has `log_prob`,
    `mean`, `mode`, `variance` and `entropy`, and `kl_divergence` between two of them is that of the vertices. (Those
    sums over 𝒳 that have no closed form are for 𝒳 of up to 2,000 vertices.)

    Args:
        structure: 𝒳.
        utility: U, a distribution with the structure's event shape, or one with event_shape () whose batch shape ends
            in it, which is read as independent coordinates.
        validate_args: Whether an invalid utility (NaN, no vertex) is an error, and `log_prob` of what is no vertex;
            otherwise they are NaN, and −∞. By default torch's on the CPU, and False on a device.

    Raises:
        ValueError: The utility does not fit the structure.

    Example:
        >>> from torch.distributions import Gumbel
        >>> _ = torch.manual_seed(0)
        >>> trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), Gumbel(torch.zeros(4), 1.0))
        >>> trick.sample((3,)).sum(-1)
        tensor([2., 2., 2.])
        >>> trick.mean
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    has_rsample = False
    has_enumerate_support = True

    def __init__(self, structure: Structure, utility: Distribution, *, validate_args: bool | None = None) -> None:
        super().__init__(structure, utility, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        """𝒳."""
        return Vertices(self._present())

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Embeddings x ∈ 𝒳, shape (*sample_shape, *batch_shape, *event_shape).

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        with torch.no_grad():
            return self.vertex(self.sample_utility(sample_shape, generator))

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Not defined: a vertex has no gradient.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "rsample: the argmax has no gradient. For vertices with the gradient of a relaxation write "
            "StraightThrough(StochasticSoftmaxTrick(structure, utility, temperature, regularizer)).rsample(); without "
            "StraightThrough it is the relaxation itself, and sample() gives vertices without a gradient."
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log P(X = value), shape (*batch), differentiable in the parameters of the utility.

        Raises:
            NotImplementedError: It is not known for this structure and utility.
            ValueError: `value` is not in 𝒳.
        """
        found = self._law().log_prob(value)
        if self._validate_args and is_eager(value) and not (found > -torch.inf).all():  # else they are vertices
            self._check_vertices(value)
        return self._in_dtype(found, value)

    @property
    def mean(self) -> Tensor:
        """The probabilities P(Xᵢ = 1), where they are known; differentiable."""
        return self._in_dtype(self._law().mean)

    @property
    def mode(self) -> Tensor:
        """The most probable vertex, where the law is known."""
        return self._in_dtype(self._law().mode)

    @property
    def variance(self) -> Tensor:
        """That of each coordinate, p(1 − p), where it is known; differentiable."""
        return self._in_dtype(self._law().variance)

    def entropy(self) -> Tensor:
        """In nats, shape (*batch), where it is known; differentiable."""
        return self._in_dtype(self._law().entropy())

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All embeddings, shape (|𝒳|, *batch_shape, *event_shape), or with 1s for the batch if not `expand`."""
        return all_vertices(self.structure, self._present(), self.batch_shape, device_of(self.utility), expand)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same trick with a larger batch shape, and independent noise in it."""
        new = self._expanded(StochasticArgmaxTrick, batch_shape, _instance)
        new.utility = self.utility.expand(batch_shape)
        return new

    def _check_vertices(self, value: Tensor) -> None:
        if not self.structure.contains(value).all():
            raise invalid(
                "value",
                "a point outside of X",
                f"elements of {self.structure!r}",
                "Relaxed samples have no mass; with validate_args=False their log-probability is -inf.",
            )

    def _law(self) -> VertexDistribution:
        law = known_law(self.structure, self.utility)
        law._asked = self._asked
        return law

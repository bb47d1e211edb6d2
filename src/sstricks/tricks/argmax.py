import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.errors import check_sizes
from sstricks.randomness import device_of, drawing_from
from sstricks.structures.structure import Structure
from sstricks.tricks.log_prob import find_log_prob
from sstricks.tricks.trick import Trick


class _Vertices(Constraint):
    """Membership in 𝒳."""

    is_discrete = True

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self._event_dim = len(structure.event_shape)
        super().__init__()

    @property
    def event_dim(self) -> int:
        return self._event_dim

    def check(self, value: Tensor) -> Tensor:
        return self.structure.contains(value)


class StochasticArgmaxTrick(Trick):
    r"""The law of the best embedding under a random utility (Def. 1, eq. 4), as a torch distribution.

    .. math:: X = \operatorname{argmax}_{x \in \mathcal{X}} U^\top x

    Args:
        structure: 𝒳.
        utility: U, a distribution with the structure's event shape, or one with event_shape () whose batch shape ends
            in it, which is read as independent coordinates.

    Raises:
        ValueError: The utility does not fit the structure.

    Example:
        >>> from torch.distributions import Gumbel
        >>> _ = torch.manual_seed(0)
        >>> trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), Gumbel(torch.zeros(4), 1.0))
        >>> trick.sample((3,)).sum(-1)
        tensor([2., 2., 2.])
    """

    has_rsample = False
    has_enumerate_support = True

    def __init__(self, structure: Structure, utility: Distribution) -> None:
        super().__init__(structure, utility)

    @property
    def support(self) -> Constraint:
        """𝒳."""
        return _Vertices(self.structure)

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Embeddings x ∈ 𝒳, shape (*sample_shape, *batch_shape, *event_shape).

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        with torch.no_grad(), drawing_from(generator, self.utility):
            return self.structure.argmax(self.utility.sample(check_sizes("sample_shape", sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log P(X = value), shape (*batch), where it is known exactly.

        That is: Subset with Logistic, OneHot, or KSubset for k ≤ 12, with Gumbel or NegativeExponential utilities, and
        square Matching with Sorting utilities.

        Raises:
            NotImplementedError: It is not known for this structure and utility.
            ValueError: `value` is not in 𝒳.
        """
        return find_log_prob(self.structure, self.utility)(value)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All embeddings, shape (|𝒳|, *batch_shape, *event_shape), or with 1s for the batch if not `expand`."""
        support = self.structure.enumerate_support()
        support = support.to(device_of(self.utility) or support.device)
        support = support.reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        return support.expand(-1, *self.batch_shape, *self.event_shape) if expand else support

    def expand(self, batch_shape: Shape, _instance: object = None) -> "StochasticArgmaxTrick":
        """The same trick with a larger batch shape, and independent noise in it."""
        return StochasticArgmaxTrick(self.structure, self._expanded_utility(batch_shape))

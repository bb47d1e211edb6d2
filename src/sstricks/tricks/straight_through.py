import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.errors import invalid
from sstricks.tricks.argmax import StochasticArgmaxTrick
from sstricks.tricks.draw import Draw
from sstricks.tricks.softmax import StochasticSoftmaxTrick
from sstricks.tricks.trick import Trick


class StraightThrough(Trick):
    """The straight-through estimator on a softmax trick: hard forward, soft backward.

    `rsample` has exactly the value of the argmax X, and the gradient of the relaxed sample X_t of the same utility.

    Args:
        trick: The relaxation.

    Raises:
        ValueError: `trick` is not a softmax trick.

    Example:
        >>> from torch.distributions import Gumbel
        >>> trick = sst.StochasticSoftmaxTrick(
        ...     sst.OneHot(3), Gumbel(torch.zeros(3), 1.0), 1.0, sst.CategoricalEntropy()
        ... )
        >>> bool(sst.OneHot(3).contains(sst.StraightThrough(trick).rsample()))
        True
    """

    has_enumerate_support = True

    def __init__(self, trick: StochasticSoftmaxTrick) -> None:
        if not isinstance(trick, StochasticSoftmaxTrick):
            raise invalid(
                "trick",
                f"a {type(trick).__name__}",
                "a StochasticSoftmaxTrick",
                "The gradient is that of a relaxation: name its regularizer and temperature.",
            )
        self.trick = trick
        super().__init__(trick.structure, trick.utility)

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  torch's own idiom
        """Whether the utility is reparameterised."""
        return self.trick.has_rsample

    @property
    def support(self) -> Constraint:
        """𝒳."""
        return self._hard.support

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Vertices of 𝒳, shape (*sample_shape, *batch_shape, *event_shape), with the gradient of `trick.rsample`."""
        draw = self.draw(sample_shape, generator=generator)
        return draw.discrete + (draw.relaxed - draw.relaxed.detach())

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """As `rsample`, detached."""
        return self.structure.argmax(self._detached_utility(sample_shape, generator))

    def draw(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Draw:
        """The trick's draw."""
        return self.trick.draw(sample_shape, generator=generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log P(X = value), as for the `StochasticArgmaxTrick`, whose law the values have.

        Raises:
            NotImplementedError: It is not known for this structure and utility.
            ValueError: `value` is not in 𝒳.
        """
        return self._hard.log_prob(value)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All embeddings, shape (|𝒳|, *batch_shape, *event_shape), or with 1s for the batch if not `expand`."""
        return self._hard.enumerate_support(expand)

    @property
    def _hard(self) -> StochasticArgmaxTrick:
        return StochasticArgmaxTrick(self.structure, self.utility)

    def expand(self, batch_shape: Shape, _instance: object = None) -> "StraightThrough":
        """The same estimator with a larger batch shape."""
        return StraightThrough(self.trick.expand(batch_shape))

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.tricks.argmax import StochasticArgmaxTrick
from sstricks.tricks.draw import Draw
from sstricks.tricks.softmax import StochasticSoftmaxTrick
from sstricks.tricks.trick import Trick


class StraightThrough(Trick):
    """The straight-through estimator on a softmax trick: hard forward, soft backward.

    `rsample` has exactly the value of the argmax X, and the gradient of the relaxed sample X_t of the same utility.

    Args:
        trick: The relaxation.

    Example:
        >>> from torch.distributions import Gumbel
        >>> trick = sst.StochasticSoftmaxTrick(
        ...     sst.OneHot(3), Gumbel(torch.zeros(3), 1.0), 1.0, sst.CategoricalEntropy()
        ... )
        >>> bool(sst.OneHot(3).contains(sst.StraightThrough(trick).rsample()))
        True
    """

    has_rsample = True

    def __init__(self, trick: StochasticSoftmaxTrick) -> None:
        self.trick = trick
        super().__init__(trick.structure, trick.utility)

    @property
    def support(self) -> Constraint:
        """𝒳."""
        return StochasticArgmaxTrick(self.structure, self.utility).support

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Vertices of 𝒳, shape (*sample_shape, *batch_shape, *event_shape), with the gradient of `trick.rsample`."""
        draw = self.draw(sample_shape, generator=generator)
        return draw.discrete + (draw.relaxed - draw.relaxed.detach())

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """As `rsample`, detached."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def draw(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Draw:
        """The trick's draw."""
        return self.trick.draw(sample_shape, generator=generator)

    def expand(self, batch_shape: Shape, _instance: object = None) -> "StraightThrough":
        """The same estimator with a larger batch shape."""
        return StraightThrough(self.trick.expand(batch_shape))

from typing import Self

import torch
from torch import Tensor
from torch.types import _size as Shape

from sstricks.errors import invalid
from sstricks.tricks.argmax import StochasticArgmaxTrick
from sstricks.tricks.draw import Draw
from sstricks.tricks.softmax import StochasticSoftmaxTrick


class StraightThrough(StochasticArgmaxTrick):
    """The straight-through estimator on a softmax trick: hard forward, soft backward.

    It is the argmax trick of the same structure and utility, law and all, with an `rsample` that has exactly the value
    of the argmax X, and the gradient of the relaxed sample X_t of the same utility. That gradient is biased, but no
    soft sample reaches the loss, so that the model is trained on what it will see: vertices.

    Args:
        trick: The relaxation.

    Raises:
        ValueError: `trick` is not a softmax trick.

    Example:
        Learn the utilities under which pairs of items have a small loss:

        >>> _ = torch.manual_seed(0)
        >>> logits, cost = torch.zeros(4, requires_grad=True), torch.tensor([1.0, 0.0, 2.0, 0.0])
        >>> optimizer = torch.optim.Adam([logits], lr=0.1)
        >>> for step in range(100):
        ...     relaxed = sst.StochasticSoftmaxTrick(
        ...         sst.KSubset(4, 2), sst.Gumbel(logits), 0.5, sst.ExponentialFamilyEntropy()
        ...     )
        ...     pairs = sst.StraightThrough(relaxed).rsample((16,))  # zeros and ones
        ...     loss = (pairs @ cost).mean()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> sst.KSubset(4, 2).argmax(logits)
        tensor([0., 1., 0., 1.])
    """

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
        self._dtype, self._validate_args, self._asked = trick._dtype, trick._validate_args, trick._asked

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  torch's own idiom
        """Whether the utility is reparameterised."""
        return self.trick.has_rsample

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Vertices of 𝒳, shape (*sample_shape, *batch_shape, *event_shape), with the gradient of `trick.rsample`.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            NotImplementedError: The utility is not reparameterised.
        """
        draw = self.draw(sample_shape, generator=generator)
        return draw.discrete + (draw.relaxed - draw.relaxed.detach())

    def draw(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Draw:
        """The trick's draw."""
        return self.trick.draw(sample_shape, generator=generator)

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same estimator with a larger batch shape, and independent noise in it."""
        new = self._expanded(StraightThrough, batch_shape, _instance)
        new.trick = self.trick.expand(batch_shape)
        new.utility = new.trick.utility
        return new

    def __repr__(self) -> str:
        return f"StraightThrough({self.trick!r})"

from dataclasses import dataclass


@dataclass(frozen=True)
class Decay:
    """A learning rate's factor: 1 until the last part of training, then in a straight line to nearly 0.

    Attributes:
        steps: All of training.
        share: The share of it that the decline takes, in [0, 1]; 0 keeps the rate constant, as the paper does.

    Raises:
        ValueError: If the share is not in [0, 1].

    Example:
        >>> [Decay(steps=1000, share=0.3)(step) for step in (0, 700, 850, 1000)]
        [1.0, 1.0, 0.5, 0.0]
    """

    steps: int
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected a number in [0, 1], 0 for a constant learning rate.")

    def __call__(self, step: int) -> float:
        """The factor at a step, counted from 0."""
        decline = self.share * self.steps
        return min(1.0, max(0.0, (self.steps - step) / decline)) if decline else 1.0

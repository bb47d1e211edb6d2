from dataclasses import dataclass


@dataclass(frozen=True)
class LinearRate:
    """A learning rate's factor: it falls in a straight line from 1, and then stays (App. D.6).

    Attributes:
        steps: over which it falls, 0 for none.
        final: where it stays, in [0, 1].

    Raises:
        ValueError: if either is out of range.

    Example:
        >>> [LinearRate(steps=100, final=0.5)(step) for step in (0, 50, 100, 1000)]
        [1.0, 0.75, 0.5, 0.5]
    """

    steps: int
    final: float

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 <= self.final <= 1:
            raise ValueError(
                f"the learning rate falls over {self.steps} steps to {self.final} of its first value, expected a "
                "number of steps and a share in [0, 1]: change lr_share or lr_final."
            )

    def __call__(self, step: int) -> float:
        """The factor at a step, counted from 0."""
        return self.final if step >= self.steps else 1 + (self.final - 1) * step / self.steps

from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    r"""A weight that is 0 at first and then rises to 1 in a straight line.

    Graph layout has a second basin, in which the relaxed tree marks the pairs that are *not* joined. It opens when the
    network of the absent edges, whose messages have weight :math:`1 - X \approx 0.8` at the start, learns the mean
    force first: from then on raising :math:`X` on a true edge takes force away from it. While that network is silent
    nothing but a message of type 1 can explain a force, so the edges are found on the right side; then it joins in.

    Attributes:
        hold: Steps at weight 0.
        length: Steps from there to weight 1.

    Raises:
        ValueError: If either is negative.

    Example:
        >>> [Ramp(hold=100, length=50)(step) for step in (0, 99, 125, 1000)]
        [0.0, 0.0, 0.5, 1.0]
        >>> Ramp()(0)
        1.0
    """

    hold: int = 0
    length: int = 0

    def __post_init__(self) -> None:
        for name in ("hold", "length"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number of steps, 0 for none.")

    def __call__(self, step: int) -> float:
        """The weight at a step, counted from 0."""
        if step >= self.hold + self.length:
            return 1.0
        return max(0.0, (step - self.hold) / self.length) if self.length else 0.0

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machines:
    """Where trials are trained, and how many at a time.

    Attributes:
        address: of a Ray cluster; none to start Ray on this machine and to end it afterwards.
        jobs: trials at a time; none for one per core.
        max_failures: how often a trial is tried again whose process died.
    """

    address: str | None = None
    jobs: int | None = None
    max_failures: int = 3


def share_of_a_trial(cores: float, gpus: float, jobs: int, nodes: Sequence[float]) -> dict[str, float]:
    """What a trial gets of the machines, when as many as possible of some trials are to run at a time.

    Args:
        cores: of all machines together.
        gpus: of all machines together.
        jobs: trials at a time.
        nodes: the cores of each machine; a trial stays on one.

    Returns:
        Whole cores, or a part of one; and a GPU or a part of one, if there are any.

    Example:
        >>> share_of_a_trial(8, 0, 2, nodes=[8])
        {'cpu': 4}
        >>> share_of_a_trial(2, 0, 3, nodes=[2])
        {'cpu': 0.6666}
        >>> share_of_a_trial(48, 2, 4, nodes=[8] * 6)
        {'cpu': 8, 'gpu': 0.5}
    """
    share = {"cpu": _whole_or_part(min(cores / jobs, max(nodes)))}
    return {**share, "gpu": _whole_or_part(min(gpus / jobs, 1.0))} if gpus else share


def _whole_or_part(amount: float) -> float:
    return int(amount) if amount >= 1 else int(amount * 10_000) / 10_000  # Ray counts in ten-thousandths

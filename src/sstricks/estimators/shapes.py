from torch import Tensor

from sstricks.errors import invalid


def check_shapes(log_prob: Tensor, loss: Tensor) -> None:
    """Raise unless a loss belongs to each probability."""
    if log_prob.shape != loss.shape:
        raise invalid(
            "loss",
            f"shape {tuple(loss.shape)}",
            f"that of log_prob, {tuple(log_prob.shape)}",
            "Sum both over everything but the batch.",
        )

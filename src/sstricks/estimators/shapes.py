from torch import Tensor

from sstricks.errors import invalid, tensor


def check_shapes(log_prob: Tensor, loss: Tensor) -> None:
    """Raise unless a loss belongs to each probability."""
    if not tensor("loss", loss).is_floating_point():
        raise invalid("loss", f"dtype {loss.dtype}", "a floating dtype", "Write loss.float().")
    if tensor("log_prob", log_prob).shape != loss.shape:
        raise invalid(
            "loss",
            f"shape {tuple(loss.shape)}",
            f"that of log_prob, {tuple(log_prob.shape)}",
            "Sum both over everything but the batch.",
        )

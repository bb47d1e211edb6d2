from torch import Tensor

from sstricks.errors import check_tensor, invalid


def check_shapes(log_prob: Tensor, loss: Tensor) -> None:
    """Raise unless a loss belongs to each probability."""
    if not check_tensor("loss", loss).is_floating_point():
        raise invalid("loss", f"dtype {loss.dtype}", "a floating dtype", "Write loss.float().")
    if check_tensor("log_prob", log_prob).shape != loss.shape:
        raise invalid(
            "loss",
            f"shape {tuple(loss.shape)}",
            f"that of log_prob, {tuple(log_prob.shape)}",
            "Sum both over everything but the batch.",
        )

from torch import Tensor


def check_shapes(log_prob: Tensor, loss: Tensor) -> None:
    """Raise unless a loss belongs to each probability."""
    if log_prob.shape != loss.shape:
        raise ValueError(
            f"loss has shape {tuple(loss.shape)}, expected log_prob's {tuple(log_prob.shape)}: "
            "sum both over everything but the batch."
        )

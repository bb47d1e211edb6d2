from torch import Tensor, nn

from sstricks.errors import invalid
from sstricks.estimators.shapes import check_shapes


def leave_one_out(loss: Tensor) -> Tensor:
    r"""What each loss is above the mean of the others along the first dimension.

    .. math:: \ell_i - \frac{1}{K - 1} \sum_{j \ne i} \ell_j = \frac{K}{K - 1} (\ell_i - \bar\ell)

    Args:
        loss: (K, *batch), K ≥ 2.

    Returns:
        The same shape.

    Raises:
        ValueError: There is only one loss.

    Example:
        >>> sst.estimators.leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
        tensor([-3.0000, -1.5000, 4.5000])
    """
    if loss.dim() == 0 or loss.shape[0] < 2:
        raise invalid(
            "loss",
            f"shape {tuple(loss.shape)}",
            "at least two losses along the first dimension",
            "Nothing is left when one is left out of one: draw more, or use Reinforce with its moving average.",
        )
    return (loss - loss.mean(0)) * (loss.shape[0] / (loss.shape[0] - 1))


class BatchReinforce(nn.Module):
    r"""REINFORCE whose baseline for an example is the mean loss of the other examples in its batch.

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \frac{1}{B} \sum_b \Big( \nabla \ell_b
        + \Big( \ell_b - \frac{1}{B - 1} \sum_{c \ne b} \ell_c \Big) \nabla \log p_b \Big)

    Unbiased as long as the loss of one example does not depend on the actions of the others, as it would through batch
    normalisation. The mean of the whole batch, the example's own loss included, would shrink every score term to
    1 − 1/B of what it should be.

    Example:
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> p = torch.distributions.Bernoulli(logits=loc)
        >>> sst.estimators.BatchReinforce()(p.log_prob(torch.ones(2)), torch.tensor([1.0, 3.0])).backward()
        >>> loc.grad
        tensor([-0.5000, 0.5000])
    """

    def forward(self, log_prob: Tensor, loss: Tensor) -> Tensor:
        """A scalar whose gradient is the estimator.

        Args:
            log_prob: (B,), of the action that was drawn, differentiable in the distribution's parameters.
            loss: (B,), of that action; its own gradient passes through.

        Returns:
            The surrogate, ().

        Raises:
            ValueError: If the shapes differ, or B < 2.
        """
        return _surrogate(log_prob, loss)


class RLOO(nn.Module):
    r"""REINFORCE with K actions for each example, each with the mean loss of the other K − 1 as its baseline.

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \frac{1}{K} \sum_k \Big( \nabla \ell_k
        + \Big( \ell_k - \frac{1}{K - 1} \sum_{j \ne k} \ell_j \Big) \nabla \log p(u_k) \Big)

    Unbiased: the other actions are independent of the one that they are the baseline of. From Kool, van Hoof and
    Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019).

    Example:
        >>> trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), torch.distributions.Gumbel(torch.zeros(4), 1.0))
        >>> action = sst.estimators.draw_action(trick, (8,))
        >>> sst.estimators.RLOO()(action.log_prob, action.discrete[..., 0]).shape
        torch.Size([])
    """

    def forward(self, log_prob: Tensor, loss: Tensor) -> Tensor:
        """A scalar whose gradient is the estimator, averaged over the examples.

        Args:
            log_prob: (K, *batch), of the actions that were drawn, differentiable in the distribution's parameters.
            loss: (K, *batch), of these actions; its own gradient passes through.

        Returns:
            The surrogate, ().

        Raises:
            ValueError: If the shapes differ, or K < 2.
        """
        return _surrogate(log_prob, loss)


def _surrogate(log_prob: Tensor, loss: Tensor) -> Tensor:
    check_shapes(log_prob, loss)
    return (loss + leave_one_out(loss.detach()) * log_prob).mean()

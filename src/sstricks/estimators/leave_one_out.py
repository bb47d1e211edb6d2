from torch import Tensor, nn

from sstricks.errors import invalid
from sstricks.estimators.reinforce import check_losses


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


class RLOO(nn.Module):
    r"""REINFORCE with leave-one-out baselines: the mean loss of the other samples along the first dimension.

    .. math:: \nabla \, \mathbb{E}[\ell] \approx \frac{1}{K} \sum_k \Big( \nabla \ell_k
        + \Big( \ell_k - \frac{1}{K - 1} \sum_{j \ne k} \ell_j \Big) \nabla \log p(u_k) \Big)

    The samples may be K actions for each example, shape (K, *batch), as in Kool, van Hoof and Welling, "Buy 4 REINFORCE
    samples, get a baseline for free!" (2019), or one action for each example of a batch, shape (B,). Both are unbiased
    as long as no loss depends on the other actions, as it would through batch normalisation. The mean of all samples,
    the own loss included, would shrink every score term to 1 − 1/K of what it should be.

    Example:
        >>> trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), torch.distributions.Gumbel(torch.zeros(4), 1.0))
        >>> action = sst.estimators.draw_action(trick, (8,))
        >>> sst.estimators.RLOO()(action.log_prob, action.discrete[..., 0]).shape
        torch.Size([])
        >>> loc = torch.zeros(2, requires_grad=True)  # a batch of two examples
        >>> p = torch.distributions.Bernoulli(logits=loc)
        >>> sst.estimators.RLOO()(p.log_prob(torch.ones(2)), torch.tensor([1.0, 3.0])).backward()
        >>> loc.grad
        tensor([-0.5000, 0.5000])
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
        check_losses(log_prob, loss)
        return (loss + leave_one_out(loss.detach()) * log_prob).mean()

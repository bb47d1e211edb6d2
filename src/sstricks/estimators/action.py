from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Independent
from torch.types import _size as Shape

from sstricks.errors import invalid
from sstricks.tricks.trick import Trick


class Action(NamedTuple):
    """A utility as the action of a score-function estimator, and the vertex it leads to.

    Attributes:
        log_prob: The utility's log-density, (*sample, *batch), differentiable in its parameters.
        utility: U, (*sample, *batch, *event), without gradient.
        discrete: X, the argmax of U, (*sample, *batch, *event), without gradient.
    """

    log_prob: Tensor
    utility: Tensor
    discrete: Tensor


def draw_action(
    trick: Trick, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None
) -> Action:
    r"""Draw a utility as the action of a score-function estimator (App. C.1), which any trick has a density of.

    .. math:: \nabla_\theta \, \mathbb{E}[\ell(X)] = \mathbb{E}[\ell(X(U)) \, \nabla_\theta \log p_\theta(U)]

    The utility is detached: differentiated through its own sample as well, the score would be another one. Where
    `StochasticArgmaxTrick.log_prob` is known, the vertex is the better action: averaging over the utilities that lead
    to one vertex can only lower the variance.

    Args:
        trick: An argmax or softmax trick.
        sample_shape: How many.
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Log-density, utility and vertex.

    Raises:
        ValueError: `trick` is none, or `sample_shape` no tuple of sizes.

    Example:
        >>> trick = sst.StochasticArgmaxTrick(sst.OneHot(3), torch.distributions.Normal(torch.zeros(3), 1.0))
        >>> sst.estimators.draw_action(trick, (2,)).log_prob.shape
        torch.Size([2])
    """
    if not isinstance(trick, Trick):
        raise invalid("trick", f"a {type(trick).__name__}", "an argmax or softmax trick", "Make one from a structure.")
    with torch.no_grad():
        u = trick.sample_utility(sample_shape, generator)
    law, depth = trick.utility, 0
    if isinstance(law, Independent):  # whose own sum fails on an empty batch
        law, depth = law.base_dist, law.reinterpreted_batch_ndims
    log_prob = law.log_prob(u)
    return Action(log_prob.sum(tuple(range(-depth, 0))) if depth else log_prob, u, trick.vertex(u))

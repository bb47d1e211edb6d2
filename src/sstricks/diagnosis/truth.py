from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sstricks.diagnosis.leaves import Loss, flat_gradient, losses
from sstricks.estimators import RLOO, draw_action
from sstricks.structures.structure import Structure
from sstricks.tricks import StochasticArgmaxTrick
from sstricks.tricks.trick import Trick

_CHUNK = 4096


@dataclass(frozen=True)
class Truth:
    """The gradient of E[L(X)] that estimators are held against.

    Attributes:
        gradient: In all parameters, flattened one after the other, float64.
        standard_error: Of each coordinate, zero if the gradient is exact.
        method: Where it comes from, in words.
        exact: Whether it is known without sampling.
    """

    gradient: Tensor
    standard_error: Tensor
    method: str
    exact: bool


def exact_truth(trick: StochasticArgmaxTrick, loss: Loss, leaves: tuple[Tensor, ...]) -> Truth:
    r"""By enumeration, ∑ₓ L(x) ∇p(x).

    Raises:
        NotImplementedError: The law of X is not known.
        ValueError: 𝒳 is too large to enumerate.
    """
    support = trick.structure.enumerate_support().to(leaves[0])
    with torch.no_grad():
        support = support[trick.log_prob(support) > -torch.inf]  # without the vertices that a masked utility excludes
    with torch.enable_grad():
        expected = (trick.log_prob(support).exp() * losses(loss, support).detach()).sum()
    gradient = flat_gradient(expected, leaves)
    return Truth(gradient, torch.zeros_like(gradient), f"exact, by enumeration of {len(support)} vertices", True)


def family_truth(structure: Structure, theta: Tensor, loss: Loss) -> Truth:
    r"""Of the exponential family, by enumeration.

    Raises:
        ValueError: 𝒳 is too large to enumerate.
    """
    support = structure.enumerate_support().to(theta)
    with torch.enable_grad():
        law = (support * theta).flatten(1).sum(-1).softmax(0)
        gradient = flat_gradient((law * losses(loss, support).detach()).sum(), (theta,))
    return Truth(gradient, torch.zeros_like(gradient), "exact, of the exponential family", True)


def sampled_truth(
    trick: Trick,
    loss: Loss,
    leaves: tuple[Tensor, ...],
    samples: int,
    generator: torch.Generator | None,
    advance: Callable[[int], None],
) -> Truth:
    """By the score function in the space of utilities, with leave-one-out baselines, and its standard error."""
    chunk = min(_CHUNK, max(2, samples // 20))
    means = []
    for _ in range(max(2, samples // chunk)):
        action = draw_action(trick, (chunk,), generator=generator)
        with torch.no_grad():
            values = losses(loss, action.discrete)
        means.append(flat_gradient(RLOO()(action.log_prob, values), leaves))
        advance(chunk)
    each = torch.stack(means)
    error = each.std(0) / len(each) ** 0.5
    method = f"estimated from {len(each) * chunk:,} utilities by the score function (RLOO)"
    return Truth(each.mean(0), error, method, False)

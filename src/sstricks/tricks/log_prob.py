"""Where the probability of a vertex is known: (structure, utility) pairs, as `register_kl` has them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel, Independent
from torch.nn.functional import binary_cross_entropy_with_logits

from sstricks.errors import invalid, joint_shape
from sstricks.structures import KSubset, Matching, OneHot, Structure, Subset
from sstricks.utilities import Logistic, Masked, NegativeExponential, Sorting

LogProb = Callable[[Tensor], Tensor]
_LARGEST_K = 12  # the recursion visits all 2ᵏ subsets of the chosen


def find_log_prob(structure: Structure, utility: Distribution) -> LogProb:
    """The function x ↦ log P(X = x) for a structure and a utility with its event shape.

    Raises:
        NotImplementedError: It is not known in closed form.
    """
    base, mask = utility, structure.mask
    while isinstance(base, Independent | Masked):
        if isinstance(base, Masked):
            mask = base.mask if mask is None else mask.to(base.mask.device) & base.mask
            base = base.base
        else:
            base = base.base_dist
    match structure, base:
        case OneHot(), Gumbel() | NegativeExponential():
            k = 1
        case KSubset(k=k), Gumbel() | NegativeExponential() if k <= _LARGEST_K:
            pass
        case Subset(), Logistic():
            logits = _with_absences(structure, base.loc / base.scale, mask)
            return lambda x: _coins(_checked(structure, utility, x, logits), logits)
        case Matching(partial=False), Sorting(scores=scores) if mask is None or mask.all():
            return lambda x: _ranking(_checked(structure, utility, x, scores), scores)
        case _:
            raise NotImplementedError(
                f"The probability of a vertex is not known for {structure!r} with {type(base).__name__} utilities. "
                "Use the utility as the action of a score-function estimator: utility.log_prob(draw.utility)."
            )
    logits = _with_absences(structure, _plackett_luce_logits(base), mask)
    return lambda x: _plackett_luce(_checked(structure, utility, x, logits), logits, k)


def _with_absences(structure: Structure, logits: Tensor, mask: Tensor | None) -> Tensor:
    """The logits, −∞ where a coordinate is absent; refused where utilities with as many absences are."""
    if mask is not None:
        logits = logits.masked_fill(~mask.to(logits.device), -torch.inf)
    structure.scaled(logits.detach(), 1.0)
    return logits


def _checked(structure: Structure, utility: Distribution, x: Tensor, parameters: Tensor) -> Tensor:
    """The vertices, in numbers of the kind that they are compared with."""
    batch = structure.check_shape("value", x)
    joint_shape("value", x.shape, utility.batch_shape, "trick", batch)
    if not structure.contains(x).all():
        raise invalid("value", "a point outside of X", f"elements of {structure!r}", "Relaxed samples have no mass.")
    return x.to(torch.promote_types(x.dtype, parameters.dtype))


def _plackett_luce_logits(utility: Gumbel | NegativeExponential) -> Tensor:
    if isinstance(utility, NegativeExponential):
        return utility.rate.log()  # the least of exponentials is drawn in proportion to the rates (Prop. 6)
    gumbel = utility
    scale = gumbel.scale[..., :1]
    if not torch.equal(gumbel.scale, scale.expand(gumbel.scale.shape)):
        raise NotImplementedError(
            "The probability of a vertex is known for Gumbel utilities of one common scale only; found several."
        )
    return gumbel.loc / scale


def _coins(x: Tensor, logits: Tensor) -> Tensor:
    """Log P of independent coins, of which those at −∞ never show 1 (App. B.3)."""
    logits, x = torch.broadcast_tensors(logits, x)
    present = logits > -torch.inf
    # Where the logit is −∞, 0 is sure and 1 impossible; the formula would make NaN of it, at least in the gradient.
    terms = -binary_cross_entropy_with_logits(torch.where(present, logits, 0.0), x, reduction="none")
    return torch.where(present, terms, torch.where(x > 0, -torch.inf, 0.0)).sum(-1)


def _ranking(x: Tensor, scores: Tensor) -> Tensor:
    """Log P of the permutation matrix x under Plackett–Luce (App. B.6): each place goes to one of those that remain."""
    placed = (x * scores.unsqueeze(-2)).sum(-1)
    return (placed - placed.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def _plackett_luce(x: Tensor, logits: Tensor, k: int) -> Tensor:
    """Log P that the k largest of θ + Gumbel are those marked in x (App. B.4, Cor. 2).

    Summed over the orders in which they can come, by a recursion over the sets A of those that came first: the next
    is i with probability w_i over the weight of all that have not come. That weight is a sum of what remains, never a
    difference from the total.
    """
    logits, x = torch.broadcast_tensors(logits, x)
    chosen = x.topk(k, -1).indices
    mine = logits.gather(-1, chosen)
    possible = (mine > -torch.inf).all(-1)
    # An impossible vertex goes through the recursion as another one does, so that its gradient is 0 and not NaN.
    mine = torch.where(possible.unsqueeze(-1), mine, 0.0)
    others = logits.masked_fill((x > 0.5) | (logits == -torch.inf), -torch.inf).logsumexp(-1)
    some = others > -torch.inf
    reached = [torch.zeros_like(others)]
    for came in range(1, 2**k):
        ways = []
        for i in range(k):
            if came >> i & 1:
                before = came ^ (1 << i)
                remain = [j for j in range(k) if not before >> j & 1]
                rest = mine[..., remain].logsumexp(-1)
                rest = torch.where(some, torch.logaddexp(rest, torch.where(some, others, 0.0)), rest)
                ways.append(reached[before] + mine[..., i] - rest)
        reached.append(torch.stack(ways).logsumexp(0))
    return torch.where(possible, reached[-1], -torch.inf)

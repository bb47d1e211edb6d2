"""Where the law of the argmax is known: (structure, utility) pairs, as `register_kl` has them."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel, Independent

from sstricks.distributions import ExponentialFamily, PlackettLuceRanking, PlackettLuceSubset, VertexDistribution
from sstricks.ops.operator import is_eager, is_readable
from sstricks.structures import KSubset, Matching, OneHot, Structure, Subset
from sstricks.utilities import Logistic, Masked, NegativeExponential, Sorting

_LARGEST_K = 12  # the recursion visits all 2ᵏ subsets of the chosen


def known_law(structure: Structure, utility: Distribution) -> VertexDistribution:
    """The distribution of argmax Uᵀx, if its probabilities are known.

    Args:
        structure: 𝒳.
        utility: U, with the structure's event shape.

    Raises:
        NotImplementedError: They are not.
        ValueError: The masks of structure and utility leave 𝒳 empty.
    """
    base, mask = coordinates(utility)

    def present(logits: Tensor) -> Tensor:
        return logits if mask is None else logits.masked_fill(~mask.to(logits.device), -torch.inf)

    match structure, base:
        case ((OneHot() | KSubset(k=int(1))), (Gumbel() | NegativeExponential())):
            return ExponentialFamily(structure, present(log_weights(base)), validate_args=False)
        case KSubset(k=int(k)), Gumbel() | NegativeExponential() if k <= _LARGEST_K:
            return PlackettLuceSubset(structure, present(log_weights(base)), validate_args=False)
        case Subset(), Logistic():
            return ExponentialFamily(structure, present(base.loc / base.scale), validate_args=False)
        case Matching(partial=False), Sorting() if mask is None and _is_rest(structure.mask, base):
            return PlackettLuceRanking(structure, base.scores, validate_args=False)
    raise NotImplementedError(
        f"The law of the argmax is not known for {structure!r} with {type(base).__name__} utilities, but for OneHot, "
        "and KSubset up to k = 12, with Gumbel or NegativeExponential utilities, for Subset with Logistic and for "
        "Matching with Sorting utilities. Elsewhere average over samples for moments, and use the utility as "
        "the action of a score-function estimator, utility.log_prob(draw.utility); kl_divergence(p.utility, q.utility) "
        "bounds that of the argmax from above."
    )


def _is_rest(mask: Tensor | None, utility: Sorting) -> bool:
    """Whether what a mask leaves is all the places and items that there are."""
    return mask is None or bool((mask.to(utility.scores.device) == utility.mask).all())


def coordinates(utility: Distribution) -> tuple[Distribution, Tensor | None]:
    """The law of the coordinates, without `Independent` and `Masked` around it, and which of them are not masked."""
    mask = None
    while isinstance(utility, Independent | Masked):
        if isinstance(utility, Masked):
            mask = utility.mask if mask is None else mask.to(utility.mask.device) & utility.mask
            utility = utility.base
        else:
            utility = utility.base_dist
    loc = vars(utility).get("loc")
    if mask is None and loc is not None and is_readable(loc) and loc.isneginf().any():  # a mask as people write it
        mask = loc > -torch.inf
    return utility, mask


def common_scale(utility: Gumbel) -> Tensor:
    """The scale that all coordinates have, shape (*batch, 1); NaN where they differ and it cannot be seen.

    Raises:
        NotImplementedError: They have different ones.
    """
    scale = utility.scale[..., :1]
    if not is_eager(scale):
        return torch.where((utility.scale == scale).all(-1, keepdim=True), scale, torch.nan)
    if not torch.equal(utility.scale, scale.expand(utility.scale.shape)):
        raise NotImplementedError(
            "With Gumbel utilities, probabilities and densities are known for one common scale only; found several."
        )
    return scale


def log_weights(utility: Gumbel | NegativeExponential) -> Tensor:
    """The logarithms of the weights in proportion to which the largest utility is drawn."""
    if isinstance(utility, NegativeExponential):
        return utility.rate.log()  # the least of exponentials is drawn in proportion to the rates (Prop. 6)
    return utility.loc / common_scale(utility)

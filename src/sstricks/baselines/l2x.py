import torch
from torch import Tensor

from sstricks.baselines.inputs import add_gumbel_noise, divide_by_temperature, joint_batch_shape
from sstricks.functional.checks import check_coordinates, check_k
from sstricks.functional.utility import from_working


def l2x(logits: Tensor, k: int, temperature: Tensor | float, *, generator: torch.Generator | None = None) -> Tensor:
    r"""The relaxed k-subset of L2X: the elementwise largest of k independent Gumbel-softmax samples.

    .. math:: X_i = \max_{1 \le j \le k} \operatorname{softmax}_t(\theta + G^{(j)})_i

    From Chen, Song, Wainwright and Jordan, "Learning to Explain" (2018). As t → 0 it becomes the union of k independent
    choices, which may be the same: a set of at most k elements, not of k.

    Args:
        logits: θ, shape (*batch, n); −∞ is an absent element.
        k: How many samples.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Points of [0, 1]ⁿ, shape and dtype of the logits, differentiable in logits and temperature.

    Raises:
        ValueError: t is not positive, k is not in 1..n, the logits have NaN, or all of a row are −∞.

    Example:
        >>> x = sst.baselines.l2x(torch.zeros(2, 5), 3, 0.5)
        >>> x.shape, bool((x.sum(-1) <= 3).all())
        (torch.Size([2, 5]), True)
    """
    check_coordinates(logits, argument="logits")
    k = check_k(k, logits.shape[-1])
    u = add_gumbel_noise(logits.expand(k, *logits.shape), generator)
    # Room for a batch of temperatures, which must not meet the dimension of the k samples.
    room = len(joint_batch_shape(logits, temperature)) + 1 - logits.dim()
    u = divide_by_temperature(u.reshape(k, *[1] * room, *logits.shape), temperature)
    return from_working(u.softmax(-1).amax(0), logits.dtype)

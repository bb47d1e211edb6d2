import torch
from torch import Tensor

from sstricks.baselines.inputs import add_gumbel_noise, check_square, divide_by_temperature
from sstricks.errors import invalid
from sstricks.functional.utility import from_working


def relaxed_eisner(u: Tensor, temperature: Tensor | float) -> Tensor:
    r"""Eisner's parsing algorithm with a softmax in place of every argmax.

    .. math:: b = \operatorname{softmax}_t(s), \qquad w = b^\top s

    where s are the weights of the ways in which a span of the chart can be built from two smaller ones, b the relaxed
    back-pointer, and w the span's weight. From the whole sentence downwards each span then hands its own share on to
    the spans that it was built from, in proportion to b; an arc's share is that of the spans that it closes.

    From Corro and Titov, "Differentiable Perturb-and-Parse" (2019). It is not the exponential family's marginals: there
    w would be a logsumexp. The shares are a convex combination of projective trees all the same, and the tree of the
    largest weight as t → 0.

    Args:
        u: Arc utilities, shape (*batch, n, n), n ≥ 2: u[h, m] from the head h to the modifier m, in the order of the
            sentence, with the root as node 0, which may have several modifiers. Column 0 and the diagonal are not read;
            −∞ is an absent arc. Nodes at the end of the sentence into which no arc is present are padding.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).

    Returns:
        Matrices of arcs, shape and dtype of u, differentiable in both arguments. Every column but the first and padding
        sums to 1.

    Raises:
        ValueError: t is not positive, the matrices are not square, u has NaN, or the arcs allow no projective tree.

    Example:
        >>> u = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> sst.baselines.relaxed_eisner(u, 0.01).round(decimals=3)
        tensor([[0., 0., 1.],
                [0., 0., 0.],
                [0., 1., 0.]])
    """
    check_square("u", u)
    n = u.shape[-1]
    if n < 2:
        raise invalid("u", f"shape {tuple(u.shape)}", "n >= 2", "A tree needs a root and a modifier.")
    unread = torch.eye(n, dtype=torch.bool, device=u.device)
    unread[:, 0] = True
    arcs = u.masked_fill(unread, -torch.inf)
    s = divide_by_temperature(arcs.flatten(-2), temperature).unflatten(-1, (n, n))
    return from_working(_descend(*_ascend(s)), u.dtype)


def perturb_and_parse(
    logits: Tensor, temperature: Tensor | float, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Differentiable Perturb-and-Parse: the relaxed projective tree of Gumbel arc utilities.

    .. math:: X = \mathrm{Eisner}_t(\theta + G), \quad G_{hm} \sim \mathrm{Gumbel}(0)

    From Corro and Titov (2019).

    Args:
        logits: θ, shape (*batch, n, n), as the utilities of `relaxed_eisner`.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Matrices of arcs, as `relaxed_eisner` returns them.

    Raises:
        ValueError: As for `relaxed_eisner`.

    Example:
        >>> sst.baselines.perturb_and_parse(torch.zeros(4, 4), 1.0).sum(-2).round(decimals=3)
        tensor([0., 1., 1., 1.])
    """
    check_square("logits", logits)
    return from_working(relaxed_eisner(add_gumbel_noise(logits, generator), temperature), logits.dtype)


def _ascend(s: Tensor) -> tuple[list[Tensor], Tensor]:
    """The relaxed back-pointers of all spans i..j, by their width j − i, and the shares of whole sentences.

    A complete span has all its arcs below its head, at one of its ends; an open one has just got the arc between its
    ends. Each width has pointers of three kinds, (3, *batch, n − width, width): of the open spans, whose two directions
    share the split i..k | k+1..j, and of the complete spans with their head at i and at j.
    """
    n = s.shape[-1]
    nothing = torch.full_like(s, -torch.inf)
    right, left = (torch.where(torch.eye(n, dtype=torch.bool, device=s.device), 0.0, nothing) for _ in "ab")
    open_right, open_left = nothing.clone(), nothing.clone()
    pointers = []
    for width in range(1, n):
        i, j, k = _spans(n, width, s.device)
        split, b = _relaxed_max(right[..., i, k] + left[..., k + 1, j])
        a, z = i.squeeze(-1), j.squeeze(-1)
        open_right[..., a, z] = split + s[..., a, z]
        open_left[..., a, z] = split + s[..., z, a]
        right[..., a, z], b_right = _relaxed_max(open_right[..., i, k + 1] + right[..., k + 1, j])
        left[..., a, z], b_left = _relaxed_max(left[..., i, k] + open_left[..., k, j])
        pointers.append(torch.stack([b, b_right, b_left]))
    last = (s > -torch.inf).any(-2).sum(-1, keepdim=True)
    if (right[..., 0, :].gather(-1, last) == -torch.inf).any():
        raise invalid(
            "u",
            "arcs without a projective tree",
            "for every node but padding at the end, a path of arcs from node 0 that can be drawn without crossings",
            "Allow arcs from node 0 to all others: they are enough.",
        )
    return pointers, torch.nn.functional.one_hot(last.squeeze(-1), n).to(s.dtype)


def _descend(pointers: list[Tensor], sentence: Tensor) -> Tensor:
    """The shares of the arcs, (*batch, n, n), from those of the spans 0..j that are whole sentences, (*batch, n)."""
    n = sentence.shape[-1]
    left = sentence.new_zeros(*sentence.shape, n)
    right, open_right, open_left = left.clone(), left.clone(), left.clone()
    right[..., 0, :] = sentence
    for width in range(n - 1, 0, -1):
        i, j, k = _spans(n, width, sentence.device)
        b, b_right, b_left = pointers[width - 1]
        share = right[..., i, j] * b_right
        open_right[..., i, k + 1] += share
        right[..., k + 1, j] += share
        share = left[..., i, j] * b_left
        left[..., i, k] += share
        open_left[..., k, j] += share
        share = (open_right + open_left)[..., i, j] * b
        right[..., i, k] += share
        left[..., k + 1, j] += share
    return open_right + open_left.mT


def _spans(n: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """All spans i..j of a width, (n − width, 1), and their inner places i ≤ k < j, (n − width, width)."""
    i = torch.arange(n - width, device=device).unsqueeze(-1)
    return i, i + width, i + torch.arange(width, device=device)


def _relaxed_max(s: Tensor) -> tuple[Tensor, Tensor]:
    """The weight bᵀs and b = softmax(s) over the last dimension, −∞ and anything if all are −∞."""
    present = s > -torch.inf
    some = present.any(-1, keepdim=True)
    b = torch.where(some, s, 0.0).softmax(-1)
    weight = (b * torch.where(present, s, 0.0)).sum(-1)
    return torch.where(some.squeeze(-1), weight, -torch.inf), b

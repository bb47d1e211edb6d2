r"""The permutahedron of values w₁ ≥ … ≥ wₙ: all orders of them, their hull, and soft ranks and sorts.

The argmax gives the largest value to the largest utility (the rearrangement inequality). The hull is the base polytope
of a submodular function: Σx = Σw, and no k coordinates have more than w₁ + … + w_k.

**Separable regularizers.** The optimum of :math:`u^\top x - \sum_i h(x_i)` is in the order of u. Number the coordinates
in that order, u₁ ≥ … ≥ uₙ. With multipliers λ_k ≥ 0 of the constraints :math:`\sum_{i \le k} x_i \le \sum_{i \le k}
w_i`, an equation for k = n, the conditions of optimality are

.. math:: h'(x_i) = u_i - v_i, \qquad v_i = \sum_{k \ge i} \lambda_k: \quad v_1 \ge v_2 \ge \dots \ge v_n,

where v changes only where the first k coordinates have all that they may. So there are blocks of consecutive
coordinates with one v each, which share the values of their own positions:

.. math:: \sum_{i \in B} (h')^{-1}(u_i - v_B) = \sum_{i \in B} w_i. \qquad
    \tfrac{1}{2} x^2: \; v_B = \operatorname{mean}_B(u - w), \qquad
    x \log x - x: \; v_B = \log \tfrac{\sum_B \exp u_i}{\sum_B w_i}.

It is an isotonic regression (Blondel, Teboul, Berthet and Djolonga 2020): begin with blocks of one and pool neighbours
while an earlier one has less v than the next (pool adjacent violators), O(n) after sorting. Then

.. math:: x_i = \operatorname{mean}_B(w) + u_i - \operatorname{mean}_B(u), \qquad
    x_i = \big(\textstyle\sum_B w\big) \operatorname{softmax}_B(u)_i,

differences within a block, which never span more than the values do: exact at any range of u.

**Derivatives.** While u moves a little, the blocks stay. So x is linear in u for ½x², with J = I − mean_B, symmetric;
and for x log x − x, log x is a log-softmax of each block. The operators below map by blocks, and each other's gradients
are made of them, of any order.
"""

import torch
from torch import Tensor

from sstricks.ops.gradients import attach_no_gradient
from sstricks.ops.operator import operator
from sstricks.ops.precision import SURE
from sstricks.ops.threads import over_rows

# Nanoseconds to sort one number.
_SORT = 25.0
# exp(−800) is zero.
_NOTHING = 800.0


def _first_to_last(u: Tensor) -> tuple[Tensor, Tensor]:
    """The order of the utilities, absent ones last, and at which of the values the present ones begin."""
    return u.sort(dim=-1, descending=True, stable=True).indices, (u == -torch.inf).sum(-1, keepdim=True)


@operator("sstricks::permutahedron_order", core=(1,), dtype=lambda u: torch.int64)
def order(u: Tensor) -> Tensor:
    """Where the numbers stand, shape (*batch, n), from the largest down; of equal ones the first comes first.

    Args:
        u: Finite numbers, shape (*batch, n).
    """
    return _first_to_last(u)[0]


@operator("sstricks::permutahedron_arrange", core=(1, 1))
def arrange(u: Tensor, values: Tensor) -> Tensor:
    """The order of the values with the largest uᵀx, shape (*batch, n).

    Args:
        u: Utilities, shape (*batch, n), −∞ where a coordinate is absent; the others share the smallest values.
        values: In descending order, shape (*batch, n).
    """
    descending, absent = _first_to_last(u)
    place = torch.arange(u.shape[-1], device=u.device) + absent
    given = values.gather(-1, place.clamp(max=u.shape[-1] - 1)).to(u.dtype)
    return torch.zeros_like(u).scatter(-1, descending, torch.where(place < u.shape[-1], given, 0.0))


@operator("sstricks::permutahedron_blocks", core=(1, 1), dtype=lambda *args: torch.int64)
def blocks(u: Tensor, values: Tensor, entropic: bool) -> Tensor:
    """The block of every coordinate at the optimum: at which of the values it begins; −1 for absent coordinates.

    Args:
        u: Scaled utilities, shape (*batch, n), −∞ where a coordinate is absent.
        values: In descending order, shape (*batch, n); their logarithms if `entropic`.
        entropic: Whether h is x log x − x, or else x²/2.
    """
    n = u.shape[-1]
    descending, absent = _first_to_last(u)
    place = torch.arange(n, device=u.device) + absent
    there = place < n
    values = values.gather(-1, place.clamp(max=n - 1))
    if entropic:  # a value of 0 is as good as one that exp makes 0
        least = torch.where(values > -torch.inf, values, torch.inf).amin(-1, keepdim=True)
        values = torch.maximum(values, least.clamp(max=torch.finfo(u.dtype).max) - _NOTHING)
    # Across a gap as wide as the values nothing is pooled; at twice that, rounding does not matter.
    widest = 2 * (values[..., :1] - torch.where(there, values, torch.inf).amin(-1, keepdim=True))
    u = u.gather(-1, descending)
    gaps = torch.where(there[..., 1:], torch.minimum(u[..., :-1] - u[..., 1:], widest), 0.0)
    u = torch.nn.functional.pad(-gaps.cumsum(-1), (1, 0))
    begin = _pooled(torch.where(there, u - values, -torch.inf), values if entropic else None) + absent
    return torch.empty_like(descending).scatter(-1, descending, torch.where(there, begin, -1))


def _pooled(level: Tensor, weight: Tensor | None) -> Tensor:
    """Where the block of each position begins, by merging neighbouring halves of 2, 4, 8, … that are solved already.

    A level v of a block is a mean of those of its parts: the arithmetic mean, or the logarithm of that of exponentials,
    weighted by values. Where an upper half meets a lower one that begins higher, what is below the level v* of the new
    block leaves the upper half, and what is above leaves the lower one. A position of the upper half is below v* if the
    mean of all that is below it in its half, and of all that is above it in the other, is above it.

    Args:
        level: v of blocks of one, −∞ behind the last, shape (*batch, n).
        weight: The logarithms of weights, for means of exponentials.
    """
    n = level.shape[-1]
    size = 1 << (n - 1).bit_length()
    level = torch.nn.functional.pad(level, (0, size - n), value=-torch.inf)
    if weight is None:
        weight, empty, cumulate, join, divide = torch.ones_like(level), 0.0, torch.cumsum, torch.add, torch.div
    else:
        weight, empty = torch.nn.functional.pad(weight, (0, size - n)), -torch.inf
        cumulate, join, divide = torch.logcumsumexp, torch.logaddexp, torch.sub
    begin = torch.arange(size, device=level.device).expand(level.shape)
    half = 1
    while half < size:
        base = level.unflatten(-1, (-1, 2, half))[..., 0, -1:]
        base = torch.where(base > -torch.inf, base, 0.0)
        upper, lower = (level.unflatten(-1, (-1, 2, half)) - base.unsqueeze(-2)).unbind(-2)
        upper_weight, lower_weight = weight.unflatten(-1, (-1, 2, half)).unbind(-2)
        sums = []
        for part, w, back in ((upper, upper_weight, True), (lower, lower_weight, False)):
            for x in (part + w if empty else part, w):
                total = cumulate(x.flip(-1), -1).flip(-1) if back else cumulate(x, -1)
                sums.append(torch.nn.functional.pad(total, (0, 1) if back else (1, 0), value=empty))

        def mean(from_: Tensor, until: Tensor, sums: list[Tensor] = sums) -> Tensor:
            above, above_weight, below, below_weight = sums
            return divide(
                join(above.gather(-1, from_), below.gather(-1, until)),
                join(above_weight.gather(-1, from_), below_weight.gather(-1, until)),
            )

        at = torch.arange(half, device=level.device).expand(upper.shape)
        down, down_lower = (-upper).contiguous(), (-lower).contiguous()
        # Of its own half a position asks those beyond its own block, which is neither above its level nor below.
        higher = mean(torch.searchsorted(down, down, right=True), torch.searchsorted(down_lower, down)) > upper
        lesser = (
            mean(torch.searchsorted(down, down_lower, right=True), torch.searchsorted(down_lower, down_lower)) < lower
        )
        meet = lower[..., :1] > upper[..., -1:]  # or else what they compare is nothing but rounding
        many = (higher & meet).flip(-1).long().cummin(-1).values.sum(-1, keepdim=True)
        few = (lesser & meet).long().cummin(-1).values.sum(-1, keepdim=True)
        from_ = half - many
        new = mean(from_, few) + base
        pooled = torch.cat([at >= from_, at < few], -1).flatten(-2)
        both = [x.expand(*x.shape[:-1], 2 * half).flatten(-2) for x in (new, from_ + 2 * half * _numbers(from_))]
        level = torch.where(pooled, both[0], level)
        begin = torch.where(pooled, begin.gather(-1, both[1].clamp(max=size - 1)), begin)
        half *= 2
    return begin[..., :n]


def _numbers(x: Tensor) -> Tensor:
    """The number of each row of the last but one dimension."""
    return torch.arange(x.shape[-2], device=x.device).unsqueeze(-1)


@operator("sstricks::permutahedron_summed", core=(1, 1))
def summed(g: Tensor, labels: Tensor) -> Tensor:
    """The sum of g over the block of each coordinate, and 0 where it is absent; shape (*batch, n).

    Args:
        g: Shape (*batch, n).
        labels: By `blocks`, shape (*batch, n).
    """
    there, at = labels >= 0, labels.clamp(min=0)
    total = torch.zeros_like(g).scatter_add(-1, at, torch.where(there, g, 0.0))
    return torch.where(there, total.gather(-1, at), 0.0)


def _highest(g: Tensor, labels: Tensor) -> Tensor:
    """The largest g in the block of each coordinate, and 0 where it is absent."""
    there, at = labels >= 0, labels.clamp(min=0)
    high = torch.full_like(g, -torch.inf).scatter_reduce(-1, at, torch.where(there, g, -torch.inf), "amax")
    return torch.where(there, high.gather(-1, at), 0.0)


@operator("sstricks::permutahedron_centred", core=(1, 1))
def centred(g: Tensor, labels: Tensor) -> Tensor:
    """As `summed`, g less its mean over the block."""
    g = torch.where(labels >= 0, g, 0.0)
    g = g - _highest(g, labels)
    return g - summed.twin(g, labels) / summed.twin(torch.ones_like(g), labels).clamp(min=1.0)


@operator("sstricks::permutahedron_log_softmax", core=(1, 1))
def log_softmax(u: Tensor, labels: Tensor) -> Tensor:
    """As `summed`, u less the logarithm of the sum of exp(u) over the block, and −∞ where it is absent."""
    there = labels >= 0
    u = torch.where(there, u, 0.0)
    u = u - _highest(u, labels)
    return torch.where(there, u - summed.twin(u.exp(), labels).log(), -torch.inf)


def _shares(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the values of the block of each coordinate, and how many they are; 0 and 1 where it is absent."""
    there, at = labels >= 0, labels.clamp(min=0)
    count = torch.zeros_like(at).scatter_add(-1, at, there.long())
    here = torch.arange(values.shape[-1], device=values.device)
    place = torch.where(count > 0, here, 0).cummax(-1).values
    total = torch.zeros_like(values).scatter_add(-1, place, values)
    return torch.where(there, total.gather(-1, at), 0.0), torch.where(there, count.gather(-1, at), 1)


@operator("sstricks::permutahedron_projected", core=(1, 1, 1))
def projected(u: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    """The optimum for x²/2: u less its mean over the block of each coordinate, plus the mean of the values there.

    Args:
        u: Scaled utilities, shape (*batch, n), −∞ where a coordinate is absent; 0 is returned there.
        values: In descending order, shape (*batch, n).
        labels: By `blocks`, shape (*batch, n).
    """
    total, count = _shares(values, labels)
    return centred.twin(u, labels) + total / count


@operator("sstricks::permutahedron_softmax", core=(1, 1, 1))
def spread_softmax(u: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    """As `projected` for x log x − x: the softmax over the block, times the sum of the values there."""
    return log_softmax.twin(u, labels).exp() * _shares(values, labels)[0]


@blocks.cpu
def _(u: Tensor, values: Tensor, entropic: bool) -> Tensor:
    from sstricks.ops.kernels import permutahedron as kernels

    out = torch.empty(u.shape, dtype=torch.int64)
    work = (2.0 * _SORT if entropic else _SORT) * u.shape[1]
    over_rows(kernels.blocks, len(u), work, entropic, u.numpy(), values.numpy(), out.numpy())
    return out


def _launch(name: str, nanoseconds: float, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import permutahedron as kernels

    out = torch.empty_like(rows[0])
    work = nanoseconds * out.shape[1]
    over_rows(getattr(kernels, name), len(out), work, *(row.numpy() for row in rows), out.numpy())
    return out


@order.cpu
def _(u: Tensor) -> Tensor:
    from sstricks.ops.kernels import permutahedron as kernels

    out = torch.empty(u.shape, dtype=torch.int64)
    over_rows(kernels.order, len(u), _SORT * u.shape[1], u.numpy(), out.numpy())
    return out


@arrange.cpu
def _(u: Tensor, values: Tensor) -> Tensor:
    return _launch("arrange", _SORT, u, values)


@projected.cpu
def _(u: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    return _launch("projected", 5.0, u, values, labels)


@spread_softmax.cpu
def _(u: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    return _launch("spread_softmax", 15.0, u, values, labels)


@summed.cpu
def _(g: Tensor, labels: Tensor) -> Tensor:
    return _launch("summed", 3.0, g, labels)


@centred.cpu
def _(g: Tensor, labels: Tensor) -> Tensor:
    return _launch("centred", 4.0, g, labels)


@log_softmax.cpu
def _(u: Tensor, labels: Tensor) -> Tensor:
    return _launch("log_softmax", 15.0, u, labels)


for _constant in (order, arrange, blocks):
    attach_no_gradient(_constant)


@projected.symmetric
def _(
    needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, values: Tensor, labels: Tensor
) -> tuple[Tensor, None, None]:
    return centred(grad, labels), None, None


# x = W softmax(u) in a block, so dx = x du − x Σ x du / W, where W is Σ x.
@spread_softmax.symmetric
def _(
    needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, values: Tensor, labels: Tensor
) -> tuple[Tensor, None, None]:
    along, total = x * torch.where(labels >= 0, grad, 0.0), summed(x, labels)
    return along - x * (summed(along, labels) / torch.where(total > 0, total, 1.0)), None, None


# Both are linear.
@summed.symmetric
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, g: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    return summed(grad, labels), None


@centred.symmetric
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, g: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    return centred(grad, labels), None


# dy = du − Σ p du with p = exp(y), so the gradient is g − p Σ g.
@log_softmax.backward
def _(needs: tuple[bool, ...], grad: Tensor, y: Tensor, u: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    return torch.where(labels >= 0, grad, 0.0) - y.exp() * summed(grad, labels), None


@log_softmax.tangent
def _(tangents: tuple[Tensor, ...], y: Tensor, u: Tensor, labels: Tensor) -> Tensor:
    du = torch.where(labels >= 0, tangents[0], 0.0)
    return du - summed(y.exp() * du, labels)


def projection(u: Tensor, values: Tensor) -> Tensor:
    """The maximiser of uᵀx − ½‖x‖² on the hull of all orders of the values, shape (*batch, n).

    Args:
        u: Scaled utilities, shape (*batch, n), −∞ where a coordinate is absent.
        values: In descending order, shape (*batch, n), constants.
    """
    return projected(u, values, blocks(u.detach(), values, False))


def softmax(u: Tensor, values: Tensor) -> Tensor:
    """The maximiser of uᵀx − Σ(x log x − x), as `projection`, for values that are not negative."""
    return spread_softmax(u, values, blocks(u.detach(), values.log(), True))


def soft_sort(u: Tensor, places: Tensor, entropic: bool) -> Tensor:
    """The optimum for these values, or the logarithm of that for their exponentials, in ascending order.

    Args:
        u: Finite values in any order, shape (*batch, n).
        places: Scaled utilities in descending order, shape (*batch, n).
        entropic: Which of both.
    """
    values = u.gather(-1, order(u.detach()))
    labels = blocks(places.detach(), values.detach(), entropic)
    of_block = log_softmax if entropic else centred
    return (of_block(places, labels) + (values - of_block(values, labels))).flip(-1)


def spread(scaled: Tensor, u: Tensor, width: float) -> Tensor:
    """The scaled utilities with those at +∞ so far above the others that they share no block with them.

    Args:
        scaled: Scaled utilities, in which +∞ is `SURE` more than all others together.
        u: The utilities.
        width: The largest value less the smallest.
    """
    return torch.where(u == torch.inf, scaled + width, scaled) if width > SURE else scaled

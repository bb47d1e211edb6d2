r"""The exponential family of correlated k-subsets, p(x) ∝ exp(uᵀx): log Z, marginals, and their derivative (B.5).

Items are decided one after the other. With s saying whether item i − 1 was chosen and j how many are left to choose,
let :math:`\beta_i(s, j)` be the weight of all completions by the items i, …, n − 1. With :math:`w_i = e^{u_i}` and
:math:`v_i = e^{u_{n+i-1}}` for the pair (i − 1, i),

.. math:: \beta_i(s, j) = \beta_{i+1}(0, j) + w_i v_i^s \beta_{i+1}(1, j-1), \quad
          c_i(s, j) = w_i v_i^s \beta_{i+1}(1, j-1) / \beta_i(s, j)

and Z = β₀(0, k). Weights are kept as mantissa and exponent, so that every share c, which is the probability of choosing
item i in the state (s, j), has all its digits whatever the range of the utilities. These shares are a Markov chain,
already normalised: its law α is carried forwards in plain probabilities, and

.. math:: x_i = \sum_{s, j} \alpha_i(s, j) c_i(s, j), \quad x_{n+i-1} = \sum_j \alpha_i(1, j) c_i(1, j).

No logarithm is taken, and the only subtractions are of probabilities: the error is absolute, n times epsilon.

**Derivative** in the direction g, along with the above. Let b = d log β, the expected sum of g over what is still to be
chosen; the gain of choosing item i is :math:`h = g_i + s\,g_{n+i-1} + b_{i+1}(1, j-1) - b_{i+1}(0, j)`, and

.. math:: b_i(s, j) = b_{i+1}(0, j) + c_i(s, j) h, \quad dc_i(s, j) = c_i(s, j) (1 - c_i(s, j)) h

after which α and x follow by the product rule. The Jacobian is the covariance matrix, hence symmetric: the backward
pass is this derivative in the direction of the incoming gradient.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import invalid_rows
from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.k_subset import distinct_rows, walk
from sstricks.ops.numbers import LN2, Number, exponential, nothing
from sstricks.ops.operator import operator
from sstricks.ops.threads import over_rows


def _shifted(x: Tensor) -> Tensor:
    """Values in j − 1, at j; zero where there is none left to choose."""
    return pad(x[..., :-1], (1, 0))


def _by_state(x: Tensor, i: int, of_none: float) -> tuple[Tensor, Tensor]:
    """What item i adds, shape (*batch, 1), and what its pair adds in the states s = 0 and 1, shape (*batch, 2)."""
    n = (x.shape[-1] + 1) // 2
    pair = x[..., n + i - 1 : n + i] if i else torch.full_like(x[..., :1], of_none)
    return x[..., i : i + 1], torch.cat([torch.full_like(pair, of_none), pair], -1)


def shares(u: Tensor, k: int) -> tuple[list[Tensor], Number]:
    """The probability of choosing each item, shape (*batch, 2, k + 1) for every state (s, j), and Z."""
    n = (u.shape[-1] + 1) // 2
    weight = exponential(u)
    unit = pad(torch.ones_like(u[..., :1, None]), (0, k)).expand(*u.shape[:-1], 2, k + 1)
    beta = Number(unit, torch.zeros_like(unit).masked_fill(unit == 0, nothing(u)))
    found = []
    for i in range(n - 1, -1, -1):
        item, pair = _by_state(weight.mantissa, i, 1.0)
        item_exponent, pair_exponent = _by_state(weight.exponent, i, 0.0)
        stay, take = Number(*(x[..., :1, :] for x in beta)), Number(*(x[..., 1:, :] for x in beta))
        mantissa = _shifted(take.mantissa) * (item * pair).unsqueeze(-1)
        exponent = take.exponent[..., :-1] + (item_exponent + pair_exponent).unsqueeze(-1)
        exponent = torch.cat([torch.full_like(exponent[..., :1], nothing(u)), exponent], -1)
        top = torch.maximum(stay.exponent, exponent)
        taken = mantissa * (exponent - top).exp2()
        total = stay.mantissa * (stay.exponent - top).exp2() + taken
        alive = total > 0
        safe = torch.where(alive, total, 1.0)
        found.append(taken / safe)
        more = safe.detach().log2().floor()
        beta = Number(torch.where(alive, safe * (-more).exp2(), 0.0), torch.where(alive, top + more, nothing(u)))
    return found[::-1], Number(*(x[..., 0, k] for x in beta))


def _start(share: list[Tensor]) -> Tensor:
    """The law of the state before the first item: all are left to choose."""
    return pad(torch.ones_like(share[0][..., :1, :1]), (share[0].shape[-1] - 1, 0, 0, 1))


def _moved(law: Tensor, taken: Tensor) -> Tensor:
    """The law of the state after an item, of which `taken` chooses it."""
    return torch.stack([(law - taken).sum(-2), pad(taken.sum(-2)[..., 1:], (0, 1))], -2)


def _marginals(share: list[Tensor]) -> Tensor:
    law = _start(share)
    items, pairs = [], []
    for c in share:
        taken = law * c
        law = _moved(law, taken)
        items.append(taken.sum((-2, -1)))
        pairs.append(taken[..., 1, :].sum(-1))
    return torch.stack(items + pairs[1:], -1)


def _marginals_jvp(g: Tensor, share: list[Tensor]) -> Tensor:
    b = torch.zeros_like(share[0])
    dshare = []
    for i in range(len(share) - 1, -1, -1):
        item, pair = _by_state(g, i, 0.0)
        stay = b[..., :1, :]
        gain = (item + pair).unsqueeze(-1) + _shifted(b[..., 1:, :]) - stay
        moved = share[i] * gain
        dshare.append(moved * (1 - share[i]))
        b = stay + moved
    law = _start(share)
    dlaw = torch.zeros_like(law)
    items, pairs = [], []
    for c, dc in zip(share, reversed(dshare), strict=True):
        taken, dtaken = law * c, dlaw * c + law * dc
        law, dlaw = _moved(law, taken), _moved(dlaw, dtaken)
        items.append(dtaken.sum((-2, -1)))
        pairs.append(dtaken[..., 1, :].sum(-1))
    return torch.stack(items + pairs[1:], -1)


def check_feasible(feasible: Tensor, k: int) -> None:
    """Raise unless every row has a vertex."""
    if not bool(feasible.all()):
        row = int((~feasible).nonzero()[0])
        raise invalid_rows(
            ~feasible,
            "u",
            f"no subset of k = {k} items in row {row} (without its masked and -inf coordinates)",
            "at least one vertex",
            "Unmask items; where a pairwise coordinate is absent, its two items are never chosen together.",
        )


def _launch(kernel_name: str, out: Tensor, k: int, tables: int, *rows: Tensor) -> Tensor:
    from sstricks.ops.kernels import chain_k_subset as kernels
    from sstricks.ops.kernels.floats import LANES

    feasible = torch.empty(len(out), dtype=torch.bool)
    size = rows[0].shape[1]
    work = (20.0 + 6.0 * k) * size
    scratch = tables * (size + 1) * (k + 1) * LANES
    args = (k, *(r.numpy() for r in rows), out.numpy(), feasible.numpy())
    over_rows(getattr(kernels, kernel_name), len(out), work, *args, step=LANES, scratch=scratch)
    check_feasible(feasible, k)
    return out


@operator("sstricks::chain_marginals", core=(1,))
def marginals(u: Tensor, k: int) -> Tensor:
    """The marginals P(xᵢ = 1), shape (*batch, 2n − 1), of the exponential family with parameters u (B.5, eq. 8).

    Args:
        u: Natural parameters of the n items and of the n − 1 pairs, shape (*batch, 2n − 1); −∞ is absent.
        k: The size of the subsets, 1 ≤ k ≤ n.

    Raises:
        ValueError: Some row has no vertex.
    """
    share, total = shares(u, k)
    check_feasible(total.mantissa > 0, k)
    return _marginals(share).clamp(0.0, 1.0)


@operator("sstricks::chain_marginals_jvp", core=(1, 1))
def marginals_jvp(u: Tensor, g: Tensor, k: int) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, 2n − 1)."""
    return _marginals_jvp(g, shares(u, k)[0])


@operator("sstricks::chain_log_partition", core=(1,), output_core=0)
def log_partition(u: Tensor, k: int) -> Tensor:
    """The log-partition function log Σ_{x∈𝒳} exp(uᵀx), shape (*batch)."""
    total = shares(u, k)[1]
    check_feasible(total.mantissa > 0, k)
    return total.mantissa.log() + total.exponent * LN2


@marginals.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch("marginals", torch.empty_like(u), k, 1, u)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, k: int) -> Tensor:
    return _launch("marginals_jvp", torch.empty_like(u), k, 2, u, g)


@log_partition.cpu
def _(u: Tensor, k: int) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), k, 0, u)


@marginals.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.chain_k_subset import marginals as launch

    return launch(u, k)


@marginals_jvp.cuda
def _(u: Tensor, g: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.chain_k_subset import marginals_jvp as launch

    return launch(u, g, k)


@log_partition.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.chain_k_subset import log_partition as launch

    return launch(u, k)


attach_gradients(marginals, marginals_jvp, log_partition, lambda u, g, k: _marginals_jvp(g, shares(u, k)[0]))


@operator("sstricks::chain_argmax", core=(1,))
def chain_argmax(u: Tensor, k: int) -> Tensor:
    """The best subset of k items with its pairs (App. B.5), shape (*batch, 2n − 1), by Viterbi's algorithm.

    The recursion is that of the partition function with max for +, from the last item to the first. The best vertex is
    then read from the first item to the last; where choosing an item and leaving it are equally good, it is chosen.

    Args:
        u: Utilities of the n items and of the n − 1 pairs, shape (*batch, 2n − 1); −∞ is absent.
        k: The size of the subsets, 1 ≤ k ≤ n.

    Raises:
        ValueError: Some row has no vertex.
    """
    n = (u.shape[-1] + 1) // 2
    pair = torch.stack([torch.zeros_like(u[:, :n]), pad(u[:, n:], (1, 0))], -1)  # by the state s of the item before
    reward = u[:, :n, None] + pair
    best = torch.full((len(u), 2, k + 1), -torch.inf, dtype=u.dtype, device=u.device)
    best[..., 0] = 0
    better = []
    for i in range(n - 1, -1, -1):
        stay = best[:, :1]
        take = pad(best[:, 1:, :-1], (1, 0), value=-torch.inf) + reward[:, i, :, None]
        better.append(take >= stay)
        best = torch.maximum(take, stay)
    check_feasible(best[:, 0, k] > -torch.inf, k)
    left = torch.full((len(u),), k, device=u.device)
    last = torch.zeros_like(left)
    chosen = []
    for choice in reversed(better):
        last = choice.flatten(1).gather(1, (last * (k + 1) + left).unsqueeze(1)).squeeze(1).long()
        left = left - last
        chosen.append(last)
    items = torch.stack(chosen, -1)
    return torch.cat([items, items[:, 1:] * items[:, :-1]], -1).to(u.dtype)


@chain_argmax.cpu
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.kernels.chain_k_subset import chain_argmax as kernel

    out = torch.empty_like(u)
    feasible = torch.empty(len(u), dtype=torch.bool)
    over_rows(kernel, len(u), (10.0 + 2.0 * k) * u.shape[1], k, u.numpy(), out.numpy(), feasible.numpy())
    check_feasible(feasible, k)
    return out


@chain_argmax.cuda
def _(u: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.chain_k_subset import argmax as launch

    return launch(u, k)


attach_no_gradient(chain_argmax)


@operator("sstricks::chain_sample", core=(1, 1))
def sample(u: Tensor, uniform: Tensor, k: int) -> Tensor:
    """The correlated k-subset with p(x) ∝ exp(uᵀx) that independent uniforms lead to, shape (*batch, 2n − 1).

    Args:
        u: Natural parameters, shape (*batch, 2n − 1).
        uniform: Numbers in [0, 1), shape (*batch, n).
        k: The size of the subsets, 1 ≤ k ≤ n.

    Raises:
        ValueError: Some row has no vertex.
    """
    share, total = shares(distinct_rows(u), k)
    check_feasible((total.mantissa > 0).flatten(), k)
    items = walk(share, k, uniform)
    return torch.cat([items, items[..., 1:] * items[..., :-1]], -1)


@sample.cuda
def _(u: Tensor, uniform: Tensor, k: int) -> Tensor:
    from sstricks.ops.cuda.chain_k_subset import sample as launch

    return launch(u, uniform, k)


attach_no_gradient(sample)

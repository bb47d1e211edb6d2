"""Inside–outside and Eisner's algorithm on a GPU; the mathematics stands in `sstricks.ops.projective_arborescence`.

A chart is a matrix whose row w holds the spans of width w, by their first node: what is done to the spans of one width,
for each way to divide them, is done to neighbours in memory. A division of a span of width w is numbered
s = 0, …, w − 1. Its first part has width s + a, and its second, w − s − b, begins s + b nodes later.

    BETWEEN: a = 0, b = 1, RIGHT and LEFT;  RIGHT: a = b = 1, RIGHTWARD and RIGHT;  LEFT: a = b = 0, LEFT and LEFTWARD

Charts follow one another in memory in the order RIGHT, LEFT, RIGHTWARD, LEFTWARD, BETWEEN.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.floats import ABSENT, INF, LN2, normalised, power, quotient, split_exponential, summed
from sstricks.ops.cuda.graphs import fill, run
from sstricks.ops.precision import FAR as _FAR

FAR = tl.constexpr(_FAR)
BITS = tl.constexpr(62)  # edges to a word of a key, so that no key is negative


@triton.jit
def _edge(i, j, n):
    """The coordinate of i → j: pairs in lexicographic order, those with i = j or j = 0 left out."""
    later = n - 1 + (i - 1) * (n - 2) + j - 1 - (j > i).to(tl.int32)
    return tl.where(i == 0, j - 1, later)


@triton.jit
def _span(a, b, n):
    """Where the span between two nodes stands, in the chart of RIGHTWARD for a < b, else in that of LEFTWARD."""
    at = tl.abs(a - b) * n + tl.minimum(a, b)
    return tl.where(a < b, at, at + n * n)


@triton.jit
def _present(u, order, n, S: tl.constexpr, N: tl.constexpr):
    """Write the root and the nodes with an edge into `order`; how many they are, 0 if only the root has none.

    Returns also whether a utility is NaN.
    """
    j = tl.arange(0, N)
    some = tl.zeros([S, N], tl.int32)
    odd = tl.zeros([S, N], tl.int32)
    for begin in range(0, n, S):
        i = begin + tl.arange(0, S)
        pair = (i[:, None] < n) & (j[None, :] < n) & (i[:, None] != j[None, :])
        into = tl.load(u + _edge(i[:, None], j[None, :], n), mask=pair & (j[None, :] > 0), other=-INF)
        out_of = tl.load(u + _edge(j[None, :], i[:, None], n), mask=pair & (i[:, None] > 0), other=-INF)
        some |= ((into > -INF) | (out_of > -INF)).to(tl.int32)
        odd |= (into != into).to(tl.int32)
    found = tl.max(some, axis=0)
    edges = tl.sum(found, axis=0)
    root = tl.sum(tl.where(j == 0, found, 0), axis=0)
    present = tl.where(j == 0, 1, found)
    tl.store(order + tl.cumsum(present, axis=0) - 1, j, mask=present > 0)
    tl.debug_barrier()
    count = tl.where(root > 0, edges, tl.where(edges > 0, 0, 1))
    return count, tl.max(tl.max(odd, axis=0), axis=0) > 0


@triton.jit
def _pairs(u, order, a, b, count, n):
    """Where the utilities of all a → b stand, for which of them there is one, and where their spans do."""
    inside = (a < count) & (b < count) & (a != b) & (b > 0)
    i = tl.load(order + a, mask=a < count, other=0)
    j = tl.load(order + b, mask=b < count, other=0)
    return u + _edge(i, j, n), inside, _span(a, b, n)


@triton.jit
def _load(u, order, to, other, count, n, S: tl.constexpr, N: tl.constexpr):
    """Put what belongs to the edges where their spans stand, and `other` where there is no edge."""
    b = tl.arange(0, N)
    for begin in range(0, count, S):
        a = begin + tl.arange(0, S)
        at, inside, span = _pairs(u, order, a[:, None], b[None, :], count, n)
        tl.store(to + span, tl.load(at, mask=inside, other=other), mask=(a[:, None] < count) & (b[None, :] < count))
    tl.debug_barrier()


@triton.jit
def _tops(u, order, count, n, S: tl.constexpr, N: tl.constexpr):
    """The largest utility of the edges into each node, 0 if there is none, and by how much the others are below."""
    b = tl.arange(0, N)
    best = tl.full([S, N], -INF, tl.float64)
    least = tl.full([S, N], INF, tl.float64)
    for begin in range(0, count, S):
        a = begin + tl.arange(0, S)
        at, inside, _ = _pairs(u, order, a[:, None], b[None, :], count, n)
        value = tl.load(at, mask=inside, other=-INF)
        best = tl.where(value > best, value, best)
        least = tl.where((value > -INF) & (value < least), value, least)
    top = tl.max(best, axis=0)
    here = top > -INF
    far = tl.max(tl.where(here, top - tl.min(least, axis=0), 0.0), axis=0)
    return tl.where(here, top, 0.0), far


@triton.jit
def _weights(u, order, m, e, top, count, n, stretch, LOSSES: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The weights exp(u − top) of all edges, or with LOSSES what they lose, u − top, as m.

    Losses beyond FAR stay beyond it; where even the best tree's is, all of them are brought nearer in proportion.
    """
    b = tl.arange(0, N)
    for begin in range(0, count, S):
        a = begin + tl.arange(0, S)
        at, inside, span = _pairs(u, order, a[:, None], b[None, :], count, n)
        value = tl.load(at, mask=inside, other=-INF)
        near = tl.where(value > -INF, value - top[None, :], -INF)
        rows = (a[:, None] < count) & (b[None, :] < count)
        if LOSSES:
            tl.store(m + span, near, mask=rows)
        else:
            back = near - value
            low = tl.where(near < -FAR, 0.0, (value - (near - back)) - (top[None, :] + back))
            near = tl.where((near < -FAR) & (near > -INF), tl.maximum(near / stretch, -2.0 * FAR), near)
            weight, e_weight = split_exponential(near, low)
            tl.store(m + span, weight, mask=rows)
            tl.store(e + span, e_weight, mask=rows)
    tl.debug_barrier()


@triton.jit
def _parts(w, s, i, count, n, A: tl.constexpr, B: tl.constexpr):
    """Where both parts of divisions s of the spans that begin at i stand, and for which of them."""
    inside = (s[:, None] < w) & (i[None, :] < count - w)
    first = (s[:, None] + A) * n + i[None, :]
    second = (w - s[:, None] - B) * n + i[None, :] + s[:, None] + B
    return first, second, inside


@triton.jit
def _divided(one, two, e, w, count, n, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The sum over all divisions of first part times second part. Exponents stand `e` behind mantissas."""
    i = tl.arange(0, N)
    m_sum = tl.zeros([N], tl.float64)
    e_sum = tl.full([N], ABSENT, tl.float64)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        part = tl.load(one + first, mask=inside, other=0.0) * tl.load(two + second, mask=inside, other=0.0)
        e_part = tl.load(one + e + first, mask=inside, other=ABSENT)
        e_part += tl.load(two + e + second, mask=inside, other=ABSENT)
        top = tl.max(e_part, axis=0)
        m_sum, e_sum, _ = summed(m_sum, e_sum, tl.sum(part * power(e_part - top[None, :]), axis=0), top)
    return normalised(m_sum, e_sum)


@triton.jit
def _shares(one, two, e, m_sum, e_sum, first, second, inside):
    """The terms' parts of the sum."""
    part = tl.load(one + first, mask=inside, other=0.0) * tl.load(two + second, mask=inside, other=0.0)
    e_part = tl.load(one + e + first, mask=inside, other=ABSENT)
    e_part += tl.load(two + e + second, mask=inside, other=ABSENT)
    return quotient(part * power(e_part - e_sum[None, :]), m_sum[None, :] + tl.zeros_like(part))


@triton.jit
def _mean(
    one, two, e, a, m_sum, e_sum, w, count, n, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """The mean of d log of the terms by their shares. Derivatives stand `a` behind mantissas."""
    i = tl.arange(0, N)
    mean = tl.zeros([S, N], tl.float64)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        share = _shares(one, two, e, m_sum, e_sum, first, second, inside)
        growth = tl.load(one + a + first, mask=inside, other=0.0) + tl.load(two + a + second, mask=inside, other=0.0)
        mean += share * growth
    return tl.sum(mean, axis=0)


@triton.jit
def _inside(m, weight, count, n, TANGENT: tl.constexpr, SINGLE: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The weights of all spans, from narrow to wide; with TANGENT, the derivatives of their logarithms.

    In memory there follow on each other, five charts each: mantissas, exponents, derivatives; those of RIGHTWARD and
    LEFTWARD hold the direction g at first. The weights of edges are two charts of mantissas and two of exponents.
    With SINGLE the root has a single child.
    """
    i = tl.arange(0, N)
    square = n * n
    e, a = 5 * square, 10 * square
    right, left, rightward, leftward, between = m, m + square, m + 2 * square, m + 3 * square, m + 4 * square
    tl.store(right + i, 1.0, mask=i < count)
    tl.store(left + i, 1.0, mask=i < count)
    tl.store(right + e + i, 0.0, mask=i < count)
    tl.store(left + e + i, 0.0, mask=i < count)
    if TANGENT:
        tl.store(right + a + i, 0.0, mask=i < count)
        tl.store(left + a + i, 0.0, mask=i < count)
    tl.debug_barrier()
    for w in range(1, count):
        at = w * n + i
        here = i < count - w
        m_sum, e_sum = _divided(right, left, e, w, count, n, 0, 1, S, N)
        tl.store(between + at, m_sum, mask=here)
        tl.store(between + e + at, e_sum, mask=here)
        if TANGENT:
            mean = _mean(right, left, e, a, m_sum, e_sum, w, count, n, 0, 1, S, N)
            tl.store(between + a + at, mean, mask=here)
        for side in tl.static_range(2):
            product = m_sum * tl.load(weight + side * square + at, mask=here, other=0.0)
            e_product = e_sum + tl.load(weight + (2 + side) * square + at, mask=here, other=ABSENT)
            product, e_product = normalised(product, tl.where(product > 0.0, e_product, ABSENT))
            tl.store(rightward + side * square + at, product, mask=here)
            tl.store(rightward + side * square + e + at, e_product, mask=here)
            if TANGENT:
                to = rightward + side * square + a + at
                tl.store(to, tl.load(to, mask=here, other=0.0) + mean, mask=here)
        tl.debug_barrier()
        m_sum, e_sum = _divided(rightward, right, e, w, count, n, 1, 1, S, N)
        if TANGENT:
            mean = _mean(rightward, right, e, a, m_sum, e_sum, w, count, n, 1, 1, S, N)
            tl.store(right + a + at, mean, mask=here)
        if SINGLE and w < count - 1:
            m_sum = tl.where(i == 0, 0.0, m_sum)
            e_sum = tl.where(i == 0, ABSENT, e_sum)
        tl.store(right + at, m_sum, mask=here)
        tl.store(right + e + at, e_sum, mask=here)
        m_sum, e_sum = _divided(left, leftward, e, w, count, n, 0, 0, S, N)
        tl.store(left + at, m_sum, mask=here)
        tl.store(left + e + at, e_sum, mask=here)
        if TANGENT:
            mean = _mean(left, leftward, e, a, m_sum, e_sum, w, count, n, 0, 0, S, N)
            tl.store(left + a + at, mean, mask=here)
        tl.debug_barrier()


@triton.jit
def _hand_down(
    one, two, total, e, a, x, dx, above, dabove, w, count, n,
    A: tl.constexpr, B: tl.constexpr, TANGENT: tl.constexpr, S: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """What is expected of the spans of width w goes to the parts of their divisions, in the divisions' shares.

    A part belongs to one division of one span of this width, so nobody else adds to it at the same time.
    """
    i = tl.arange(0, N)
    at = w * n + i
    here = i < count - w
    m_sum = tl.load(total + at, mask=here, other=0.0)
    e_sum = tl.load(total + e + at, mask=here, other=0.0)
    if TANGENT:
        mean = tl.load(total + a + at, mask=here, other=0.0)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        share = _shares(one, two, e, m_sum, e_sum, first, second, inside)
        flow = above[None, :] * share
        if TANGENT:
            growth = tl.load(one + a + first, mask=inside, other=0.0)
            growth += tl.load(two + a + second, mask=inside, other=0.0)
            dflow = dabove[None, :] * share + flow * (growth - mean[None, :])
            tl.store(one + dx + first, tl.load(one + dx + first, mask=inside, other=0.0) + dflow, mask=inside)
            tl.store(two + dx + second, tl.load(two + dx + second, mask=inside, other=0.0) + dflow, mask=inside)
        tl.store(one + x + first, tl.load(one + x + first, mask=inside, other=0.0) + flow, mask=inside)
        tl.store(two + x + second, tl.load(two + x + second, mask=inside, other=0.0) + flow, mask=inside)


@triton.jit
def _outside(m, x, dx, count, n, TANGENT: tl.constexpr, S: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr):
    """The probabilities of all spans, from wide to narrow, `x` behind their mantissas; their derivatives at `dx`."""
    i = tl.arange(0, N)
    square = n * n
    e, a = 5 * square, 10 * square
    right, left, rightward, leftward, between = m, m + square, m + 2 * square, m + 3 * square, m + 4 * square
    fill(m + x, 4 * square, 0.0, BLOCK)
    if TANGENT:
        fill(m + dx, 4 * square, 0.0, BLOCK)
    tl.debug_barrier()
    tl.store(right + x + tl.maximum(count - 1, 0) * n, 1.0)
    tl.debug_barrier()
    for step in range(1, count):
        w = count - step
        at = w * n + i
        here = i < count - w
        above = tl.load(right + x + at, mask=here, other=0.0)
        dabove = above
        if TANGENT:
            dabove = tl.load(right + dx + at, mask=here, other=0.0)
        _hand_down(rightward, right, right, e, a, x, dx, above, dabove, w, count, n, 1, 1, TANGENT, S, N)
        above = tl.load(left + x + at, mask=here, other=0.0)
        if TANGENT:
            dabove = tl.load(left + dx + at, mask=here, other=0.0)
        _hand_down(left, leftward, left, e, a, x, dx, above, dabove, w, count, n, 0, 0, TANGENT, S, N)
        tl.debug_barrier()
        above = tl.load(rightward + x + at, mask=here, other=0.0)
        above += tl.load(leftward + x + at, mask=here, other=0.0)
        if TANGENT:
            dabove = tl.load(rightward + dx + at, mask=here, other=0.0)
            dabove += tl.load(leftward + dx + at, mask=here, other=0.0)
        _hand_down(right, left, between, e, a, x, dx, above, dabove, w, count, n, 0, 1, TANGENT, S, N)
        tl.debug_barrier()


@triton.jit
def _choose(
    one, two, total, e, x, above, points, w, count, n,
    A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Mark the parts of one division of every marked span of width w, chosen by shares and by a point in [0, 1)."""
    i = tl.arange(0, N)
    here = i < count - w
    m_sum = tl.load(total + w * n + i, mask=here, other=0.0)
    e_sum = tl.load(total + e + w * n + i, mask=here, other=0.0)
    point = tl.load(points + i, mask=here, other=0.0)
    before = tl.zeros([N], tl.float64)
    chosen = tl.full([N], 1 << 30, tl.int32)
    last = tl.full([N], -1, tl.int32)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        share = _shares(one, two, e, m_sum, e_sum, first, second, inside)
        beyond = (before[None, :] + tl.cumsum(share, axis=0) > point[None, :]) & (share > 0.0)
        chosen = tl.minimum(chosen, tl.min(tl.where(beyond, s[:, None], 1 << 30), axis=0))
        last = tl.maximum(last, tl.max(tl.where(share > 0.0, s[:, None], -1), axis=0))
        before += tl.sum(share, axis=0)
    chosen = tl.minimum(chosen, last)
    here = here & (above > 0.0) & (chosen >= 0)
    tl.store(one + x + (chosen + A) * n + i, 1.0, mask=here)
    tl.store(two + x + (w - chosen - B) * n + i + chosen + B, 1.0, mask=here)


@triton.jit
def _drawn(m, x, uniforms, count, n, S: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr):
    """Mark the spans of a random tree, `x` behind their mantissas. Numbers stand by table, width and first node."""
    i = tl.arange(0, N)
    square = n * n
    e = 5 * square
    right, left, rightward, leftward, between = m, m + square, m + 2 * square, m + 3 * square, m + 4 * square
    spans = n * (n + 1) // 2
    fill(m + x, 4 * square, 0.0, BLOCK)
    tl.debug_barrier()
    tl.store(right + x + tl.maximum(count - 1, 0) * n, 1.0)
    tl.debug_barrier()
    for step in range(1, count):
        w = count - step
        at = w * n + i
        here = i < count - w
        points = uniforms + w * n - w * (w - 1) // 2
        above = tl.load(right + x + at, mask=here, other=0.0)
        _choose(rightward, right, right, e, x, above, points + spans, w, count, n, 1, 1, S, N)
        above = tl.load(left + x + at, mask=here, other=0.0)
        _choose(left, leftward, left, e, x, above, points + 2 * spans, w, count, n, 0, 0, S, N)
        tl.debug_barrier()
        above = tl.load(rightward + x + at, mask=here, other=0.0)
        above += tl.load(leftward + x + at, mask=here, other=0.0)
        _choose(right, left, between, e, x, above, points, w, count, n, 0, 1, S, N)
        tl.debug_barrier()


@triton.jit
def _best(one, two, w, count, n, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The best sum of first part and second part over all divisions, and how many divisions reach it."""
    i = tl.arange(0, N)
    best = tl.full([N], -INF, tl.float64)
    number = tl.zeros([N], tl.int32)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        value = tl.load(one + first, mask=inside, other=-INF) + tl.load(two + second, mask=inside, other=-INF)
        top = tl.max(value, axis=0)
        several = tl.sum(((value == top[None, :]) & (value > -INF)).to(tl.int32), axis=0)
        number = tl.where(top > best, several, tl.where(top == best, number + several, number))
        best = tl.maximum(top, best)
    return best, number


@triton.jit
def _eisner(chart, weight, count, n, SINGLE: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The values of the best trees of all spans; returns how many divisions tie at most."""
    i = tl.arange(0, N)
    square = n * n
    right, left, rightward, leftward, between = (
        chart, chart + square, chart + 2 * square, chart + 3 * square, chart + 4 * square
    )  # fmt: skip
    tl.store(right + i, 0.0, mask=i < count)
    tl.store(left + i, 0.0, mask=i < count)
    most = tl.zeros([N], tl.int32)
    tl.debug_barrier()
    for w in range(1, count):
        at = w * n + i
        here = i < count - w
        best, number = _best(right, left, w, count, n, 0, 1, S, N)
        most = tl.maximum(most, number)
        tl.store(between + at, best, mask=here)
        tl.store(rightward + at, best + tl.load(weight + at, mask=here, other=-INF), mask=here)
        tl.store(leftward + at, best + tl.load(weight + square + at, mask=here, other=-INF), mask=here)
        tl.debug_barrier()
        best, number = _best(rightward, right, w, count, n, 1, 1, S, N)
        most = tl.maximum(most, number)
        if SINGLE and w < count - 1:
            best = tl.where(i == 0, -INF, best)
        tl.store(right + at, best, mask=here)
        best, number = _best(left, leftward, w, count, n, 0, 0, S, N)
        most = tl.maximum(most, number)
        tl.store(left + at, best, mask=here)
        tl.debug_barrier()
    return tl.max(most, axis=0)


@triton.jit
def _follow(
    one, two, total, x, above, w, count, n, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """Mark the parts of the best divisions of the marked spans of width w."""
    i = tl.arange(0, N)
    best = tl.load(total + w * n + i, mask=i < count - w, other=INF)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        value = tl.load(one + first, mask=inside, other=-INF) + tl.load(two + second, mask=inside, other=-INF)
        chosen = inside & (above[None, :] > 0.0) & (value == best[None, :])
        tl.store(one + x + first, 1.0, mask=chosen)
        tl.store(two + x + second, 1.0, mask=chosen)


@triton.jit
def _trace(chart, x, count, n, S: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr):
    """Mark the spans of the best tree, if nothing ties, `x` behind their values."""
    i = tl.arange(0, N)
    square = n * n
    right, left, rightward, leftward, between = (
        chart, chart + square, chart + 2 * square, chart + 3 * square, chart + 4 * square
    )  # fmt: skip
    fill(chart + x, 4 * square, 0.0, BLOCK)
    tl.debug_barrier()
    tl.store(right + x + tl.maximum(count - 1, 0) * n, 1.0)
    tl.debug_barrier()
    for step in range(1, count):
        w = count - step
        at = w * n + i
        here = i < count - w
        above = tl.load(right + x + at, mask=here, other=0.0)
        _follow(rightward, right, right, x, above, w, count, n, 1, 1, S, N)
        above = tl.load(left + x + at, mask=here, other=0.0)
        _follow(left, leftward, left, x, above, w, count, n, 0, 0, S, N)
        tl.debug_barrier()
        above = tl.load(rightward + x + at, mask=here, other=0.0)
        above += tl.load(leftward + x + at, mask=here, other=0.0)
        _follow(right, left, between, x, above, w, count, n, 0, 1, S, N)
        tl.debug_barrier()


@triton.jit
def _first_of_best(
    one, two, total, key1, key2, key, among, words, w, count, n,
    A: tl.constexpr, B: tl.constexpr, S: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """The largest key of the best divisions of the spans of width w: the key of their trees, word by word."""
    i = tl.arange(0, N)
    square = n * n
    best = tl.load(total + w * n + i, mask=i < count - w, other=INF)
    for begin in range(0, w, S):
        s = begin + tl.arange(0, S)
        first, second, inside = _parts(w, s, i, count, n, A, B)
        value = tl.load(one + first, mask=inside, other=-INF) + tl.load(two + second, mask=inside, other=-INF)
        tl.store(among + s[:, None] * n + i[None, :], (value == best[None, :]).to(tl.int32), mask=inside)
    for word in range(0, words):
        tl.debug_barrier()
        largest = tl.full([N], -1, tl.int64)
        for begin in range(0, w, S):
            s = begin + tl.arange(0, S)
            first, second, inside = _parts(w, s, i, count, n, A, B)
            inside = inside & (tl.load(among + s[:, None] * n + i[None, :], mask=inside, other=0) > 0)
            both = tl.load(key1 + word * square + first, mask=inside, other=0)
            both += tl.load(key2 + word * square + second, mask=inside, other=0)
            largest = tl.maximum(largest, tl.max(tl.where(inside, both, -1), axis=0))
        tl.store(key + word * square + w * n + i, largest, mask=i < count - w)
        tl.debug_barrier()
        for begin in range(0, w, S):
            s = begin + tl.arange(0, S)
            first, second, inside = _parts(w, s, i, count, n, A, B)
            left_over = inside & (tl.load(among + s[:, None] * n + i[None, :], mask=inside, other=0) > 0)
            both = tl.load(key1 + word * square + first, mask=left_over, other=0)
            both += tl.load(key2 + word * square + second, mask=left_over, other=0)
            dropped = left_over & (both != largest[None, :])
            tl.store(among + s[:, None] * n + i[None, :], 0, mask=dropped)


@triton.jit
def _bit(x, word):
    """The bit of edge x in this word of a key."""
    return tl.where(x // BITS == word, tl.full(x.shape, 1, tl.int64) << _place(x), 0)


@triton.jit
def _place(x):
    return (x % BITS * -1 + (BITS - 1)).to(tl.int64)


@triton.jit
def _keys(chart, keys, among, order, words, count, n, S: tl.constexpr, N: tl.constexpr):
    """The trees of all spans as bits of integers, the lowest edge first: of those that tie, the largest key wins."""
    i = tl.arange(0, N)
    square = n * n
    right, left, rightward, leftward, between = (
        chart, chart + square, chart + 2 * square, chart + 3 * square, chart + 4 * square
    )  # fmt: skip
    size = words * square
    to_right, to_left, to_rightward, to_leftward = keys, keys + size, keys + 2 * size, keys + 3 * size
    for word in range(0, words):
        tl.store(to_right + word * square + i, 0, mask=i < count)
        tl.store(to_left + word * square + i, 0, mask=i < count)
    tl.debug_barrier()
    for w in range(1, count):
        at = w * n + i
        here = i < count - w
        _first_of_best(right, left, between, to_right, to_left, to_rightward, among, words, w, count, n, 0, 1, S, N)
        tl.debug_barrier()
        low = tl.load(order + i, mask=here, other=0)
        high = tl.load(order + i + w, mask=here, other=1)
        there, back = _edge(low, high, n), _edge(high, low, n)
        for word in range(0, words):
            inner = tl.load(to_rightward + word * square + at, mask=here, other=0)
            tl.store(to_rightward + word * square + at, inner + _bit(there, word), mask=here)
            tl.store(to_leftward + word * square + at, inner + tl.where(low > 0, _bit(back, word), 0), mask=here)
        tl.debug_barrier()
        _first_of_best(rightward, right, right, to_rightward, to_right, to_right, among, words, w, count, n, 1, 1, S, N)
        tl.debug_barrier()
        _first_of_best(left, leftward, left, to_left, to_leftward, to_left, among, words, w, count, n, 0, 0, S, N)
        tl.debug_barrier()


@triton.jit
def _prepared(u, order, m, weight, n, SINGLE: tl.constexpr, S: tl.constexpr, N: tl.constexpr):
    """The weights of all edges; how many nodes are present, what log Z lost, its scale, and whether a number is NaN."""
    square = n * n
    count, odd = _present(u, order, n, S, N)
    top, far = _tops(u, order, count, n, S, N)
    stretch = tl.sum(tl.zeros_like(top), axis=0) + 1.0
    if far > FAR:
        _weights(u, order, weight, weight, top, count, n, stretch, True, S, N)
        _eisner(m, weight, count, n, SINGLE, S, N)
        loss = -tl.load(m + tl.maximum(count - 1, 0) * n)
        stretch = tl.where((loss > FAR) & (loss < INF), loss / FAR, 1.0)
        tl.debug_barrier()
    _weights(u, order, weight, weight + 2 * square, top, count, n, stretch, False, S, N)
    return count, tl.sum(top, axis=0), stretch, odd


@triton.jit(do_not_specialize=["rows", "edges", "n"])
def _marginals(
    u, g, out, floats, integers, rows, edges, n,
    SINGLE: tl.constexpr, TANGENT: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = n * n
    m = floats + program * (28 if TANGENT else 18) * square
    weight = m + (24 if TANGENT else 14) * square
    x = (15 if TANGENT else 10) * square
    dx = x + 4 * square
    order = integers + program * n
    b = tl.arange(0, N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        count, _base, _stretch, odd = _prepared(u + begin, order, m, weight, n, SINGLE, R, N)
        if TANGENT:
            _load(g + begin, order, m + 12 * square, 0.0, count, n, R, N)
        _inside(m, weight, count, n, TANGENT, SINGLE, R, N)
        _outside(m, x, dx, count, n, TANGENT, R, N, BLOCK)
        root = tl.load(m + tl.maximum(count - 1, 0) * n, mask=count > 0, other=0.0)
        odd = odd | (root == 0.0)
        total = tl.zeros([R, N], tl.float64)
        found = m + (dx if TANGENT else x) + 2 * square
        wrong = tl.zeros([BLOCK], tl.int32)
        for first in range(0, edges, BLOCK):
            k = first + tl.arange(0, BLOCK)
            if TANGENT:
                slope = tl.load(g + begin + k, mask=k < edges, other=0.0)
                wrong |= (slope != slope).to(tl.int32)
        odd = odd | (tl.max(wrong, axis=0) > 0)
        # Rounding errors must not leave anything to doubt where a node can have one head only.
        for first in range(0, count, R):
            a = first + tl.arange(0, R)
            _at, inside, span = _pairs(u, order, a[:, None], b[None, :], count, n)
            total += tl.load(found + span, mask=inside, other=0.0)
        each = tl.sum(total, axis=0)
        each = tl.where(each > 0.0, each, 1.0)
        for first in range(0, edges, BLOCK):
            k = first + tl.arange(0, BLOCK)
            tl.store(out + begin + k, tl.where(odd, float("nan"), 0.0), mask=k < edges)
        tl.debug_barrier()
        for first in range(0, count, R):
            a = first + tl.arange(0, R)
            to, inside, span = _pairs(out + begin, order, a[:, None], b[None, :], count, n)
            value = tl.load(found + span, mask=inside, other=0.0)
            if not TANGENT:
                value /= each[None, :]
            tl.store(to, tl.where(odd, float("nan"), value), mask=inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "n"])
def _log_partition(
    u, out, floats, integers, rows, edges, n,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = n * n
    m = floats + program * 14 * square
    order = integers + program * n
    for row in range(program, rows, tl.num_programs(0)):
        count, base, stretch, odd = _prepared(u + row * edges, order, m, m + 10 * square, n, SINGLE, R, N)
        _inside(m, m + 10 * square, count, n, False, SINGLE, R, N)
        root = m + tl.maximum(count - 1, 0) * n
        z = tl.load(root, mask=count > 0, other=0.0)
        log_z = base + (tl.log(z) + tl.load(root + 5 * square) * LN2) * stretch
        tl.store(out + row, tl.where(odd | (z == 0.0), float("nan"), log_z))
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "n"])
def _sample(
    u, uniforms, out, floats, integers, rows, edges, n,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = n * n
    m = floats + program * 18 * square
    order = integers + program * n
    b = tl.arange(0, N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        count, _base, _stretch, odd = _prepared(u + begin, order, m, m + 14 * square, n, SINGLE, R, N)
        _inside(m, m + 14 * square, count, n, False, SINGLE, R, N)
        _drawn(m, 10 * square, uniforms + row * 3 * (n * (n + 1) // 2), count, n, R, N, BLOCK)
        root = tl.load(m + tl.maximum(count - 1, 0) * n, mask=count > 0, other=0.0)
        odd = odd | (root == 0.0)
        for first in range(0, edges, BLOCK):
            k = first + tl.arange(0, BLOCK)
            tl.store(out + begin + k, tl.where(odd, float("nan"), 0.0), mask=k < edges)
        tl.debug_barrier()
        for first in range(0, count, R):
            a = first + tl.arange(0, R)
            to, inside, span = _pairs(out + begin, order, a[:, None], b[None, :], count, n)
            mark = tl.load(m + 12 * square + span, mask=inside, other=0.0)
            tl.store(to, tl.where(odd, float("nan"), mark), mask=inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rows", "edges", "n"])
def _maximum(
    u, out, floats, integers, rows, edges, n,
    SINGLE: tl.constexpr, R: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    square = n * n
    words = (edges + BITS - 1) // BITS
    chart = floats + program * (11 + 4 * words) * square
    weight = chart + 9 * square
    keys = (weight + 2 * square).to(tl.pointer_type(tl.int64))
    order = integers + program * (n + square)
    b = tl.arange(0, N)
    for row in range(program, rows, tl.num_programs(0)):
        begin = row * edges
        count, odd = _present(u + begin, order, n, R, N)
        _load(u + begin, order, weight, -INF, count, n, R, N)
        most = _eisner(chart, weight, count, n, SINGLE, R, N)
        root = tl.maximum(count - 1, 0) * n
        value = tl.load(chart + root, mask=count > 0, other=-INF)
        odd = odd | (value == -INF)
        for first in range(0, edges, BLOCK):
            k = first + tl.arange(0, BLOCK)
            tl.store(out + begin + k, tl.where(odd, float("nan"), 0.0), mask=k < edges)
        tl.debug_barrier()
        if most > 1:
            _keys(chart, keys, order + n, order, words, count, n, R, N)
            for first in range(0, edges, BLOCK):
                k = first + tl.arange(0, BLOCK)
                word = tl.load(keys + (k // BITS) * square + root, mask=k < edges, other=0)
                bit = (word >> _place(k)) & 1
                tl.store(out + begin + k, tl.where(odd, float("nan"), bit.to(tl.float64)), mask=k < edges)
        else:
            _trace(chart, 5 * square, count, n, R, N, BLOCK)
            for first in range(0, count, R):
                a = first + tl.arange(0, R)
                to, inside, span = _pairs(out + begin, order, a[:, None], b[None, :], count, n)
                mark = tl.load(chart + 7 * square + span, mask=inside, other=0.0)
                tl.store(to, tl.where(odd, float("nan"), mark), mask=inside)
        tl.debug_barrier()


def marginals(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory, constants = (18 * nodes**2, nodes), (single, False)
    return run(_marginals, (u, u), torch.empty_like(u), nodes, u.shape[1], *memory, constants=constants)


def marginals_jvp(u: Tensor, g: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory, constants = (28 * nodes**2, nodes), (single, True)
    return run(_marginals, (u, g), torch.empty_like(u), nodes, u.shape[1], *memory, constants=constants)


def log_partition(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 14 * nodes**2, nodes
    return run(_log_partition, (u,), u.new_empty(len(u)), nodes, u.shape[1], *memory, constants=(single,))


def maximum_projective_arborescence(u: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    words = -(-u.shape[1] // BITS.value)
    memory = (11 + 4 * words) * nodes**2, nodes + nodes**2
    return run(_maximum, (u,), torch.empty_like(u), nodes, u.shape[1], *memory, constants=(single,))


def sample(u: Tensor, uniforms: Tensor, nodes: int, single: bool = False) -> Tensor:
    """Launch; for arguments see the operator of this name."""
    memory = 18 * nodes**2, nodes
    return run(_sample, (u, uniforms), torch.empty_like(u), nodes, u.shape[1], *memory, constants=(single,))

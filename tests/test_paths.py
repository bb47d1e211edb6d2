"""Paths beyond the laws: constructors, many nodes, any scale, edges and nodes in any order, and their edge cases."""

from __future__ import annotations

import itertools
import math
import random

import mpmath
import numpy as np
import pytest
import torch

import sstricks as sst
from brute_force import exact, scaled
from laws import TOLERANCE, assert_near
from listed import first_of_the_best
from sstricks import functional as F
from sstricks.ops import path
from test_errors import check
from utilities_at_extremes import hierarchy, staircase, uniform

FAMILY = sst.ExponentialFamilyEntropy()
SCALES = {
    "range-10": lambda n, rng: uniform(n, 10.0, rng),
    "range-1e3": lambda n, rng: uniform(n, 1e3, rng),
    "range-1e6": lambda n, rng: uniform(n, 1e6, rng),
    "hierarchy": hierarchy,
    "staircase": staircase,
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def any_paths(nodes: int, extra: int, seed: int) -> sst.Path:
    """A random acyclic graph, some of its edges parallel or on no path, with nodes and edges in random order."""
    rng = random.Random(seed)
    pairs = [(rng.randrange(v), v) for v in range(1, nodes)]
    pairs += [tuple(sorted(rng.sample(range(nodes), 2))) for _ in range(extra)]
    names = rng.sample(range(nodes), nodes)
    rng.shuffle(pairs)
    ends = pairs[rng.randrange(len(pairs))]
    edges = torch.tensor([(names[a], names[b]) for a, b in pairs]).T.contiguous()
    return sst.Path(edges, names[0], names[max(ends)])


def forward_algorithm(u: torch.Tensor, steps: int, classes: int) -> torch.Tensor:
    """Log Z of a linear chain, in logarithms, step by step."""
    value, pairs = u[..., :classes], u[..., classes:].unflatten(-1, (steps - 1, classes, classes))
    for t in range(steps - 1):
        value = torch.logsumexp(value.unsqueeze(-1) + pairs[..., t, :, :], -2)
    return value.logsumexp(-1)


@pytest.mark.parametrize(("steps", "classes"), [(1, 1), (1, 4), (2, 3), (4, 1), (4, 3)])
def test_a_linear_chain_has_all_labellings(steps: int, classes: int):
    chain = sst.Path.linear_chain(steps, classes)
    emission, transition = normal(2, steps, classes), normal(2, max(steps - 1, 0), classes, classes, seed=1)
    pairs = emission[..., 1:, None, :] + transition
    u = torch.cat([emission[..., 0, :], pairs.flatten(-3)], -1)
    labellings = list(itertools.product(range(classes), repeat=steps))
    values = torch.stack(
        [
            sum(emission[:, t, y[t]] for t in range(steps))
            + sum(transition[:, t, y[t], y[t + 1]] for t in range(steps - 1))
            for y in labellings
        ],
        -1,
    )
    assert len(chain.enumerate_support()) == classes**steps
    assert_near(chain.log_partition(u), values.logsumexp(-1), 1e-12)
    best = torch.tensor(labellings)[values.argmax(-1)]
    for x, y in zip(chain.argmax(u), best, strict=True):
        others = x[classes:].unflatten(-1, (steps - 1, classes, classes)).sum(-2)
        assert [x[:classes].argmax().item(), *others.argmax(-1).tolist()] == y.tolist()


@pytest.mark.parametrize(("n", "longest", "classes"), [(1, 1, 1), (5, 2, 1), (4, 9, 1), (4, 2, 3)])
def test_a_segmentation_has_all_labelled_divisions(n: int, longest: int, classes: int):
    paths, u = sst.Path.segmentation(n, longest, classes), normal(n, longest, classes)
    values = []
    for cuts in itertools.product((False, True), repeat=n - 1):
        begins = [0, *[i + 1 for i, cut in enumerate(cuts) if cut], n]
        spans = list(itertools.pairwise(begins))
        if max(b - a for a, b in spans) <= longest:
            for labels in itertools.product(range(classes), repeat=len(spans)):
                values.append(sum(u[a, b - a - 1, c] for (a, b), c in zip(spans, labels, strict=True)))
    assert len(paths.enumerate_support()) == len(values)
    assert_near(paths.log_partition(u.flatten()), torch.stack(values).logsumexp(-1), 1e-12)
    x = paths.argmax(u.flatten())
    assert math.isclose(x @ u.flatten(), max(values))


@pytest.mark.parametrize(("n", "m", "count"), [(1, 1, 3), (2, 2, 13), (3, 3, 63), (4, 2, 41), (1, 5, 11)])
def test_an_alignment_has_all_monotone_ones(n: int, m: int, count: int):
    """Delannoy numbers, and Needleman and Wunsch's recursion."""
    paths, moves = sst.Path.alignment(n, m), normal(n + 1, m + 1, 3)
    assert len(paths.enumerate_support()) == count
    score, total = ({(0, 0): torch.zeros((), dtype=torch.float64)} for _ in range(2))
    for i, j in itertools.product(range(n + 1), range(m + 1)):
        ways = [(i - 1, j - 1, 0), (i - 1, j, 1), (i, j - 1, 2)]
        there = [(a, b, moves[a, b, move]) for a, b, move in ways if min(a, b) >= 0]
        if there:
            score[i, j] = torch.stack([score[a, b] + w for a, b, w in there]).max()
            total[i, j] = torch.stack([total[a, b] + w for a, b, w in there]).logsumexp(-1)
    assert_near(paths.log_partition(moves.flatten()), total[n, m], 1e-12)
    x = paths.argmax(moves.flatten())
    assert math.isclose(x @ moves.flatten(), score[n, m])
    steps = x.unflatten(-1, moves.shape).sum((0, 1))
    assert (steps[0] + steps[1], steps[0] + steps[2]) == (n, m)


@pytest.mark.parametrize(("steps", "classes"), [(50, 4), (9, 20)])
def test_the_forward_algorithm(steps: int, classes: int):
    """Value, gradient and second derivative agree with an unrolled one where logarithms have digits to spare."""
    chain = sst.Path.linear_chain(steps, classes)
    u, g = normal(3, *chain.event_shape).requires_grad_(), normal(3, *chain.event_shape, seed=1)
    value = forward_algorithm(u, steps, classes)
    assert_near(chain.log_partition(u), value, 1e-10)
    (theirs,) = torch.autograd.grad(value.sum(), u, create_graph=True)
    ours = chain.softmax(u, 1.0, FAMILY)
    assert_near(ours, theirs, 1e-11)
    du, expected = (torch.autograd.grad((x * g).sum(), u)[0] for x in (ours, theirs))
    assert_near(du, expected, 1e-10)


def in_many_digits(paths: sst.Path, s, g, edges: list[int]) -> list[tuple[mpmath.mpf, mpmath.mpf]]:
    """The marginals and their slopes in the direction g: Z without or through an edge, by the sum over all walks."""
    tail, head = paths.edges.tolist()
    leaving = {v: [e for e, a in enumerate(tail) if a == v] for v in range(paths.num_nodes)}

    def log_z(at: mpmath.mpf, through: int) -> mpmath.mpf:
        known: dict[tuple[int, bool], mpmath.mpf] = {(paths.sink, True): mpmath.mpf(1)}

        def weight(v: int, passed: bool) -> mpmath.mpf:
            if (v, passed) not in known:
                known[v, passed] = mpmath.fsum(
                    mpmath.exp(s[e] + at * g[e]) * weight(head[e], passed or e == through)
                    for e in (() if v == paths.sink else leaving[v])
                )
            return known[v, passed]

        return weight(paths.source, through < 0)

    found, step = [], mpmath.mpf(10) ** -40
    with mpmath.workdps(120):
        for e in edges:
            behind, here, ahead = (log_z(at, e) / log_z(at, -1) for at in (-step, mpmath.mpf(0), step))
            found.append((here, (ahead - behind) / (2 * step)))
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(3))
def test_many_nodes_at_any_scale(seed: int, scale: str, dtype: torch.dtype):
    paths, rng, t = any_paths(30, 60, seed), np.random.default_rng(seed), torch.tensor(1e-4, dtype=dtype)
    u = torch.tensor(SCALES[scale](*paths.event_shape, rng) * 1e-4).to(dtype).requires_grad_()
    g = torch.tensor(rng.uniform(-1, 1, len(u)), dtype=dtype)
    x = paths.softmax(u, t, FAMILY)
    (du,) = torch.autograd.grad((x * g).sum(), u)
    edges = (x.detach() - 0.5).abs().argsort()[:4].tolist() + rng.integers(len(u), size=2).tolist()
    for e, (value, slope) in zip(edges, in_many_digits(paths, scaled(u, t), exact(g), edges), strict=True):
        assert abs(x[e].item() - value) <= TOLERANCE[dtype]
        assert abs(du[e].item() * t.item() - slope) <= TOLERANCE[dtype]


@pytest.mark.parametrize("seed", range(20))
def test_kernels_equal_their_twins(seed: int):
    paths = any_paths(3 + seed, 2 * seed, seed)
    u = normal(11, *paths.event_shape)
    u = torch.where(normal(*u.shape, seed=1) > 1.3, -torch.inf, u)
    u = paths.scaled(u[[is_open(paths, row) for row in u]], 1.0)
    graph = paths._graph(u)
    uniform = torch.rand(len(u), 7, path.depth_of(graph[1]), dtype=u.dtype, generator=torch.Generator().manual_seed(0))
    for operator, rows in (
        (path.marginals, (u,)),
        (path.log_partition, (u,)),
        (path.marginals_jvp, (u, normal(*u.shape, seed=2))),
        (path.maximum_path, (u,)),
        (path.maximum_path, ((u * 2).round(),)),
        (path.sample, (u.unsqueeze(-2).expand(-1, 7, -1), uniform)),
    ):
        assert_near(operator(*rows, *graph), operator.twin(*rows, *graph), 1e-12)


def is_open(paths: sst.Path, u: torch.Tensor) -> bool:
    """Whether a path is left."""
    try:
        paths.argmax(u)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_ties_in_graphs_in_any_order(seed: int):
    """Edges need not be sorted along the paths; then the first edge that differs may be the last on its path."""
    paths = any_paths(8, 14, seed)
    u = torch.randint(-1, 2, (30, *paths.event_shape), generator=torch.Generator().manual_seed(seed)).double()
    vertices = paths.enumerate_support().numpy().astype(np.int8)
    expected = np.stack([first_of_the_best(vertices, row) for row in u.numpy()])
    assert paths.argmax(u).tolist() == expected.tolist()
    assert path.maximum_path.twin(paths.scaled(u, 1.0), *paths._graph(u)).tolist() == expected.tolist()


def test_edges_on_no_path_are_absent():
    """Into the source, out of the sink, unreached, dead ends."""
    paths = sst.Path(torch.tensor([[1, 0, 2, 3, 0, 5], [0, 2, 3, 4, 5, 6]]), 0, 3)
    assert paths.mask is not None
    assert paths.mask.tolist() == [False, True, True, False, False, False]
    u = torch.full((6,), 1e9, requires_grad=True)
    x = paths.softmax(u, 1.0, FAMILY)
    assert x.tolist() == paths.argmax(u).tolist() == [0, 1, 1, 0, 0, 0]
    u = torch.where(paths.mask, 0.0, torch.inf)
    assert paths.log_partition(u) == 0
    assert F.path_marginals(u, paths.edges, 0, 3).tolist() == [0, 1, 1, 0, 0, 0]
    assert not paths.contains(torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 0.0]))


def test_sequences_of_several_lengths_share_a_batch():
    """Beyond its end a sequence has the first label, with utility 0."""
    steps, classes, lengths = 6, 3, [6, 1, 4, 2]
    emission, transition = normal(4, steps, classes), normal(classes, classes)
    end = torch.arange(steps) >= torch.tensor(lengths)[:, None]
    pairs = emission[..., 1:, None, :] + transition
    pairs = torch.where(end[:, 1:, None, None], 0.0, pairs)
    u = torch.cat([emission[..., 0, :], pairs.flatten(-3)], -1)
    allowed = ~end[:, 1:, None, None] | (torch.arange(classes) == 0)
    mask = torch.cat([torch.ones(4, classes, dtype=torch.bool), allowed.expand_as(pairs).flatten(-3)], -1)
    chain = sst.Path.linear_chain(steps, classes, mask=mask)
    log_z, x = chain.log_partition(u), chain.marginals(u)
    assert chain.contains(chain.sample(u, (5,))).all()
    for i, length in enumerate(lengths):
        size = classes + (length - 1) * classes**2
        alone = sst.Path.linear_chain(length, classes)
        assert_near(log_z[i], alone.log_partition(u[i, :size]), 1e-12)
        assert_near(x[i, :size], alone.marginals(u[i, :size]), 1e-13)
        assert torch.equal(chain.argmax(u)[i, :size], alone.argmax(u[i, :size]))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("paths", [sst.Path.alignment(9, 7), any_paths(30, 60, 0)], ids=repr)
def test_samples_have_the_marginals(paths: sst.Path, scale: float):
    u = scale * normal(2, *paths.event_shape)
    samples = paths.sample(u, (4000,), generator=torch.Generator().manual_seed(0))
    assert samples.shape == (4000, 2, *paths.event_shape)
    assert paths.contains(samples).all()
    x = paths.marginals(u)
    assert ((samples.mean(0) - x).abs() <= 5 * (x * (1 - x) / 4000).sqrt() + 1e-12).all()


def test_functions_are_the_methods():
    paths = any_paths(12, 20, 3)
    u, graph = normal(4, *paths.event_shape).float(), (paths.edges, paths.source, paths.sink)
    assert torch.equal(F.maximum_path(u, *graph), paths.argmax(u))
    assert torch.equal(F.path_marginals(u, *graph), paths.marginals(u))
    assert torch.equal(F.path_log_partition(u, *graph), paths.log_partition(u))
    torch.manual_seed(0)
    drawn = F.path_sample(u, *graph)
    torch.manual_seed(0)
    assert torch.equal(drawn, paths.sample(u))


def test_the_sink_is_the_last_node_unless_said():
    paths = sst.Path(torch.tensor([[2, 2, 1], [1, 0, 0]]), source=2, sink=0)
    assert (paths.source, paths.sink, paths.num_nodes) == (2, 0, 3)
    assert sst.Path(torch.tensor([[0, 0, 1], [1, 2, 2]])).sink == 2


def test_a_long_path_among_few():
    """Programs, and the enumeration, that would recurse once for every edge end with Python's stack."""
    edges = torch.stack([torch.arange(5000), torch.arange(1, 5001)])
    paths = sst.Path(torch.cat([edges, edges[:, :1]], 1))
    assert len(paths.enumerate_support()) == 2
    u = torch.zeros(5001, dtype=torch.float64)
    assert_near(paths.log_partition(u).exp(), torch.tensor(2.0), 1e-12)
    assert_near(path.marginals.twin(u[None], *paths._graph(u)), paths.marginals(u)[None], 1e-12)


def test_the_largest_utilities_of_long_paths():
    chain = sst.Path.linear_chain(500, 2)
    u = 1e300 * normal(2, *chain.event_shape).sign()
    for solve in (chain.argmax, chain.sample):
        assert chain.contains(solve(u)).all()
    assert chain.log_partition(u).isfinite().all()
    x = chain.marginals(u)
    assert_near(x[:, 2:].unflatten(-1, (499, 2, 2)).sum((-2, -1)), torch.ones(2, 499), 1e-12)


def test_a_mask_with_dead_ends_is_enumerated_at_once():
    chain = sst.Path.linear_chain(200, 3)
    mask = torch.ones(chain.event_shape, dtype=torch.bool)
    last = mask[-9:]
    last[:] = False
    last[0] = True
    first = mask[3:].view(199, 3, 3)
    first[:-1, 1:, 0] = False  # the first label comes only after itself, and the last step wants it before
    assert len(chain.masked(mask).enumerate_support()) == 1


def test_errors():
    triangle = torch.tensor([[0, 0, 1], [1, 2, 2]])
    check(lambda: sst.Path(torch.tensor([[0, 1, 2, 1], [1, 2, 1, 3]])), "edges", "cycle through node", "without cycles")
    check(lambda: sst.Path(torch.tensor([[0, 2, 3], [1, 3, 2]]), 0, 1), "edges", "cycle through node", "without")
    check(lambda: sst.Path(triangle, 2, 0), "edges", "no path from node 2 to node 0", "at least one")
    check(lambda: sst.Path(torch.zeros(2, 0, dtype=torch.int64)), "edges", "(2, 0)", "E >= 1")
    check(lambda: sst.Path(triangle, 1, 1), "source", "node 1", "another")
    check(lambda: sst.Path(triangle, mask=torch.tensor([False, False, True])), "mask", "from node 0 to node 2", "path")
    check(lambda: sst.Path(triangle, mask=torch.ones(2, dtype=torch.bool)), "mask", "(2,)", "3")
    check(lambda: sst.Path.linear_chain(0, 3), "steps", "0", "1")
    check(lambda: sst.Path.linear_chain(3, 0), "classes", "0", "1")
    check(lambda: sst.Path.segmentation(3, 0), "max_length", "0", "1")
    check(lambda: sst.Path.segmentation(0, 1), "n", "0", "1")
    check(lambda: sst.Path.alignment(2, 0), "m", "0", "1")
    check(lambda: sst.Path.linear_chain(40, 5).enumerate_support(), "enumerate_support", "10^28", "2000000")
    u = torch.zeros(3, 3)
    u[2, 1:] = -math.inf
    paths = sst.Path(triangle)
    for call in (paths.argmax, paths.log_partition, paths.sample, lambda v: paths.softmax(v, 1.0, FAMILY)):
        check(lambda call=call: call(u), "u", "row 2", "path")


def test_derivatives_of_any_order_are_those_of_the_sum():
    triangle = sst.Path(torch.tensor([[0, 0, 1], [1, 2, 2]]))
    torch.manual_seed(0)
    u, directions = torch.randn(3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def along(value, direction):
        return lambda u: torch.func.grad(value)(u) @ direction

    found, expected = triangle.log_partition, lambda u: torch.logaddexp(u[1], u[0] + u[2])
    for direction in directions:
        found, expected = along(found, direction), along(expected, direction)
        torch.testing.assert_close(found(u), expected(u), rtol=1e-9, atol=1e-12)

"""Eliminations without exponents and of sparse graphs, against the one with exponents, and against fifty digits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import sstricks as sst
from brute_force import exact
from cases import CASES, Case
from graphs import Edges, complete, random_connected
from laws import assert_near
from recursions import tree_edge_probability, tree_edge_slope
from sstricks.ops import arborescence, elimination, spanning_tree
from sstricks.ops.kernels import dense
from sstricks.ops.kernels.floats import LANES
from sstricks.ops.kernels.minimum_degree import analyse
from test_extremes import assert_exact, in_dtype
from utilities_at_extremes import PATTERNS, uniform

OPERATORS = {"undirected": spanning_tree, "directed": arborescence}
BOTH = pytest.mark.parametrize("kind", OPERATORS)
TREES = [
    case
    for case in CASES
    if isinstance(case.structure, (sst.SpanningTree, sst.Arborescence))
    and isinstance(case.regularizer, sst.ExponentialFamilyEntropy)
]
Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def graph(kind: str, edges: Edges) -> torch.Tensor:
    """Directed, every edge leads both ways."""
    pairs = torch.tensor(edges).T
    return pairs if kind == "undirected" else torch.cat([pairs, pairs.flip(0)], -1)


def everything(kind: str, u: torch.Tensor, g: torch.Tensor, edges: torch.Tensor, nodes: int) -> Found:
    operators = OPERATORS[kind]
    return (
        operators.log_partition(u, edges, nodes),
        operators.marginals(u, edges, nodes),
        operators.marginals_jvp(u, g, edges, nodes),
    )


def with_exponents(kind: str, u: torch.Tensor, g: torch.Tensor, edges: torch.Tensor, nodes: int) -> Found:
    """What the kernels in lanes find, however many nodes there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elimination, "DENSE", math.inf)  # so that the sparse ones are not asked either
        patch.setattr(elimination, "DENSE_DIRECTED", math.inf)
        lanes = u.expand(LANES, -1), g.expand(LANES, -1)
        found = everything(kind, *lanes, edges, nodes)
    return found[0][0], found[1][0], found[2][0]


def compare(kind: str, u: torch.Tensor, g: torch.Tensor, edges: torch.Tensor, nodes: int) -> None:
    found = everything(kind, u, g, edges, nodes)
    expected = with_exponents(kind, u, g, edges, nodes)
    near = u[u > -1e7]
    tolerance = 1e-12 + 2.0**-52 * float(near.max() - near.min())  # differences of utilities are rounded
    assert math.isclose(found[0], expected[0], rel_tol=1e-13, abs_tol=1e-11)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert_near(a, b, tolerance)


@pytest.fixture
def is_served(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether no row was left to the kernels in lanes since the last question."""
    left = []

    def watched(kernel, rows, *args, step=1, scratch=0):
        left.append(step == LANES)
        over_rows(kernel, rows, *args, step=step, scratch=scratch)

    over_rows = elimination.over_rows
    for module in (elimination, arborescence, spanning_tree):
        monkeypatch.setattr(module, "over_rows", watched)

    def answer() -> bool:
        found = not any(left)
        left.clear()
        return found

    return answer


@BOTH
@pytest.mark.parametrize("nodes", [2, 3, 5, 16, 17, 31, 32, 33, 48, 65, 97])
def test_blocks_of_any_size(kind: str, nodes: int, is_served: Callable[[], bool], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elimination, "FEW", 0)
    rng = np.random.default_rng(nodes)
    edges = graph(kind, complete(nodes))
    for reach in (1.0, 40.0, 250.0):
        u, g = (torch.tensor(uniform(edges.shape[1], width, rng)) for width in (reach, 2.0))
        is_served()
        everything(kind, u, g, edges, nodes)
        assert is_served()
        compare(kind, u, g, edges, nodes)


@BOTH
@pytest.mark.parametrize("pattern", PATTERNS)
def test_any_range(kind: str, pattern: str):
    """With parallel edges, edges and nodes that are absent."""
    nodes, rng = 60, np.random.default_rng(3)
    edges = graph(kind, random_connected(nodes, 300, seed=7) + complete(nodes)[::9])
    for scale in (1.0, 1e-3):
        u = torch.tensor(PATTERNS[pattern](edges.shape[1], rng) * scale)
        g = torch.tensor(rng.uniform(-1, 1, len(u)))
        compare(kind, u, g, edges, nodes)
        gone = ((edges == 1) | (edges == 30) | (edges == nodes - 1)).any(0)
        absent = u.masked_fill(gone | torch.tensor(rng.random(len(u)) < 0.1), -math.inf)
        compare(kind, absent, g, edges, nodes)


@BOTH
def test_node_zero_may_be_absent_from_an_undirected_graph(kind: str):
    edges = graph(kind, complete(50))
    gone = (edges == (0 if kind == "undirected" else 1)).any(0)
    u, g = (torch.linspace(-3, 3, edges.shape[1], dtype=torch.float64).roll(k) for k in (0, 7))
    compare(kind, u.masked_fill(gone, -math.inf), g, edges, 50)


@BOTH
def test_rows_that_float64_cannot_hold_are_computed_with_exponents(
    kind: str, is_served: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
):
    """Where both weights of a product are e^−250, it leaves the range; rows beside them stay as they are."""
    monkeypatch.setattr(elimination, "FILLED", math.inf)  # sparse graphs have exponents anyway
    nodes, rng = 60, np.random.default_rng(0)
    edges = graph(kind, random_connected(nodes, 60, seed=2))
    hard = torch.tensor(rng.choice([0.0, -250.0], edges.shape[1]))
    easy, g = torch.zeros_like(hard), torch.tensor(rng.uniform(-1, 1, len(hard)))
    rows = everything(kind, torch.stack([easy, hard, hard, easy]), g.expand(4, -1), edges, nodes)
    assert not is_served()
    for u, at in ((hard, 1), (hard, 2), (easy, 0), (easy, 3)):
        for found, expected in zip(rows, with_exponents(kind, u, g, edges, nodes), strict=True):
            assert_near(found[at], expected, 1e-11)


@BOTH
def test_edges_that_are_not_there_have_no_marginal_to_overflow(kind: str, is_served: Callable[[], bool]):
    """One between the ends of a path of weights e^−200 would be e^(200 n) times as likely as the path."""
    nodes = 60
    edges = graph(kind, complete(nodes))
    there = (edges[0] - edges[1]).abs() == 1
    path = torch.where(there, torch.linspace(-200.0, -150.0, edges.shape[1], dtype=torch.float64), -math.inf)
    path[(edges == 0).any(0) & there] = 0.0
    g = torch.linspace(-1, 1, len(path), dtype=torch.float64)
    everything(kind, path, g, edges, nodes)
    assert is_served()
    compare(kind, path, g, edges, nodes)


@BOTH
@pytest.mark.parametrize("stand_in", [-1e6, -1e9, -1e300])
def test_stand_ins_for_minus_infinity_cost_nothing(kind: str, stand_in: float, is_served: Callable[[], bool]):
    nodes = 50
    edges = graph(kind, complete(nodes))
    u, g = (torch.linspace(-3, 3, edges.shape[1], dtype=torch.float64).roll(k) for k in (0, 7))
    u = torch.where((edges[0] * 7 + edges[1]) % 3 == 0, stand_in, u)
    everything(kind, u, g, edges, nodes)
    assert is_served()
    compare(kind, u, g, edges, nodes)
    needed = torch.where((edges == 9).any(0), stand_in, u)  # every tree has one of these
    compare(kind, needed, g, edges, nodes)
    if kind == "undirected":
        is_served()
        everything(kind, needed.expand(2, -1), g.expand(2, -1), edges, nodes)
        assert not is_served()


@pytest.mark.parametrize("reach", [1.0, 60.0, 300.0])
def test_fifty_digits(reach: float):
    nodes, rng = 50, np.random.default_rng(5)
    pairs = complete(nodes)
    edges, u, g = torch.tensor(pairs).T, *(torch.tensor(uniform(len(pairs), width, rng)) for width in (reach, 2.0))
    x, slope = everything("undirected", u, g, edges, nodes)[1:]
    s, direction = exact(u), exact(g)
    for e in [*(x - 0.5).abs().argsort()[:4].tolist(), 0, 700]:
        assert abs(x[e].item() - tree_edge_probability(s, pairs, nodes, e)) <= 1e-13
        assert abs(slope[e].item() - tree_edge_slope(s, direction, pairs, nodes, e)) <= 1e-13


@BOTH
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e300])
def test_directions_of_any_size(kind: str, size: float):
    edges = graph(kind, complete(50))
    u, g = (torch.linspace(-30, 3, edges.shape[1], dtype=torch.float64).roll(k) for k in (0, 7))
    slope, found = (OPERATORS[kind].marginals_jvp(u, g * factor, edges, 50) for factor in (1.0, size))
    assert_near(found / (size or 1.0), slope * (size > 0), 1e-12)


@BOTH
def test_nan_in_a_direction_is_not_hidden(kind: str):
    edges = graph(kind, complete(50))
    u, g = (torch.linspace(-30, 3, edges.shape[1], dtype=torch.float64).roll(k) for k in (0, 7))
    g[100] = math.nan
    assert OPERATORS[kind].marginals_jvp(u, g, edges, 50).isnan().any()


@BOTH
def test_graphs_in_pieces_are_refused(kind: str):
    edges = graph(kind, complete(50))
    u = torch.zeros(2, edges.shape[1], dtype=torch.float64)
    u[1, ((edges < 20).sum(0) == 1)] = -math.inf
    with pytest.raises(ValueError, match="row 1"):
        OPERATORS[kind].marginals(u, edges, 50)


def test_no_weight_in_reach_is_below_the_least():
    assert math.exp(-dense._REACH) > dense.LEAST


def grid(side: int) -> Edges:
    right = [(v, v + 1) for v in range(side * side) if (v + 1) % side]
    return right + [(v, v + side) for v in range(side * (side - 1))]


@pytest.fixture
def always_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any graph is one for the sparse kernel."""
    for threshold in ("DENSE", "DENSE_DIRECTED", "FEW", "FILLED", "PRODUCTS"):
        monkeypatch.setattr(elimination, threshold, 0)


@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("case", TREES, ids=str)
def test_small_graphs_as_sparse_ones(case: Case, pattern: str):
    rng = np.random.default_rng(8)
    for t in (1e-4, 1.0):
        u, temperature = in_dtype(PATTERNS[pattern](case.problem.size, rng), t, torch.float64)
        assert_exact(case, u, temperature, torch.tensor(rng.uniform(-1, 1, case.problem.size)))


@BOTH
@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "pairs",
    [grid(5), random_connected(20, 10, seed=1) * 2, random_connected(12, 60, seed=2), complete(9)],
    ids=["grid", "parallel", "dense", "complete"],
)
def test_sparse_graphs(kind: str, pattern: str, pairs: Edges):
    rng, edges, nodes = np.random.default_rng(4), graph(kind, pairs), max(map(max, pairs)) + 1
    for scale in (1.0, 1e-5):
        u = torch.tensor(PATTERNS[pattern](edges.shape[1], rng) * scale)
        g = torch.tensor(rng.uniform(-1, 1, len(u)))
        compare(kind, u, g, edges, nodes)
        leaves = [v for v in range(1, nodes) if sum(v in pair for pair in set(pairs)) == 1]
        gone = torch.isin(edges, torch.tensor(leaves, dtype=torch.int64)).any(0)
        compare(kind, u.masked_fill(gone, -math.inf), g, edges, nodes)


@BOTH
def test_a_grid_is_eliminated_as_one(kind: str, is_served: Callable[[], bool], monkeypatch: pytest.MonkeyPatch):
    nodes, edges = 400, graph(kind, grid(20))
    monkeypatch.setattr(dense, "marginals", None)
    rng = np.random.default_rng(0)
    for reach in (1.0, 1e3, 1e6):
        u = torch.tensor(uniform(edges.shape[1], reach, rng)).expand(2, -1)
        x = OPERATORS[kind].marginals(u, edges, nodes)
        assert is_served()
        assert_near(x.sum(-1), torch.full((2,), nodes - 1.0), 1e-10)
        assert_near(x, with_exponents(kind, u[0], u[0], edges, nodes)[1].expand(2, -1), 1e-11)
        is_served()


@BOTH
def test_one_row_of_a_wide_range_has_no_idle_lanes(kind: str, is_served: Callable[[], bool]):
    edges, rng = graph(kind, complete(20)), np.random.default_rng(0)
    u, g = (torch.tensor(uniform(edges.shape[1], width, rng)) for width in (1e4, 2.0))
    everything(kind, u, g, edges, 20)
    assert is_served()
    compare(kind, u, g, edges, 20)
    is_served()
    everything(kind, u.expand(2, -1), g.expand(2, -1), edges, 20)
    assert not is_served()


@BOTH
@pytest.mark.usefixtures("always_sparse")
def test_sparse_graphs_in_pieces_are_refused(kind: str):
    edges = graph(kind, grid(4))
    u = torch.zeros(2, edges.shape[1], dtype=torch.float64)
    u[1, (edges == 5).any(0)] = -math.inf
    assert_near(OPERATORS[kind].marginals(u, edges, 16).sum(-1), torch.tensor([15.0, 14.0]), 1e-12)
    u[1] = torch.where((edges < 8).sum(0) == 1, -math.inf, 0.0)
    with pytest.raises(ValueError, match="row 1"):
        OPERATORS[kind].marginals(u, edges, 16)


@pytest.mark.parametrize("seed", range(40))
def test_the_graph_with_what_eliminations_fill_in(seed: int):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 40))
    ends = rng.integers(0, nodes, (2, int(rng.integers(1, 100))))
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % nodes, ends[1])
    number, pointer, index, begin, earlier, place, slot, down = analyse(nodes, seed % nodes, ends)
    assert number[seed % nodes] == nodes - 1
    near = [set() for _ in range(nodes)]
    for a, b in number[ends].T:
        near[a].add(b)
        near[b].add(a)
    for k in range(nodes):
        later = sorted(v for v in near[k] if v > k)
        assert later == index[pointer[k] : pointer[k + 1]].tolist()
        for v in later:
            near[v] |= {*later} - {v}
        of_k = slice(begin[k], begin[k + 1])
        assert earlier[of_k].tolist() == [v for v in range(k) if k in near[v]]
        assert (index[place[of_k]] == k).all()
        assert all(pointer[v] <= x < pointer[v + 1] for v, x in zip(earlier[of_k], place[of_k], strict=True))
    low, high = number[ends].min(0), number[ends].max(0)
    assert (index[slot] == high).all()
    assert ((pointer[low] <= slot) & (slot < pointer[low + 1])).all()
    assert (down == (number[ends[1]] == low)).all()


def test_graphs_that_fill_in_much_are_given_up():
    ends = np.array(random_connected(60, 200, seed=0)).T
    products = float((np.diff(analyse(60, 0, ends)[1]) ** 2).sum())
    assert not len(analyse(60, 0, ends, products / 1.5)[0])
    assert len(analyse(60, 0, ends, products * 1.5)[0]) == 60


def test_grids_fill_in_little():
    """Eliminated row by row, one of 30 × 30 nodes has 30 later neighbours a node."""
    later = np.diff(analyse(900, 0, np.array(grid(30)).T)[1])
    assert later.sum() < 900 * 12
    assert later @ later < 900 * 250


@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("case", TREES, ids=str)
def test_samples_in_order_follow_the_law(case: Case):
    generator = torch.Generator().manual_seed(0)
    u, count = 1.5 * case.utilities(), 40_000
    p = torch.from_numpy(case.problem.vertices).double() @ u
    expected = count * p.softmax(0).numpy()
    samples = case.structure.sample(u, (count,), generator=generator).double()
    code = torch.from_numpy(2.0 ** np.arange(case.problem.size))
    drawn = (samples @ code).numpy()
    found = np.array([(drawn == c).sum() for c in case.problem.vertices @ code.numpy()])
    assert found.sum() == count
    many = expected >= 5
    if many.sum() > 1:
        rest = [values[~many].sum() for values in (found, expected)] if (~many).any() else None
        found, expected = (
            np.append(values[many], rest[k]) if rest else values for k, values in enumerate((found, expected))
        )
        assert chisquare(found, expected).pvalue > 1e-3


@BOTH
@pytest.mark.usefixtures("always_sparse")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_samples_in_order_at_any_range(kind: str, pattern: str):
    """With parallel edges and absent nodes."""
    rng, pairs, count = np.random.default_rng(1), grid(4) + grid(4)[::5], 2000
    edges = graph(kind, pairs)
    u = torch.tensor(PATTERNS[pattern](edges.shape[1], rng)).masked_fill((edges == 15).any(0), -math.inf)
    operators, generator = OPERATORS[kind], torch.Generator().manual_seed(2)
    samples = operators.draw(u.expand(count, -1), edges, 16, generator)
    assert set(samples.unique().tolist()) <= {0.0, 1.0}
    assert (samples.sum(-1) == 14).all()
    x = operators.marginals(u, edges, 16)
    error = (x * (1 - x) / count).sqrt()
    assert ((samples.mean(0) - x).abs() <= 5 * error + 1e-9).all()


def test_a_sample_of_a_large_grid_is_a_tree():
    nodes, edges = 2500, graph("undirected", grid(50))
    u = torch.tensor(uniform(edges.shape[1], 10.0, np.random.default_rng(0))).expand(20, -1)
    samples = spanning_tree.draw(u, edges, nodes, torch.Generator().manual_seed(0))
    assert (samples.sum(-1) == nodes - 1).all()
    best = spanning_tree.maximum_spanning_tree(samples.log(), edges, nodes)
    assert torch.equal(best, samples)
    x = spanning_tree.marginals(u[0], edges, nodes)
    worst = (samples.mean(0) - x).abs() / (x * (1 - x) / 20).clamp(min=0.01).sqrt()
    assert worst.max() < 6


@BOTH
@pytest.mark.parametrize("nodes", [20, 70])
def test_padding_at_the_end_is_left_out(kind: str, nodes: int):
    """Each graph of a padded batch is what it is alone, with no more nodes than it has."""
    generator = torch.Generator().manual_seed(nodes)
    edges = graph(kind, complete(nodes))
    sizes = torch.tensor([nodes, 3, nodes // 2, 2, 7, nodes - 1, 4, nodes // 3, 9, 5, nodes // 2, 1, 6, 11, nodes, 8])
    u, g = (torch.randn(len(sizes), edges.shape[1], dtype=torch.float64, generator=generator) for _ in "ug")
    u = torch.where(edges.amax(0) < sizes.unsqueeze(-1), u, -torch.inf)
    u[2, (edges == 1).any(0)] = -torch.inf  # a node in the middle is absent, too
    found = everything(kind, u, g, edges, nodes)
    for row, size in enumerate(sizes.clamp(min=2).tolist()):
        among = edges.amax(0) < size
        alone = everything(kind, u[row : row + 1, among], g[row : row + 1, among], edges[:, among], size)
        for whole, part in zip(found, alone, strict=True):
            inside = whole[row] if whole.dim() == 1 else whole[row, among]
            torch.testing.assert_close(inside, part[0], atol=1e-12, rtol=1e-12)
            assert whole.dim() == 1 or not whole[row, ~among].any()


def test_a_faulty_graph_of_a_padded_batch_is_named():
    edges = torch.tensor(complete(20)).T
    u = torch.where(edges.amax(0) < torch.tensor([[20], *[[5]] * 10]), 0.0, -torch.inf).double()
    u[7, (edges == 3).any(0)] = -torch.inf
    u[7, (edges == torch.tensor([[0], [3]])).all(0)] = -torch.inf
    assert spanning_tree.marginals(u, edges, 20)[7].sum() == 3  # node 3 is absent
    u[9, (edges < 2).any(0)] = -torch.inf
    u[9, (edges == torch.tensor([[0], [1]])).all(0)] = 0.0
    with pytest.raises(ValueError, match="2 components in row 9"):
        spanning_tree.marginals(u, edges, 20)

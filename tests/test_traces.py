"""Traces of races, utilities given a trace, and RELAX: against recursions over all races, and exact gradients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

import sstricks as sst
from graphs import SQUARE_WITH_DIAGONAL, Edges
from sampling_processes import k_subset_probabilities, kruskal_probabilities, plackett_luce
from sstricks import estimators as est
from sstricks.estimators.trace import Trace, clocks_of
from test_samples import RARE, assert_distributed

COMPLETE_3: Edges = [(0, 1), (0, 2), (1, 2), (2, 1)]
COMPLETE_4: Edges = [(a, b) for a in range(4) for b in range(4) if a != b and b != 2]  # with root 2
# Two cycles, one of which closes only after the other has been contracted, a parallel edge, and one into the root.
NESTED: Edges = [(0, 1), (1, 2), (2, 1), (2, 3), (3, 1), (3, 4), (4, 3), (4, 2), (0, 4), (0, 1), (3, 0)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def negative_exponential(theta):
    return sst.NegativeExponential(theta.exp())


# Oracles


def contractions(edges: Edges, nodes: int, root: int, theta: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Every trace of Chu–Liu–Edmonds: its probability, and times that lead to it. One race, one cycle at a time."""
    length = np.random.default_rng(0).uniform(0.5, 1.5, size=(3 * nodes, len(edges)))

    def grow(label, racing, parents, time, won, p, step):
        if racing:
            v, *rest = racing
            among = [e for e, (a, b) in enumerate(edges) if label[b] == v != label[a]]
            longer = time.copy()
            longer[among] += length[step, 0]
            total = np.exp(theta[among]).sum()
            for e in among:
                part = p * np.exp(theta[e]) / total
                yield from grow(label, rest, parents | {v: edges[e][0]}, longer, won | {e}, part, step + 1)
            return
        for v in set(label) - {label[root]}:
            path, up = [], v
            while up not in path and up != label[root]:
                path.append(up)
                up = label[parents[up]]
            if up in path:
                cycle = path[path.index(up) :]
                new = [nodes + step if node in cycle else node for node in label]
                yield from grow(new, [nodes + step], parents, time, won, p, step)
                return
        left = [0.0 if e in won else length[step, e] for e in range(len(edges))]
        yield p, time + left

    others = [v for v in range(nodes) if v != root]
    yield from grow(list(range(nodes)), others, {}, np.zeros(len(edges)), frozenset(), 1.0, 0)


def arborescence_law(edges: Edges, nodes: int, root: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found: dict[tuple[float, ...], float] = {}
    structure = sst.Arborescence(torch.tensor(edges).T, nodes, root)
    for p, time in contractions(edges, nodes, root, theta):
        x = tuple(structure.argmax(-torch.from_numpy(time)).tolist())
        found[x] = found.get(x, 0.0) + p
    return np.array(list(found)), np.array(list(found.values()))


def ranking_law(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    orders = list(itertools.permutations(range(len(theta))))
    return np.eye(len(theta))[orders], np.array([plackett_luce(order, np.exp(theta)) for order in orders])


# Structure, random utility, law of the vertices as a function of θ, how many θ there are, and a regularizer.
FAMILY, CATEGORICAL = sst.ExponentialFamilyEntropy(), sst.CategoricalEntropy()
TREES = sst.SpanningTree(torch.tensor(SQUARE_WITH_DIAGONAL).T, 4)
CASES = {
    "one-hot": (sst.OneHot(3), sst.Gumbel, lambda t: k_subset_probabilities(torch.from_numpy(t), 1), 3, FAMILY),
    "subset": (sst.KSubset(4, 2), sst.Gumbel, lambda t: k_subset_probabilities(torch.from_numpy(t), 2), 4, FAMILY),
    "trees": (TREES, sst.Gumbel, lambda t: kruskal_probabilities(SQUARE_WITH_DIAGONAL, 4, np.exp(t)), 5, FAMILY),
    "exponential": (
        TREES,
        negative_exponential,
        lambda t: kruskal_probabilities(SQUARE_WITH_DIAGONAL, 4, np.exp(t)),
        5,
        FAMILY,
    ),
    "arborescences": (
        sst.Arborescence(torch.tensor(COMPLETE_4).T, 4, 2),
        negative_exponential,
        lambda t: arborescence_law(COMPLETE_4, 4, 2, t),
        9,
        FAMILY,
    ),
    "nested": (
        sst.Arborescence(torch.tensor(NESTED).T, 5),
        negative_exponential,
        lambda t: arborescence_law(NESTED, 5, 0, t),
        11,
        FAMILY,
    ),
    "rankings": (sst.Matching(3), sst.Sorting, ranking_law, 3, CATEGORICAL),
}


def parameters(name, *batch, dtype=torch.float64):
    size = CASES[name][3]
    return (0.7 * torch.randn(*batch, size, dtype=torch.float64, generator=seeded(4))).to(dtype).requires_grad_()


def random_loss(structure):
    """Quadratic, with values rather far from zero."""
    weight = torch.randn(structure.event_shape.numel(), dtype=torch.float64, generator=seeded(1))

    def loss(x):
        return (x.flatten(-len(structure.event_shape)).double() @ weight - 0.3).square() + 0.5

    return loss


def exact_gradient(name, theta, loss):
    """By central differences of the enumerated expectation."""
    law = CASES[name][2]

    def expected(t):
        vertices, p = law(t)
        return float(loss(torch.from_numpy(vertices).double()).numpy() @ p)

    t, step = theta.detach().numpy(), 1e-5
    axes = np.eye(len(t)) * step
    return torch.tensor([(expected(t + axis) - expected(t - axis)) / (2 * step) for axis in axes])


# The law of the trace


@pytest.mark.parametrize(
    ("edges", "nodes", "root"), [(COMPLETE_3, 3, 0), (COMPLETE_4, 4, 2), (NESTED, 5, 0)], ids=["K3", "K4", "nested"]
)
def test_traces_of_arborescences_have_the_probabilities_of_their_races(edges, nodes, root):
    theta = torch.randn(len(edges), dtype=torch.float64, generator=seeded()).requires_grad_()
    found = list(contractions(edges, nodes, root, theta.detach().numpy()))
    expected, times = torch.tensor([p for p, _ in found]), torch.tensor(np.stack([time for _, time in found]))
    assert expected.sum().item() == pytest.approx(1)
    structure = sst.Arborescence(torch.tensor(edges).T, nodes, root)
    torch.testing.assert_close(Trace(structure, theta, -times).log_prob.exp(), expected.double())
    assert torch.autograd.gradcheck(lambda theta: Trace(structure, theta, -times).log_prob, theta)


def test_arborescences_of_three_nodes_by_hand():
    """Nodes 1 and 2 draw; if they draw each other, their cycle draws between the edges from the root."""
    theta = torch.randn(4, dtype=torch.float64, generator=seeded(1))
    a, b, c, d = theta.exp().tolist()
    x, p = arborescence_law(COMPLETE_3, 3, 0, theta.numpy())
    expected = {
        (1, 1, 0, 0): a * b,
        (1, 0, 1, 0): a * c + d * c * a / (a + b),
        (0, 1, 0, 1): b * d + d * c * b / (a + b),
    }
    for row, value in zip(x.tolist(), p.tolist(), strict=True):
        assert value * (a + d) * (b + c) == pytest.approx(expected[tuple(row)])


@pytest.mark.parametrize("name", CASES)
def test_argmaxes_have_the_law_that_their_traces_add_up_to(name):
    structure, law, oracle, *_ = CASES[name]
    theta = parameters(name).detach()
    x = sst.StochasticArgmaxTrick(structure, law(theta)).sample((20_000,), generator=seeded(3))
    vertices, p = oracle(theta.numpy())
    likely = p * 20_000 > 6
    index = {tuple(row): i for i, row in enumerate(vertices.reshape(len(p), -1)[likely].tolist())}
    which = [index.get(tuple(row), len(index)) for row in x.flatten(1).tolist()]
    rest = [1 - p[likely].sum()] if not likely.all() and (1 - p[likely].sum()) * 20_000 > 6 else []
    kept = [i for i in which if i < len(index) + len(rest)]
    p = np.array([*p[likely], *rest])
    assert_distributed(torch.tensor(kept).unsqueeze(-1), np.arange(len(p))[:, None], p / p.sum())


@pytest.mark.parametrize("name", CASES)
def test_the_score_of_the_trace_has_mean_zero_and_is_unbiased(name):
    structure, law, *_ = CASES[name]
    loss = random_loss(structure)
    rows = parameters(name).detach().expand(20_000, -1).clone().requires_grad_()
    value = est.ScoreFunction(structure, 2, action="trace", utility=law).surrogate(rows, loss, generator=seeded())
    assert_mean(20_000 * torch.autograd.grad(value, rows)[0], exact_gradient(name, parameters(name), loss))
    log_prob = (
        clocks_of(trick := sst.StochasticArgmaxTrick(structure, law(rows))).trace(trick.utility.sample()).log_prob
    )
    assert_mean(torch.autograd.grad(log_prob.sum(), rows)[0], torch.zeros(()))


def assert_mean(values, expected, errors=4.5):
    error = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - expected).abs() <= errors * error + 1e-9).all()


def test_the_trace_of_an_arborescence_has_less_variance_than_the_utility():
    structure, law, *_ = CASES["arborescences"]
    rows = parameters("arborescences").detach().expand(4000, -1).clone().requires_grad_()
    spread = {}
    for action in ("utility", "trace"):
        estimator = est.ScoreFunction(structure, 4, action=action, utility=law)
        value = estimator.surrogate(rows, random_loss(structure), generator=seeded())
        spread[action] = (4000 * torch.autograd.grad(value, rows)[0]).var(0).sum()
    assert spread["trace"] < 0.7 * spread["utility"]


# Utilities given the trace


def again(name, size, seed=0):
    """Utilities, others with the same traces, and the traces."""
    structure, law, *_ = CASES[name]
    theta = parameters(name).detach().expand(size, -1)
    torch.manual_seed(seed)
    trick = sst.StochasticArgmaxTrick(structure, law(theta))
    clocks, u = clocks_of(trick), trick.sample_utility(torch.Size(), None)
    trace = clocks.trace(u)
    return u, clocks.utility(trace.sample()), trace, clocks


@pytest.mark.parametrize("name", CASES)
def test_utilities_given_a_trace_have_that_trace(name):
    u, other, trace, clocks = again(name, 3000)
    structure = CASES[name][0]
    assert torch.equal(structure.argmax(u), structure.argmax(other))
    assert torch.equal(trace.log_prob, clocks.trace(other).log_prob)
    assert (u != other).all()


@pytest.mark.parametrize("name", CASES)
def test_utilities_given_random_traces_are_independent_and_of_the_same_law(name):
    _, other, _, clocks = again(name, 20_000)
    raced = clocks.raced(other)
    time = (-raced if raced.max() <= 0 else (-raced).exp()) * clocks.log_rate.exp()  # exponential of rate 1
    for column in time.T:
        assert kstest(column.numpy(), "expon").pvalue > RARE
    uniform = (-time).exp() - 0.5
    products = uniform.unsqueeze(-1) * uniform.unsqueeze(-2)
    assert_mean(products.flatten(1), torch.eye(uniform.shape[-1]).flatten() / 12)


@pytest.mark.parametrize("name", ["trees", "nested", "rankings"])
def test_utilities_of_the_same_trace_have_the_same_moments_and_are_independent(name):
    u, other, trace, clocks = again(name, 30_000, seed=1)
    common = trace.log_prob == trace.log_prob.mode().values
    u, other = clocks.raced(u)[common], clocks.raced(other)[common]
    assert len(u) > 300
    assert_mean(u - other, torch.zeros(()))
    assert_mean(u.square() - other.square(), torch.zeros(()))
    centred = (u - u.mean(0)).unsqueeze(-1) * (other - other.mean(0)).unsqueeze(-2)
    assert_mean(centred.flatten(1), torch.zeros(()))


def test_rates_far_apart_leave_everything_finite():
    structure = sst.SpanningTree.complete(4)
    theta = torch.tensor([0.0, 500.0, -500.0, 900.0, -900.0, 1.0], dtype=torch.float64, requires_grad=True)
    relax = est.RELAX(structure, samples=50)
    value = relax.surrogate(theta, lambda x: x[..., 0] + x[..., 5].square(), generator=seeded())
    for gradient in torch.autograd.grad(value, [theta, *relax.parameters()]):
        assert gradient.isfinite().all()


# RELAX


def network(name):
    """A control that is far from useful, on purpose."""
    structure = CASES[name][0]
    torch.manual_seed(2)
    layers = nn.Flatten(-len(structure.event_shape)), nn.Linear(structure.event_shape.numel(), 8), nn.Tanh()
    return nn.Sequential(*layers, nn.Linear(8, 1)).double()


def relax_of(name, control=None, samples=1):
    structure, law, *_, regularizer = CASES[name]
    return est.RELAX(structure, control, samples, regularizer=regularizer, temperature=0.7, utility=law).double()


def estimates(estimator, rows, loss, seed=0):
    value = estimator.surrogate(rows, loss, generator=seeded(seed))
    return len(rows) * torch.autograd.grad(value, rows)[0]


@pytest.mark.parametrize("name", CASES)
def test_relax_is_unbiased_whatever_its_control(name):
    loss, control = random_loss(CASES[name][0]), network(name)
    relax = relax_of(name, control).eval()
    with torch.no_grad():
        relax.scale.fill_(1.7)
        relax.constant.fill_(-0.4)
        for p in control.parameters():
            p.mul_(3)
    rows = parameters(name).detach().expand(20_000, -1).clone().requires_grad_()
    assert_mean(estimates(relax, rows, loss), exact_gradient(name, parameters(name), loss))


def test_the_control_of_relax_gets_the_gradient_of_the_mean_square():
    name = "arborescences"
    loss, relax = random_loss(CASES[name][0]), relax_of(name, network(name))
    rows = parameters(name).detach().expand(20, -1).clone().requires_grad_()
    learnt = dict(relax.named_parameters())
    gradients = torch.autograd.grad(relax.surrogate(rows, loss, generator=seeded()), list(learnt.values()))
    for key, gradient in zip(learnt, gradients, strict=True):
        values = []
        for step in (1e-5, -2e-5):
            learnt[key].data.view(-1)[0] += step
            values.append(estimates(relax, rows, loss).square().sum(-1).mean().item())
        learnt[key].data.view(-1)[0] += 1e-5
        slope = (values[0] - values[1]) / 2e-5
        assert gradient.view(-1)[0].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["subset", "arborescences"])
def test_relax_learns_to_have_less_variance(name):
    structure, law, *_ = CASES[name]
    loss = random_loss(structure)
    rows = parameters(name).detach().expand(2000, -1).clone().requires_grad_()
    relax = relax_of(name)
    before = estimates(relax, rows, loss).var(0).sum()
    optimizer, few = torch.optim.Adam(relax.parameters(), 0.03), rows[:100].detach().requires_grad_()
    generator = seeded(5)
    for _ in range(150):
        optimizer.zero_grad()
        relax.surrogate(few, loss, generator=generator).backward()
        optimizer.step()
    after = estimates(relax, rows, loss).var(0).sum()
    assert after < before
    for action in ("trace", "utility"):
        log_prob_times_loss = est.ScoreFunction(structure, 1, Plain(), action=action, utility=law)
        assert after < 0.7 * estimates(log_prob_times_loss, rows, loss).var(0).sum()


class Plain(nn.Module):
    """REINFORCE without baseline."""

    def forward(self, log_prob, loss):
        return (loss + loss.detach() * log_prob).mean()


def test_the_value_is_the_mean_loss_whose_parameters_get_their_own_gradient_only():
    structure, shown = CASES["trees"][0], []
    weight = torch.randn(5, dtype=torch.float64, generator=seeded(1)).requires_grad_()

    def loss(x):
        shown.append(x.detach())
        return (x @ weight).square()

    relax = relax_of("trees", samples=3)
    theta = parameters("trees", 4)
    value = relax.surrogate(theta, loss, generator=seeded())
    vertices = shown[0]
    assert structure.contains(vertices).all()
    assert vertices.shape == (3, 4, 5)
    torch.testing.assert_close(value, (vertices @ weight).square().mean())
    (found,) = torch.autograd.grad(value, weight)
    (expected,) = torch.autograd.grad((vertices @ weight).square().mean(), weight)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(relax.surrogate(theta, loss, generator=seeded()), value)


def test_in_evaluation_the_control_of_relax_rests():
    relax, theta = relax_of("trees", network("trees")), parameters("trees")
    loss = random_loss(CASES["trees"][0])
    (training,) = torch.autograd.grad(relax.surrogate(theta, loss, generator=seeded()), theta)
    value = relax.eval().surrogate(theta, loss, generator=seeded())
    value.backward()
    torch.testing.assert_close(theta.grad, training)
    assert all(p.grad is None for p in relax.parameters())


def test_without_a_regularizer_the_loss_is_shown_vertices_only():
    structure = CASES["subset"][0]

    def loss(x):
        assert structure.contains(x).all()
        return torch.from_numpy(x.numpy()[..., 0] - 2 * x.numpy()[..., 1])

    relax = est.RELAX(structure, network("subset"), regularizer=None)
    rows = parameters("subset").detach().expand(5_000, -1).clone().requires_grad_()
    assert_mean(estimates(relax, rows, loss), exact_gradient("subset", parameters("subset"), loss))
    est.RELAX(structure, regularizer=None).surrogate(rows, loss).backward()  # a constant is a control as well
    assert {key for key, _ in est.RELAX(structure, regularizer=None).named_parameters()} == {"constant"}


@pytest.mark.parametrize("kind", ["mask", "infinite"])
def test_absent_edges_are_never_drawn_and_have_no_gradient(kind):
    trees = sst.Arborescence.complete(4)
    nodes = torch.tensor([[True, True, True, False], [True, False, False, False], [True, True, True, True]])
    mask = trees.edge_mask(nodes)
    masked = trees.masked(mask) if kind == "mask" else trees
    theta = torch.randn(3, 9, dtype=torch.float64, generator=seeded()).requires_grad_()

    def law(theta):
        return negative_exponential(theta) if kind == "mask" else sst.Masked(negative_exponential(theta), mask)

    control = nn.Linear(9, 1).double() if kind == "mask" else None  # it sees the utilities of absent edges
    for estimator in (
        est.RELAX(masked, control, samples=50, utility=law),
        est.ScoreFunction(masked, 50, action="trace", utility=law),
    ):
        value = estimator.surrogate(theta, lambda x: x[..., :5].cumsum(-1).square().sum(-1), generator=seeded())
        (gradient,) = torch.autograd.grad(value, theta)
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()
        assert (gradient[0] != 0).any()
        assert (gradient[2] != 0).any()


def test_infinite_locations_are_a_mask():
    theta = torch.tensor([0.3, -torch.inf, -0.2, 1.0], requires_grad=True)
    for estimator in (est.RELAX(sst.KSubset(4, 2)), est.ScoreFunction(sst.KSubset(4, 2), action="trace")):
        value = estimator.surrogate(theta, lambda x: x[..., 0] * x[..., 2])
        (gradient,) = torch.autograd.grad(value, theta)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient[1] == 0


@pytest.mark.parametrize(
    "name", sorted(CASES.keys() - {"rankings"})
)  # torch's real_vector refuses to check empty scores
def test_batches_may_be_empty(name):
    theta = parameters(name).detach().expand(0, -1).clone().requires_grad_()
    value = relax_of(name).surrogate(theta, random_loss(CASES[name][0]))
    assert torch.autograd.grad(value, theta)[0].shape == theta.shape


def test_a_mask_for_each_example_serves_one_theta():
    mask = torch.tensor([[True, True, True, False], [True, False, True, True]])
    theta = torch.zeros(4, requires_grad=True)
    relax = est.RELAX(sst.KSubset(4, 2, mask), samples=5)
    value = relax.surrogate(theta, lambda x: (x * torch.arange(4.0)).sum(-1).square(), generator=seeded())
    assert (torch.autograd.grad(value, theta)[0] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_gradients_have_the_dtype_of_theta(name, dtype):
    structure, law, *_, regularizer = CASES[name]
    theta = parameters(name, 2, dtype=dtype)
    seen = []

    def loss(x):
        seen.append(x.dtype)
        return x.flatten(-len(structure.event_shape)).cumsum(-1).square().sum(-1)

    for estimator in (
        est.RELAX(structure, regularizer=regularizer, utility=law),
        est.ScoreFunction(structure, 3, action="trace", utility=law),
    ):
        (gradient,) = torch.autograd.grad(estimator.surrogate(theta, loss), theta)
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()
    assert set(seen) == {dtype}


@pytest.mark.parametrize("name", CASES)
def test_training_with_one_optimizer_finds_good_vertices(name):
    structure, law, *_, regularizer = CASES[name]
    torch.manual_seed(0)
    cost = torch.randn(structure.event_shape.numel())
    relax = est.RELAX(structure, samples=4, regularizer=regularizer, utility=law)
    theta = torch.zeros(CASES[name][3], requires_grad=True)
    optimizer = torch.optim.Adam([theta, *relax.parameters()], lr=0.1)
    depth = len(structure.event_shape)
    for _ in range(100):
        optimizer.zero_grad()
        relax.surrogate(theta, lambda x: x.flatten(-depth) @ cost).backward()
        optimizer.step()
    best = structure.argmax(-cost.unflatten(0, structure.event_shape)).flatten() @ cost
    before, after = (
        (sst.StochasticArgmaxTrick(structure, law(t)).sample((500,)).flatten(1) @ cost).mean()
        for t in (torch.zeros_like(theta), theta)
    )
    assert after - best < 0.2 * (before - best)


def test_a_generator_decides_and_layers_are_saved():
    relax, theta = relax_of("nested", network("nested"), samples=2), parameters("nested", 3)
    loss = random_loss(CASES["nested"][0])
    first, second = (relax.surrogate(theta, loss, generator=seeded(7)) for _ in "ab")
    assert torch.equal(torch.autograd.grad(first, theta)[0], torch.autograd.grad(second, theta)[0])
    assert {"constant", "scale", "log_temperature", "control.1.weight"} < relax.state_dict().keys()
    assert "samples=2" in repr(relax)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: est.RELAX(sst.Subset(3)), "structure: found a trace of Subset"),
        (lambda: est.RELAX(sst.Arborescence.complete(3)), "structure: found a trace of Arborescence.* with Gumbel"),
        (lambda: est.RELAX(sst.OneHot(3), samples=0), "samples: found 0"),
        (lambda: est.RELAX(sst.OneHot(3), temperature=0.0), "temperature: found 0.0, expected a number > 0"),
        (lambda: est.RELAX(sst.Matching(3), utility=sst.Sorting), "permanent"),
        (
            lambda: surrogate(est.RELAX(sst.OneHot(3), utility=sst.Logistic)),
            "utility: found a trace of .*Logistic",
        ),
        (lambda: surrogate(est.RELAX(sst.OneHot(3), nn.Linear(3, 2))), r"control: found shape \(2, 1, 2\)"),
        (
            lambda: surrogate(est.RELAX(sst.OneHot(3)), lambda x: x),
            r"loss: found shape \(1, 3\) for samples of shape \(1, 3\), expected \(1,\)",
        ),
        (lambda: Trace(sst.ChainKSubset(3, 2), torch.zeros(5), torch.zeros(5)), "structure: found ChainKSubset"),
    ],
)
def test_wrong_arguments_are_named(make, text):
    with pytest.raises((ValueError, sst.NoSolverError), match=text):
        make()


def surrogate(estimator, loss=lambda x: x[..., 0]):
    return estimator.surrogate(torch.zeros(3, requires_grad=True), loss)

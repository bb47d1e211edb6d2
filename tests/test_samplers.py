"""Estimators whose samples carry a gradient: values, gradients against formulas and enumeration, training."""

import itertools
import pickle
import sys
from functools import partial

import pytest
import torch
from torch.distributions import Normal

import sstricks as sst
from sstricks import estimators as est
from sstricks.estimators.trace import Trace

STRUCTURES = {
    "one-hot": sst.OneHot(4),
    "subset": sst.Subset(3),
    "k-subset": sst.KSubset(5, 2),
    "chain": sst.ChainKSubset(4, 2),
    "trees": sst.SpanningTree.complete(4),
    "arborescences": sst.Arborescence.complete(3),
    "projective": sst.ProjectiveArborescence(4),
    "paths": sst.Path.segmentation(3, 2),
    "matchings": sst.Matching(3),
}
SAMPLERS = {
    "relaxation": lambda s: est.Relaxation(s, regularizer_of(s), 0.5),
    "straight-through": lambda s: est.Relaxation(s, regularizer_of(s), 0.5, hard=True),
    "marginal": est.MarginalStraightThrough,
    "blackbox": est.Blackbox,
    "imle": est.IMLE,
    "aimle": est.AIMLE,
    "identity": est.Identity,
    "spigot": est.SPIGOT,
    "perturbed": est.PerturbedArgmax,
    "reinmax": est.ReinMax,
    "gumbel-rao": est.GumbelRao,
}
SOFT = {"relaxation", "perturbed"}
PAIRS = [
    (name, sampler)
    for name, structure in STRUCTURES.items()
    for sampler in SAMPLERS
    if not (sampler in ("reinmax", "gumbel-rao") and name != "one-hot")
    and not (sampler == "marginal" and isinstance(structure, sst.Matching))
]


def regularizer_of(structure):
    return sst.CategoricalEntropy() if isinstance(structure, sst.Matching) else sst.ExponentialFamilyEntropy()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def utilities(structure, *batch, seed=0, dtype=torch.float64):
    return torch.randn(*batch, *structure.event_shape, dtype=dtype, generator=seeded(seed)).requires_grad_()


def gradient(x, theta, weight):
    return torch.autograd.grad((x * weight).sum(), theta)[0]


def without_the_second(kind):
    """One of four of which the second is absent, and utilities of two examples."""
    present = torch.tensor([True, False, True, True])
    structure = sst.OneHot(4, mask=present) if kind == "mask" else sst.OneHot(4)
    theta = utilities(structure, 2)
    if kind == "infinite":
        theta = theta.detach().masked_fill(~present, -torch.inf).requires_grad_()
    return structure, theta


# What all have in common


@pytest.mark.parametrize(("name", "sampler"), PAIRS)
def test_samples_are_vertices_or_in_their_hull_and_have_a_gradient(name, sampler):
    structure = STRUCTURES[name]
    estimator, theta = SAMPLERS[sampler](structure), utilities(structure, 2)
    x = estimator(theta, (3,), generator=seeded())
    assert x.shape == (3, 2, *structure.event_shape)
    assert x.dtype == theta.dtype
    assert ((x >= -1e-9) & (x <= 1 + 1e-9)).all()
    if sampler not in SOFT:
        assert structure.contains(x.detach()).all()
    found = gradient(x, theta, torch.randn(x.shape, dtype=x.dtype, generator=seeded(1)))
    assert found.isfinite().all()
    torch.testing.assert_close(estimator(theta, (3,), generator=seeded()), x)
    surrogate = estimator.surrogate(theta, lambda x: x.flatten(-len(structure.event_shape)).square().sum(-1))
    assert surrogate.shape == ()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["mask", "infinite"])
def test_absent_coordinates_stay_zero_and_have_no_gradient(sampler, kind):
    structure, theta = without_the_second(kind)
    x = SAMPLERS[sampler](structure)(theta, (50,), generator=seeded())
    assert (x[..., 1] == 0).all()
    found = gradient(x, theta, torch.randn(x.shape, dtype=x.dtype, generator=seeded(1)))
    assert found.isfinite().all()
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_in_evaluation_the_argmax_of_theta_comes_out(sampler):
    structure = STRUCTURES["one-hot"]
    theta = utilities(structure, 3)
    x = SAMPLERS[sampler](structure).eval()(theta, (2,))
    assert torch.equal(x, structure.argmax(theta).expand(2, 3, 4))
    assert not x.requires_grad


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_have_the_dtype_of_theta(sampler, dtype):
    structure = STRUCTURES["one-hot"]
    theta = utilities(structure, 3, dtype=dtype)
    x = SAMPLERS[sampler](structure)(theta)
    assert x.dtype == dtype
    assert gradient(x, theta, torch.ones_like(x)).dtype == dtype


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_training_finds_the_best_vertex(sampler):
    torch.manual_seed(0)
    structure = sst.OneHot(6) if sampler in ("reinmax", "gumbel-rao") else STRUCTURES["trees"]
    cost = torch.tensor([1.0, 0.0, 0.2, 2.0, 0.1, 3.0])
    estimator, theta = SAMPLERS[sampler](structure), torch.zeros(6, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (estimator(theta, (8,)) @ cost).mean().backward()
        optimizer.step()
    assert torch.equal(estimator.eval()(theta), structure.argmax(-cost))


# Each against its formula


def test_blackbox_takes_a_difference_of_vertices():
    structure, theta = STRUCTURES["trees"], utilities(STRUCTURES["trees"], 5)
    weight = torch.randn(5, 6, dtype=torch.float64, generator=seeded(1))
    found = gradient(est.Blackbox(structure, strength=3.0)(theta), theta, weight)
    expected = (structure.argmax(theta) - structure.argmax(theta - 3 * weight)) / 3
    torch.testing.assert_close(found, expected)
    assert (found != 0).any()


def test_imle_uses_the_same_noise_twice():
    structure, theta = STRUCTURES["matchings"], utilities(STRUCTURES["matchings"], 4)
    weight = torch.randn(4, 3, 3, dtype=torch.float64, generator=seeded(1))
    found = gradient(est.IMLE(structure, strength=2.0)(theta, generator=seeded()), theta, weight)
    u = sst.StochasticArgmaxTrick(structure, sst.Gumbel(theta)).sample_utility(torch.Size(), seeded())
    torch.testing.assert_close(found, (structure.argmax(u) - structure.argmax(u - 2 * weight)) / 2)


def test_aimle_takes_central_differences():
    structure, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"], 4)
    weight = torch.randn(4, 5, dtype=torch.float64, generator=seeded(1))
    estimator = est.AIMLE(structure, utility=None)
    estimator.beta.fill_(0.7)
    found = gradient(estimator(theta), theta, weight)
    step = 0.7 * theta.detach().norm(dim=-1, keepdim=True) / weight.norm(dim=-1, keepdim=True)
    ahead, behind = structure.argmax(theta + step * weight), structure.argmax(theta - step * weight)
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), atol=1e-6, rtol=1e-6)
    nothing = gradient(estimator(theta), theta, torch.zeros_like(weight))
    assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("target", [0.5, 3.0])
def test_aimle_s_step_grows_until_gradients_are_as_dense_as_asked(target):
    structure, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"])
    estimator, generator = est.AIMLE(structure, target=target, rate=0.05), seeded(2)
    counts = []
    for _ in range(300):
        weight = torch.randn(64, 5, dtype=torch.float64, generator=generator)
        gradient(estimator(theta.expand(64, 5), generator=generator), theta, weight)
        counts.append(float(estimator.average))
    assert sum(counts[-100:]) / 100 == pytest.approx(target, rel=0.15)
    assert est.AIMLE(structure).state_dict().keys() == {"beta", "average"}


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_identity_is_the_gradient_of_its_projection(center, normalize):
    structure, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"], 3)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=seeded(1))

    def projected(theta):
        theta = theta - theta.mean(-1, keepdim=True) if center else theta
        return theta / theta.norm(dim=-1, keepdim=True) if normalize else theta

    found = gradient(est.Identity(structure, center=center, normalize=normalize)(theta), theta, weight)
    torch.testing.assert_close(found, gradient(projected(theta), theta, weight))


@pytest.mark.parametrize(
    ("structure", "center"),
    [
        (sst.KSubset(4, 2), True),
        (sst.Matching(3), True),
        (sst.SpanningTree.complete(4), True),
        (sst.OneHot(3, mask=torch.tensor([[True, True, False], [False, True, True]])), True),
        (sst.Subset(4), False),
        (sst.Path.segmentation(5, 2), False),
    ],
    ids=repr,
)
def test_identity_takes_out_the_mean_where_all_vertices_have_one_size(structure, center):
    assert est.Identity(structure).center is center


def test_spigot_steps_within_the_polytope():
    structure, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"], 3)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=seeded(1))
    found = gradient(est.SPIGOT(structure, step=0.3)(theta), theta, weight)
    x = structure.argmax(theta)
    torch.testing.assert_close(found, x - structure.softmax(x - 0.3 * weight, 1.0, sst.Euclidean()))


@pytest.mark.parametrize("name", ["k-subset", "trees", "projective"])
def test_marginal_straight_through_is_exact_for_linear_losses(name):
    structure, theta = STRUCTURES[name], utilities(STRUCTURES[name])
    weight = torch.randn(structure.event_shape, dtype=torch.float64, generator=seeded(1))
    x = est.MarginalStraightThrough(structure)(theta, (2000,), generator=seeded())
    support = structure.enumerate_support().double()
    law = (support @ theta).softmax(0)
    assert torch.allclose(x.mean(0), law @ support, atol=0.06)
    torch.testing.assert_close(
        gradient(x.mean(0), theta, weight), gradient(law @ support, theta, weight), atol=1e-10, rtol=1e-8
    )


@pytest.mark.parametrize("utility", [sst.Gumbel, partial(Normal, scale=0.7)])
def test_the_gradient_of_the_perturbed_argmax_is_that_of_its_mean(utility):
    structure, theta = STRUCTURES["one-hot"], utilities(STRUCTURES["one-hot"])
    weight = torch.randn(4, dtype=torch.float64, generator=seeded(1))
    samples = 40_000
    found = gradient(est.PerturbedArgmax(structure, samples, utility)(theta, generator=seeded()), theta, weight)
    if utility is sst.Gumbel:
        expected = gradient(theta.softmax(-1), theta, weight)
    else:  # by central differences under common noise, which are those of the mean up to a multiple of their step

        def mean(shift):
            u = utility(theta.detach() + shift).sample((400_000,))
            return structure.argmax(u).mean(0) @ weight

        expected = torch.stack([mean_difference(mean, axis) for axis in torch.eye(4, dtype=torch.float64)])
    assert torch.allclose(found, expected, atol=0.04)


def mean_difference(mean, axis, step=0.15):
    values = []
    for sign in (1, -1):
        torch.manual_seed(0)
        values.append(mean(sign * step * axis))
    return (values[0] - values[1]) / (2 * step)


def test_reinmax_is_exact_for_quadratic_losses():
    structure, theta = STRUCTURES["one-hot"], utilities(STRUCTURES["one-hot"])
    matrix = torch.randn(4, 4, dtype=torch.float64, generator=seeded(1))

    def loss(x):
        return ((x @ matrix) * x).sum(-1) + 2 * x[..., 0]

    x = est.ReinMax(structure)(theta, (400_000,), generator=seeded())
    found = torch.autograd.grad(loss(x).mean(), theta)[0]
    expected = torch.autograd.grad(theta.softmax(-1) @ loss(torch.eye(4, dtype=torch.float64)), theta)[0]
    assert torch.allclose(found, expected, atol=0.01)


def test_gumbel_rao_has_the_mean_of_straight_through_and_less_variance():
    structure, theta = STRUCTURES["one-hot"], utilities(STRUCTURES["one-hot"])
    point = torch.randn(4, dtype=torch.float64, generator=seeded(1))

    def gradients(estimator):
        rows = theta.detach().expand(20_000, 4).clone().requires_grad_()
        x = estimator(rows, generator=seeded(3))
        return torch.autograd.grad((x - point).pow(4).sum(), rows)[0]

    many = gradients(est.GumbelRao(structure, 0.7, samples=30))
    one = gradients(est.Relaxation(structure, temperature=0.7, hard=True))
    error = ((many.var(0) + one.var(0)) / 20_000).sqrt()
    assert ((many.mean(0) - one.mean(0)).abs() < 5 * error).all()
    assert (many.var(0) < 0.9 * one.var(0)).all()


# Estimators of a loss


@pytest.mark.parametrize("action", ["utility", "vertex", "trace", "family"])
def test_score_functions_are_unbiased(action):
    structure, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"])
    values = torch.randn(5, dtype=torch.float64, generator=seeded(1))

    def loss(x):
        return (x @ values).cos().round(decimals=3)

    support = structure.enumerate_support().double()
    if action == "family":
        law = (support @ theta).softmax(0)
    else:
        law = sst.StochasticArgmaxTrick(structure, sst.Gumbel(theta)).log_prob(support).exp()
    expected = torch.autograd.grad(law @ loss(support), theta)[0]
    estimator = est.ScoreFunction(structure, samples=60_000, action=action)
    found = torch.autograd.grad(estimator.surrogate(theta, loss, generator=seeded()), theta)[0]
    assert torch.allclose(found, expected, atol=0.02)


def orders_of(structure, tree):
    """Every order of a tree's edges, as utilities that Kruskal's algorithm takes in this order."""
    edges = tree.nonzero().squeeze(-1).tolist()
    for order in itertools.permutations(edges):
        u = torch.full(structure.event_shape, -10.0, dtype=torch.float64)
        u[list(order)] = -torch.arange(len(order), dtype=torch.float64)
        yield u


def test_traces_of_all_orders_have_probability_one():
    trees, theta = STRUCTURES["trees"], utilities(STRUCTURES["trees"])
    orders = torch.stack([u for tree in trees.enumerate_support() for u in orders_of(trees, tree)])
    log_prob = Trace(trees, theta, orders).log_prob
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert torch.autograd.gradcheck(lambda theta: Trace(trees, theta, orders).log_prob, theta)


def test_the_trace_of_a_subset_is_plackett_and_luce_s():
    subset, theta = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"])
    orders = torch.stack([u for x in subset.enumerate_support() for u in orders_of(subset, x)])
    vertices = subset.argmax(orders)
    found = torch.stack([Trace(subset, theta, u).log_prob.exp() for u in orders])
    law = sst.StochasticArgmaxTrick(subset, sst.Gumbel(theta))
    for x in subset.enumerate_support().double():
        same = (vertices == x).all(-1)
        torch.testing.assert_close(found[same].sum(), law.log_prob(x).exp())


def test_traces_know_masks_and_graphs_without_all_nodes():
    trees = sst.SpanningTree.complete(4)
    nodes = torch.tensor([[True, True, True, False], [True, False, False, False]])
    masked, theta = trees.masked(trees.edge_mask(nodes)), utilities(trees, 2)
    u = masked.argmax(theta) + theta.detach()
    found = Trace(masked, theta, u).log_prob
    assert found[0] < 0
    assert found[1] == 0
    (gradient,) = torch.autograd.grad(found.sum(), theta)
    assert gradient.isfinite().all()
    assert (gradient[~trees.edge_mask(nodes)] == 0).all()


def test_the_trace_has_less_variance_than_the_utility():
    trees = STRUCTURES["trees"]
    rows = utilities(trees).detach().expand(4000, 6).clone().requires_grad_()
    spread = {}
    for action in ("utility", "trace"):
        estimator = est.ScoreFunction(trees, 4, action=action)
        value = estimator.surrogate(rows, lambda x: x[..., 0] * x[..., 3] + x[..., 1], generator=seeded())
        spread[action] = (4000 * torch.autograd.grad(value, rows)[0]).var(0).sum()
    assert spread["trace"] < 0.9 * spread["utility"]


@pytest.mark.parametrize("name", ["one-hot", "trees", "matchings"])
def test_sparse_marginalization_is_the_expectation_under_its_own_weights(name):
    structure = STRUCTURES[name]
    theta = utilities(structure, 3)

    def loss(x):
        return x.flatten(-len(structure.event_shape)).cumsum(-1).square().sum(-1)

    estimator = est.SparseMarginalization(structure)
    value = estimator.surrogate(theta, loss)
    found = sst.FrankWolfe().solve(structure, sst.Euclidean(), theta)
    expected = torch.stack([(w * loss(v)).sum() for v, w in zip(found.vertices, found.weights, strict=True)]).mean()
    torch.testing.assert_close(value, expected)
    assert torch.autograd.gradcheck(lambda theta: estimator.surrogate(theta, loss), theta, eps=1e-6, atol=1e-4)


def test_sparse_marginalization_never_shows_the_loss_an_empty_slot():
    structure = sst.OneHot(4)
    theta = torch.tensor([[9.0, 0, 0, 0], [0.1, 0, 0, 0]], requires_grad=True)
    value = est.SparseMarginalization(structure).surrogate(theta, lambda x: 1 / x.sum(-1))
    assert value == 1
    assert torch.autograd.grad(value, theta)[0].isfinite().all()


SCORES = {
    "utility": lambda s: est.ScoreFunction(s),
    "vertex": lambda s: est.ScoreFunction(s, action="vertex"),
    "trace": lambda s: est.ScoreFunction(s, action="trace"),
    "family": lambda s: est.ScoreFunction(s, action="family"),
}


@pytest.mark.parametrize("score", SCORES)
def test_the_value_of_a_score_function_is_the_mean_loss(score):
    structure, theta, seen = STRUCTURES["k-subset"], utilities(STRUCTURES["k-subset"], 3), []

    def loss(x):
        seen.append(x[..., 0] - 2)
        return seen[0]

    value = SCORES[score](structure).surrogate(theta, loss, generator=seeded())
    torch.testing.assert_close(value, seen[0].mean())


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", ["mask", "infinite"])
def test_absent_coordinates_have_no_score(score, kind):
    structure, theta = without_the_second(kind)
    value = SCORES[score](structure).surrogate(theta, lambda x: x[..., 0], generator=seeded())
    (found,) = torch.autograd.grad(value, theta)
    assert found.isfinite().all()
    assert (found[:, 1] == 0).all()
    assert found[:, 0].any()


@pytest.mark.parametrize("name", ["one-hot", "k-subset", "trees"])
@pytest.mark.parametrize("estimator", [est.ScoreFunction, est.SparseMarginalization])
def test_training_on_losses_alone_finds_the_best_vertex(name, estimator):
    structure = STRUCTURES[name]
    theta = torch.zeros(structure.event_shape, requires_grad=True)
    target = structure.argmax(utilities(structure, seed=5, dtype=torch.float32))
    optimizer, trained = torch.optim.Adam([theta], lr=0.1), estimator(structure)
    for step in range(300):
        optimizer.zero_grad()
        distance = lambda x: (x - target).flatten(-target.dim()).square().sum(-1)  # noqa: E731
        trained.surrogate(theta, distance, generator=seeded(step)).backward()
        optimizer.step()
    assert torch.equal(structure.argmax(theta), target)


@pytest.mark.parametrize("name", [*SAMPLERS, *SCORES, "relax"])
def test_an_empty_batch_has_an_empty_gradient(name):
    structure = STRUCTURES["one-hot"]
    theta = utilities(structure, 0)
    loss = (SAMPLERS | SCORES | {"relax": est.RELAX})[name](structure).surrogate(
        theta, lambda x: x[..., 0], generator=seeded()
    )
    assert torch.autograd.grad(loss, theta)[0].shape == (0, 4)


@pytest.mark.parametrize("sampler", ["reinmax", "gumbel-rao"])
def test_no_samples_are_asked_for(sampler):
    assert SAMPLERS[sampler](STRUCTURES["one-hot"])(torch.zeros(2, 4), (0,)).shape == (0, 2, 4)


@pytest.mark.parametrize("structure", [sst.SpanningTree.complete(1), sst.Arborescence.complete(1)], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        est.ScoreFunction,
        est.SparseMarginalization,
        partial(est.ScoreFunction, action="trace", utility=sst.NegativeExponential),
        partial(est.RELAX, utility=sst.NegativeExponential),
    ],
    ids=["utility", "sparse", "trace", "relax"],
)
def test_a_graph_of_one_node_has_one_subgraph(make, structure):
    theta = torch.zeros(2, 0, requires_grad=True)
    value = make(structure).surrogate(theta, lambda x: x.sum(-1) + 1)
    assert value == 1
    assert torch.autograd.grad(value, theta)[0].shape == (2, 0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_estimators_can_be_saved(sampler):
    structure = STRUCTURES["one-hot"]
    again = pickle.loads(pickle.dumps(SAMPLERS[sampler](structure)))
    x = again(utilities(structure), generator=seeded())
    torch.testing.assert_close(x, SAMPLERS[sampler](structure)(utilities(structure), generator=seeded()))


def test_the_step_of_aimle_is_known_at_any_scale():
    theta = torch.tensor([3e30, 1e30, 0.0, -1e30], requires_grad=True)
    x = est.AIMLE(sst.OneHot(4), utility=None)(theta)
    (found,) = torch.autograd.grad(x @ torch.tensor([1.0, 0.0, 0.0, 0.0]), theta)
    assert found.isfinite().all()


# What goes wrong


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: est.IMLE(4), "structure: found 4"),
        (lambda: est.IMLE(sst.OneHot(3), strength=0.0), "strength: found 0.0, expected a number > 0"),
        (lambda: est.AIMLE(sst.OneHot(3), target=-1), "target: found -1"),
        (lambda: est.AIMLE(sst.OneHot(3), rate=2.0), "rate: found 2.0"),
        (lambda: est.SPIGOT(sst.OneHot(3), step=float("nan")), "step: found nan"),
        (lambda: est.PerturbedArgmax(sst.OneHot(3), samples=0), "samples: found 0"),
        (lambda: est.ReinMax(sst.Subset(3)), "structure: found Subset"),
        (lambda: est.GumbelRao(sst.OneHot(3), temperature=0), "temperature: found 0"),
        (lambda: est.Relaxation(sst.OneHot(3), temperature=-1.0), "temperature: found -1.0"),
        (lambda: est.Blackbox(sst.OneHot(3), utility=torch.zeros(3)), "utility: found a Tensor"),
        (lambda: est.ScoreFunction(sst.OneHot(3), action="edge"), "action: found 'edge'"),
        (lambda: est.ScoreFunction(sst.OneHot(3), score="rloo"), "score: found 'rloo'"),
        (lambda: est.ScoreFunction(sst.OneHot(3), score=est.NVIL(torch.nn.Linear(2, 1))), "score: found NVIL"),
        (lambda: est.ScoreFunction(sst.OneHot(3), utility="gumbel"), "utility: found a str"),
        (lambda: est.RELAX(sst.OneHot(3), control="net"), "control: found 'net'"),
        (lambda: est.SparseMarginalization(sst.OneHot(3), solver="fw"), "solver: found 'fw'"),
        (lambda: est.IMLE(sst.OneHot(3)).surrogate(torch.zeros(2, 3), torch.sum), r"loss: found shape \(\)"),
        (
            lambda: est.SparseMarginalization(sst.OneHot(3)).surrogate(torch.zeros(2, 3), torch.sum),
            r"loss: found shape \(\)",
        ),
        (lambda: est.PerturbedArgmax(sst.OneHot(3))(torch.tensor([torch.inf, 0, 0])), "theta: found \\+inf"),
        (lambda: est.ReinMax(sst.OneHot(3))(torch.tensor([torch.nan, 0, 0])), "u: found NaN"),
        (lambda: sst.functional.gumbel_softmax(torch.zeros(3), 0.5), "structure: found 0.5"),
        (lambda: sst.functional.gumbel_softmax(torch.zeros(3), sst.OneHot(3), -1.0), "tau: found -1.0"),
        (lambda: est.ScoreFunction(sst.Matching(3), action="trace"), "action: found a trace of Matching"),
        (lambda: est.Blackbox(sst.OneHot(3))(torch.zeros(4)), r"theta: found shape \(4,\)"),
        (lambda: est.Blackbox(sst.OneHot(3))(torch.zeros(3, dtype=torch.long)), "theta: found dtype torch.int64"),
        (lambda: sst.nn.TemperatureSchedule(torch.nn.Linear(2, 2), lambda step: 1.0), "model: found a Linear"),
    ],
)
def test_wrong_arguments_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_intractable_marginals_are_named():
    with pytest.raises(sst.NoSolverError, match="permanent"):
        est.MarginalStraightThrough(sst.Matching(3))
    with pytest.raises(sst.NoSolverError, match="permanent"):
        est.ScoreFunction(sst.Matching(3), action="family")


# Layers and functions


def test_a_layer_saves_its_temperature():
    layer = sst.nn.StochasticSoftmax(sst.OneHot(3), temperature=2.0)
    layer.temperature.fill_(0.25)
    other = sst.nn.StochasticSoftmax(sst.OneHot(3))
    other.load_state_dict(layer.state_dict())
    assert other.temperature == 0.25
    assert "temperature=0.25" in repr(other)


def test_a_schedule_continues_from_its_state():
    model = torch.nn.ModuleDict({"inner": torch.nn.Sequential(sst.nn.StochasticSoftmax(sst.OneHot(3)))})
    schedule = sst.nn.TemperatureSchedule(model, lambda step: 1 / (1 + step))
    for _ in range(3):
        schedule.step()
    again = sst.nn.TemperatureSchedule(model, lambda step: 1 / (1 + step))
    assert model["inner"][0].temperature == 1
    again.load_state_dict(schedule.state_dict())
    assert model["inner"][0].temperature == 0.25


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tau", [0.5, torch.tensor(0.5)])
def test_gumbel_softmax_is_torch_s_for_one_hot(hard, tau, monkeypatch):
    logits = utilities(STRUCTURES["one-hot"], 5, dtype=torch.float32)
    noise = torch.rand(5, 4, generator=seeded(1)) + 0.1
    ours = sys.modules["sstricks.functional.gumbel_softmax"]  # which the function of this name hides
    monkeypatch.setattr(ours, "standard_exponential", lambda *args: noise.clone())
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(noise))
    found = sst.functional.gumbel_softmax(logits, STRUCTURES["one-hot"], tau, hard)
    expected = torch.nn.functional.gumbel_softmax(logits, float(tau), hard)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(5, 4, generator=seeded(2))
    torch.testing.assert_close(gradient(found, logits, weight), gradient(expected, logits, weight))


def test_gumbel_softmax_is_the_trick_of_the_structure():
    structure, logits = STRUCTURES["trees"], utilities(STRUCTURES["trees"], 2)
    found = sst.functional.gumbel_softmax(logits, structure, 0.7, generator=seeded())
    trick = sst.StochasticSoftmaxTrick(structure, sst.Gumbel(logits), 0.7, sst.ExponentialFamilyEntropy())
    torch.testing.assert_close(found, trick.rsample(generator=seeded()))

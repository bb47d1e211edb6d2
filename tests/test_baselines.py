"""The bespoke relaxations against their papers' formulas, written once more, and against enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.stats import chisquare

import sstricks as sst
from projective_trees import projective_trees
from sstricks import baselines

F64 = torch.float64
Relaxation = Callable[..., torch.Tensor]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Each as a function of utilities and temperature with fixed noise, beside the shape of its utilities.
RELAXATIONS: dict[str, tuple[Relaxation, tuple[int, ...]]] = {
    "l2x": (lambda u, t: baselines.l2x(u, 2, t, generator=seeded()), (5,)),
    "soft_sub": (lambda u, t: baselines.soft_sub(u, 3, t), (5,)),
    "neural_sort": (baselines.neural_sort, (5,)),
    "stochastic_neural_sort": (lambda u, t: baselines.stochastic_neural_sort(u, t, generator=seeded()), (5,)),
    "truncated_sinkhorn": (lambda u, t: baselines.truncated_sinkhorn(u, t, 6), (4, 4)),
    "gumbel_sinkhorn": (lambda u, t: baselines.gumbel_sinkhorn(u, t, 6, generator=seeded()), (4, 4)),
    "relaxed_eisner": (baselines.relaxed_eisner, (5, 5)),
    "perturb_and_parse": (lambda u, t: baselines.perturb_and_parse(u, t, generator=seeded()), (5, 5)),
}
EACH = pytest.mark.parametrize(("relax", "shape"), RELAXATIONS.values(), ids=RELAXATIONS)
DETERMINISTIC = pytest.mark.parametrize(
    ("relax", "shape"),
    [RELAXATIONS[name] for name in ("soft_sub", "neural_sort", "truncated_sinkhorn", "relaxed_eisner")],
    ids=["soft_sub", "neural_sort", "truncated_sinkhorn", "relaxed_eisner"],
)


def test_all_are_here():
    assert set(RELAXATIONS) == set(baselines.__all__)
    assert sst.baselines is baselines


# What holds of all


@EACH
def test_gradients_are_right(relax: Relaxation, shape: tuple[int, ...]):
    u = normal(2, *shape).requires_grad_()
    t = torch.tensor([0.7, 1.3], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(relax, (u, t))


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_extreme_utilities_give_numbers(relax: Relaxation, shape: tuple[int, ...], dtype: torch.dtype):
    for scale, t in itertools.product((0.0, 1.0, 1e6, 1e30), (1e-4, 1.0, 1e4)):
        u = (normal(3, *shape) * scale).to(dtype).requires_grad_()
        x = relax(u, t)
        assert x.dtype == dtype
        assert ((x >= 0) & (x <= 3 + 1e-5)).all()
        (gradient,) = torch.autograd.grad(x.square().sum(), u)
        assert gradient.isfinite().all()


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_rounded_once(relax: Relaxation, shape: tuple[int, ...], dtype: torch.dtype):
    u = normal(3, *shape).to(dtype)
    x = relax(u, 0.5)
    assert x.dtype == dtype
    torch.testing.assert_close(x, relax(u.double(), 0.5).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@DETERMINISTIC
def test_a_batch_is_a_loop(relax: Relaxation, shape: tuple[int, ...]):
    u, t = normal(2, 3, *shape), torch.tensor([0.3, 1.0, 4.0], dtype=F64)
    x = relax(u, t)
    assert x.shape[:2] == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(x[i, j], relax(u[i, j], t[j].item()))


@EACH
def test_bad_arguments_are_refused(relax: Relaxation, shape: tuple[int, ...]):
    u = normal(2, *shape)
    for t in (0.0, -1.0, math.nan, torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match=r"temperature: found .* expected positive numbers"):
            relax(u, t)
    with pytest.raises(ValueError, match="u: found NaN"):
        relax(u.index_fill(-1, torch.tensor([1]), math.nan), 1.0)
    with pytest.raises(ValueError, match="u: found"):
        relax(torch.full_like(u, -math.inf), 1.0)


@EACH
def test_temperatures_that_only_double_precision_can_tell_from_zero(relax: Relaxation, shape: tuple[int, ...]):
    u = normal(*shape)
    assert torch.equal(relax(u, 1e-60), relax(u, torch.tensor(1e-60, dtype=F64)))


@EACH
def test_integers_are_refused(relax: Relaxation, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"(u|logits|log_weights): found dtype torch\.int64, expected a floating"):
        relax(torch.zeros(shape, dtype=torch.int64), 1.0)


def test_arguments_have_the_names_of_their_function():
    with pytest.raises(ValueError, match="log_weights: found a list"):
        baselines.stochastic_neural_sort([0.0, 1.0], 1.0)  # pyright: ignore[reportArgumentType]
    for relax in (baselines.gumbel_sinkhorn, baselines.perturb_and_parse):
        with pytest.raises(ValueError, match=r"logits: found shape \(2, 3\), expected \(\*batch, n, n\)"):
            relax(normal(2, 3), 1.0)


@pytest.mark.parametrize("noise", [math.nan, math.inf, "1"])
def test_noise_that_is_no_number_is_refused(noise: float):
    with pytest.raises(ValueError, match="noise: found"):
        baselines.gumbel_sinkhorn(normal(2, 2), 1.0, noise=noise)


@EACH
def test_noise_comes_from_the_generator(relax: Relaxation, shape: tuple[int, ...]):
    u, before = normal(*shape), torch.get_rng_state()
    assert torch.equal(relax(u, 1.0), relax(u, 1.0))
    assert torch.equal(before, torch.get_rng_state())


def test_without_a_generator_the_seed_decides():
    for relax in (
        lambda u: baselines.l2x(u, 2, 1.0),
        lambda u: baselines.stochastic_neural_sort(u, 1.0),
        lambda u: baselines.gumbel_sinkhorn(u, 1.0),
        lambda u: baselines.perturb_and_parse(u, 1.0),
    ):
        u = normal(4, 4)
        torch.manual_seed(1)
        first, second = relax(u), relax(u)
        torch.manual_seed(1)
        assert torch.equal(first, relax(u))
        assert not torch.equal(first, second)


def test_sizes_that_do_not_fit_are_refused():
    for k in (0, 6, 2.0):
        with pytest.raises(ValueError, match="k: found"):
            baselines.soft_sub(normal(5), k, 1.0)
        with pytest.raises(ValueError, match="k: found"):
            baselines.l2x(normal(5), k, 1.0)
    with pytest.raises(ValueError, match="at least 3"):
        baselines.soft_sub(torch.tensor([1.0, -math.inf, 2.0, -math.inf]), 3, 1.0)
    for relax in (baselines.truncated_sinkhorn, baselines.relaxed_eisner):
        with pytest.raises(ValueError, match=r"u: found shape \(2, 3\), expected \(\*batch, n, n\)"):
            relax(normal(2, 3), 1.0)
    with pytest.raises(ValueError, match="n >= 2"):
        baselines.relaxed_eisner(normal(1, 1), 1.0)
    for iterations in (0, 1.5):
        with pytest.raises(ValueError, match="iterations"):
            baselines.truncated_sinkhorn(normal(2, 2), 1.0, iterations)
    for relax in (
        baselines.neural_sort,
        lambda u, t: baselines.soft_sub(u, 1, t),
        lambda u, t: baselines.l2x(u, 1, t),
    ):
        with pytest.raises(ValueError, match=r"found shape \(\), expected shape"):
            relax(torch.tensor(1.0), 1.0)
        with pytest.raises(ValueError, match=r"temperature: found shape \(2,\).*broadcasts with \(3,\)"):
            relax(normal(3, 4), torch.ones(2))


@EACH
def test_several_temperatures_for_one_realization(relax: Relaxation, shape: tuple[int, ...]):
    u, t = normal(*shape), torch.tensor([0.5, 2.0], dtype=F64)
    for one, x in zip(t, relax(u, t), strict=True):
        assert torch.allclose(x, relax(u, one), rtol=0, atol=1e-12)


# L2X


def test_l2x_is_the_largest_of_k_gumbel_softmax_samples():
    theta, t = normal(2, 5), 0.6
    gumbel = -torch.empty(3, 2, 5, dtype=F64).exponential_(generator=seeded(4)).log().numpy()
    weights = np.exp((theta.numpy() + gumbel) / t)
    expected = (weights / weights.sum(-1, keepdims=True)).max(0)
    found = baselines.l2x(theta, 3, t, generator=seeded(4))
    torch.testing.assert_close(found, torch.from_numpy(expected))


def test_cold_l2x_is_the_union_of_independent_choices():
    theta, draws = normal(4), 20_000
    x = baselines.l2x(theta.expand(draws, 4), 2, 1e-6, generator=seeded())
    assert ((x < 1e-3) | (x > 1 - 1e-3)).to(F64).mean() > 0.999
    expected = 1 - (1 - theta.softmax(-1)) ** 2
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((x.round().mean(0) - expected).abs() < 4 * error).all()


def test_absent_elements_of_l2x_are_zero_and_have_no_gradient():
    theta = torch.tensor([0.3, -math.inf, 1.0], requires_grad=True)
    x = baselines.l2x(theta, 2, 0.5)
    (gradient,) = torch.autograd.grad(x.square().sum(), theta)
    assert x[1] == 0
    assert gradient[1] == 0
    assert gradient.isfinite().all()


# SoftSub


def test_soft_sub_is_the_formula():
    u, t = normal(3, 6), 0.8
    a, expected = u.numpy().astype(np.longdouble), 0
    for _ in range(4):
        p = np.exp(a / t) / np.exp(a / t).sum(-1, keepdims=True)
        expected, a = expected + p, a + np.log1p(-p)
    torch.testing.assert_close(baselines.soft_sub(u, 4, t), torch.from_numpy(expected.astype(float)))


def test_soft_sub_sums_to_k_and_is_the_top_k_when_cold():
    u = normal(50, 6)
    for t in (1e-3, 0.1, 1.0, 10.0):
        torch.testing.assert_close(baselines.soft_sub(u, 3, t).sum(-1), torch.full((50,), 3.0, dtype=F64))
    torch.testing.assert_close(baselines.soft_sub(u, 3, 1e-6), sst.KSubset(6, 3).argmax(u), atol=1e-6, rtol=0)


def test_soft_sub_at_the_smallest_of_temperatures():
    u = torch.tensor([0.0, 1e-300, 3e-300], dtype=F64, requires_grad=True)
    x = baselines.soft_sub(u, 2, 5e-324)
    assert x.sum().item() == pytest.approx(2)
    assert torch.autograd.grad(x[0], u)[0].isfinite().all()


def test_soft_sub_leaves_the_hypersimplex():
    """As the documentation says: 0.9 at first, and half of what is left."""
    x = baselines.soft_sub(torch.tensor([0.9, 0.1], dtype=F64).log(), 2, 1.0)
    torch.testing.assert_close(x, torch.tensor([1.4, 0.6], dtype=F64))


def test_soft_sub_keeps_its_digits_where_one_minus_p_has_none():
    """1 − p = e^−60 for the first choice: it must not be lost, or the second choice is the first again."""
    x = baselines.soft_sub(torch.tensor([60.0, 0.0, -1.0], dtype=F64), 2, 1.0)
    odds = torch.tensor([1 + math.exp(-1), 1.0, math.exp(-1)], dtype=F64)
    expected = torch.tensor([1.0, 0, 0], dtype=F64) + odds / odds.sum()
    torch.testing.assert_close(x, expected)


def test_absent_elements_of_soft_sub_are_the_smaller_problem():
    u = torch.tensor([0.3, -math.inf, 1.0, 0.1], dtype=F64, requires_grad=True)
    x = baselines.soft_sub(u, 2, 0.5)
    torch.testing.assert_close(x[[0, 2, 3]], baselines.soft_sub(u[[0, 2, 3]], 2, 0.5))
    assert x[1] == 0
    everything = baselines.soft_sub(u, 3, 0.5)
    (gradient,) = torch.autograd.grad(everything.square().sum(), u)
    assert gradient.isfinite().all()
    assert gradient[1] == 0


def test_soft_sub_is_a_solver():
    u = normal(5)
    trick = sst.KSubset(5, 2)
    found = trick.softmax(u, 0.5, sst.Euclidean(), solver=lambda structure, f, s: baselines.soft_sub(s, structure.k, 1))
    assert found.shape == (5,)


# NeuralSort


def sort_matrix(s: np.ndarray, t: float) -> np.ndarray:
    n = len(s)
    away = [sum(abs(a - b) for b in s) for a in s]
    rows = [[((n + 1 - 2 * i) * s[j] - away[j]) / t for j in range(n)] for i in range(1, n + 1)]
    weights = np.exp(np.array(rows) - np.max(rows, -1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_neural_sort_is_the_formula():
    s = normal(3, 5)
    expected = np.stack([sort_matrix(row, 0.7) for row in s.numpy()])
    torch.testing.assert_close(baselines.neural_sort(s, 0.7), torch.from_numpy(expected))


def test_cold_neural_sort_sorts():
    s = normal(20, 6)
    p = baselines.neural_sort(s, 1e-5)
    torch.testing.assert_close((p @ s.unsqueeze(-1)).squeeze(-1), s.sort(-1, descending=True).values)
    assert torch.equal(p.argmax(-1), s.argsort(-1, descending=True))


def test_absent_items_of_neural_sort_are_the_smaller_problem():
    s = torch.tensor([0.3, -math.inf, 1.0, 0.1], dtype=F64, requires_grad=True)
    p, present = baselines.neural_sort(s, 0.5), torch.tensor([0, 2, 3])
    torch.testing.assert_close(p[:3, present], baselines.neural_sort(s[present], 0.5))
    assert (p[:, 1] == 0).all()
    assert (p[3] == 0).all()
    (gradient,) = torch.autograd.grad(p.square().sum(), s)
    assert gradient.isfinite().all()
    assert gradient[1] == 0


def test_cold_stochastic_neural_sort_is_plackett_luce():
    theta, draws = normal(3), 20_000
    p = baselines.stochastic_neural_sort(theta.expand(draws, 3), 1e-6, generator=seeded())
    orders = list(itertools.permutations(range(3)))
    w = theta.exp().tolist()
    expected = [w[a] / sum(w) * w[b] / (w[b] + w[c]) for a, b, c in orders]
    index = {order: i for i, order in enumerate(orders)}
    counts = np.bincount([index[tuple(row)] for row in p.argmax(-1).tolist()], minlength=6)
    assert chisquare(counts, np.array(expected) * draws).pvalue > 1e-4


# Gumbel-Sinkhorn


def test_truncated_sinkhorn_is_alternating_normalisation():
    u = normal(4, 4)
    s = np.exp(u.numpy() / 0.8)
    for _ in range(3):
        s = s / s.sum(1, keepdims=True)
        s = s / s.sum(0, keepdims=True)
    torch.testing.assert_close(baselines.truncated_sinkhorn(u, 0.8, 3), torch.from_numpy(s))


def test_long_sinkhorn_is_doubly_stochastic_and_cold_it_is_the_assignment():
    u = normal(4, 4)
    x = baselines.truncated_sinkhorn(u, 0.5, 500)
    ones = torch.ones(4, dtype=F64)
    torch.testing.assert_close(x.sum(0), ones)
    torch.testing.assert_close(x.sum(1), ones)
    u = 0.3 * u + 2 * torch.eye(4, dtype=F64)[[2, 0, 3, 1]]  # where rows contend, e^{gap/t} iterations are due
    rows, columns = linear_sum_assignment(u.numpy(), maximize=True)
    expected = torch.zeros(4, 4, dtype=F64)
    expected[rows, columns] = 1
    torch.testing.assert_close(baselines.truncated_sinkhorn(u, 0.01), expected, atol=1e-6, rtol=0)


def test_absent_pairs_and_padding_of_sinkhorn():
    u = torch.full((4, 4), -math.inf, dtype=F64)
    u[:3, :3] = normal(3, 3)
    u[0, 1] = -math.inf
    u.requires_grad_()
    x = baselines.truncated_sinkhorn(u, 0.5)
    torch.testing.assert_close(x[:3, :3], baselines.truncated_sinkhorn(u[:3, :3], 0.5))
    assert (x[u == -math.inf] == 0).all()
    (gradient,) = torch.autograd.grad(x.square().sum(), u)
    assert gradient.isfinite().all()
    assert (gradient[u == -math.inf] == 0).all()


def test_gumbel_sinkhorn_is_sinkhorn_on_gumbel_utilities():
    theta = normal(3, 3)
    gumbel = -torch.empty(3, 3, dtype=F64).exponential_(generator=seeded(2)).log()
    found = baselines.gumbel_sinkhorn(theta, 0.5, 7, noise=0.1, generator=seeded(2))
    torch.testing.assert_close(found, baselines.truncated_sinkhorn(theta + 0.1 * gumbel, 0.5, 7))


# Perturb & Parse


def eisner_by_recursion(u: np.ndarray, t: float) -> np.ndarray:
    """The relaxed algorithm from the top, span by span, each span's arcs as an expectation over its back-pointer."""
    n = len(u)

    def choose(ways: list[tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
        weights = np.array([w for w, _ in ways])
        b = np.exp((weights - weights.max()) / t)
        b /= b.sum()
        return float(b @ weights), np.tensordot(b, np.stack([arcs for _, arcs in ways]), 1)

    def join(a: tuple[float, np.ndarray], b: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
        return a[0] + b[0], a[1] + b[1]

    @lru_cache(None)
    def open_span(i: int, j: int, h: int) -> tuple[float, np.ndarray]:
        arc = np.zeros((n, n))
        m = i + j - h
        arc[h, m] = 1
        return join(choose([join(full(i, k, i), full(k + 1, j, j)) for k in range(i, j)]), (u[h, m], arc))

    @lru_cache(None)
    def full(i: int, j: int, h: int) -> tuple[float, np.ndarray]:
        if i == j:
            return 0.0, np.zeros((n, n))
        if h == i:
            return choose([join(open_span(i, k, i), full(k, j, k)) for k in range(i + 1, j + 1)])
        return choose([join(full(i, k, k), open_span(k, j, j)) for k in range(i, j)])

    return full(0, n - 1, 0)[1]


def test_there_are_as_many_projective_trees_as_there_should_be():
    assert [len(projective_trees(n)) for n in (2, 3, 4, 5)] == [1, 3, 12, 55]  # ternary trees


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_relaxed_eisner_is_the_recursion(n: int):
    u = normal(n, n, seed=n)
    expected = eisner_by_recursion(u.numpy(), 0.7)
    torch.testing.assert_close(baselines.relaxed_eisner(u, 0.7), torch.from_numpy(expected))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_cold_eisner_is_the_best_projective_tree(n: int):
    u, trees = normal(20, n, n), torch.from_numpy(projective_trees(n))
    best = torch.einsum("bij,kij->bk", u, trees).argmax(-1)
    torch.testing.assert_close(baselines.relaxed_eisner(u, 1e-4), trees[best], atol=1e-6, rtol=0)


@pytest.mark.parametrize("t", [0.2, 1.0, 20.0])
def test_relaxed_eisner_stays_in_the_hull(t: float):
    trees = projective_trees(4).reshape(-1, 16)
    x = baselines.relaxed_eisner(normal(4, 4), t).numpy().reshape(-1)
    mixture = linprog(
        np.zeros(len(trees)), A_eq=np.vstack([trees.T, np.ones(len(trees))]), b_eq=[*x, 1.0], bounds=(0, None)
    )
    assert mixture.status == 0


def test_padding_and_absent_arcs_of_eisner():
    u = torch.full((5, 5), -math.inf, dtype=F64)
    u[:4, :4] = normal(4, 4)
    u[2, 1] = u[1, 3] = -math.inf
    u.requires_grad_()
    x = baselines.relaxed_eisner(u, 0.5)
    torch.testing.assert_close(x[:4, :4], baselines.relaxed_eisner(u[:4, :4], 0.5))
    assert (x[u == -math.inf] == 0).all()
    (gradient,) = torch.autograd.grad(x.square().sum(), u)
    assert gradient.isfinite().all()
    allowed = projective_trees(4)
    allowed = allowed[(allowed[:, 2, 1] == 0) & (allowed[:, 1, 3] == 0)]
    best = allowed[np.argmax([u.detach().numpy()[:4, :4][tree > 0].sum() for tree in allowed])]
    torch.testing.assert_close(baselines.relaxed_eisner(u, 1e-4)[:4, :4], torch.from_numpy(best), atol=1e-6, rtol=0)


def test_sentences_without_a_projective_tree_are_refused():
    u = torch.full((3, 3), -math.inf)
    u[1, 2] = u[2, 1] = 0.0
    with pytest.raises(ValueError, match="u: found arcs without a projective tree"):
        baselines.relaxed_eisner(u, 1.0)


def test_the_diagonal_and_the_arcs_into_the_root_are_not_read():
    u = normal(4, 4)
    v = u.clone().fill_diagonal_(math.nan)
    v[:, 0] = math.inf
    assert torch.equal(baselines.relaxed_eisner(u, 1.0), baselines.relaxed_eisner(v, 1.0))

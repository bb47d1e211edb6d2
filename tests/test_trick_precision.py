"""Law 18 for tricks: parameters in half precision change neither which vertices are drawn nor how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from torch.distributions import Distribution, Gumbel, Independent, MultivariateNormal, Normal

import sstricks as sst
from cases import PAIR_CASES, Case

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
COUNT = 20_000
RARE = 1e-4  # the chance that a right sampler is refused, were the seeds not fixed
EACH = list({type(case.structure): case for case in reversed(PAIR_CASES)}.values())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same_law(few: torch.Tensor, many: torch.Tensor) -> None:
    """Pearson's test on two samples of vertices."""
    both = torch.cat([few.flatten(1).double(), many.flatten(1).double()])
    names, which = both.unique(dim=0, return_inverse=True)
    counts = np.stack([np.bincount(part, minlength=len(names)) for part in which.split(len(few))])
    often = counts.sum(0) > 10
    counts = np.concatenate([counts[:, often], counts[:, ~often].sum(1, keepdims=True)], 1)
    assert chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue > RARE


@HALVES
@pytest.mark.parametrize("case", EACH, ids=str)
@pytest.mark.parametrize("law", [Gumbel, sst.Gumbel, Normal])
def test_the_law_of_vertices_does_not_depend_on_the_dtype(case: Case, dtype: torch.dtype, law):
    loc = case.utilities(dtype=dtype)
    f = case.regularizer
    tricks = [
        (
            sst.StochasticArgmaxTrick(case.structure, law(u, 1.0)),
            sst.StraightThrough(sst.StochasticSoftmaxTrick(case.structure, law(u, 1.0), 0.5, f)),
        )
        for u in (loc, loc.double())
    ]
    for narrow, wide in zip(*tricks, strict=True):
        assert_same_law(narrow.sample((COUNT,), generator=seeded(0)), wide.sample((COUNT,), generator=seeded(1)))


def test_chi_square_notices_another_law():
    two = [sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(u, 1.0)) for u in (torch.zeros(4), 0.1 * torch.arange(4))]
    samples = [d.sample((COUNT,), generator=seeded(i)) for i, d in enumerate(two)]
    with pytest.raises(AssertionError):
        assert_same_law(*samples)


@HALVES
@pytest.mark.parametrize("law", [Gumbel, sst.Gumbel])
def test_equal_classes_are_equally_frequent(dtype: torch.dtype, law):
    """In half precision many utilities are equal, and the argmax would take the first."""
    hard = sst.StochasticArgmaxTrick(sst.OneHot(1000), law(torch.zeros(1000, dtype=dtype), 1.0))
    soft = sst.StochasticSoftmaxTrick(hard.structure, hard.utility, 1.0, sst.CategoricalEntropy())
    draws = (
        hard.sample((4000,), generator=seeded(0)),
        sst.StraightThrough(soft).rsample((4000,), generator=seeded(1)),
        soft.draw((4000,), generator=seeded(2)).discrete,
        sst.estimators.draw_action(hard, (4000,), generator=seeded(3)).discrete,
    )
    for x in draws:
        first = x[:, :500].sum(-1, dtype=torch.float32).mean().item()
        assert abs(first - 0.5) < 4 * 0.5 / 4000**0.5


@HALVES
@pytest.mark.parametrize("law", [Gumbel, sst.Gumbel])
def test_a_rare_class_is_as_frequent_as_its_logit_says(dtype: torch.dtype, law):
    hard = sst.StochasticArgmaxTrick(sst.OneHot(2), law(torch.tensor([0.0, -6.0], dtype=dtype), 1.0))
    p = hard.log_prob(torch.tensor([0.0, 1.0])).exp().item()
    found = hard.sample((400_000,), generator=seeded(0))[:, 1].float().mean().item()
    assert abs(found - p) < 4 * (p / 400_000) ** 0.5


@HALVES
@pytest.mark.parametrize(
    "build",
    [
        lambda loc: Gumbel(loc, 1.0),
        lambda loc: Independent(Normal(loc, 1.0), 1),
        lambda loc: sst.Masked(sst.Logistic(loc), torch.tensor([True, True, False, True])),
        lambda loc: MultivariateNormal(loc, scale_tril=torch.eye(4, dtype=loc.dtype)),
    ],
)
def test_draws_have_the_dtype_of_the_parameters_and_utilities_their_own(dtype: torch.dtype, build):
    loc = torch.randn(3, 4).to(dtype).requires_grad_()
    structure = sst.KSubset(4, 2)
    soft = sst.StochasticSoftmaxTrick(structure, build(loc), 0.5, sst.ExponentialFamilyEntropy())
    for d in (soft, soft.expand((2, 3)), sst.StraightThrough(soft), sst.StraightThrough(soft.expand((2, 3)))):
        draw = d.draw((50,))
        assert (draw.utility.dtype, draw.relaxed.dtype, draw.discrete.dtype) == (torch.float32, dtype, dtype)
        assert (structure.argmax(draw.utility) == draw.discrete).all()
        relaxed = structure.softmax(draw.utility, 0.5, sst.ExponentialFamilyEntropy())
        assert torch.equal(draw.relaxed, relaxed.to(dtype))
        assert d.sample().dtype == d.rsample().dtype == dtype
        (gradient,) = torch.autograd.grad(draw.relaxed.square().sum(), loc, retain_graph=True)
        assert gradient.dtype == dtype
        assert gradient.any()
    action = sst.estimators.draw_action(soft, (5,))
    assert (action.utility.dtype, action.discrete.dtype) == (torch.float32, dtype)
    assert torch.autograd.grad(action.log_prob.sum(), loc)[0].dtype == dtype


@HALVES
def test_probabilities_and_moments_have_the_dtype_of_the_parameters(dtype: torch.dtype):
    loc = torch.tensor([0.3, -1.0, 2.0], dtype=dtype)
    narrow, wide = (sst.StochasticArgmaxTrick(sst.OneHot(3), Gumbel(u, 1.0)) for u in (loc, loc.double()))
    x = torch.eye(3, dtype=dtype)
    for found, expected in (
        (narrow.log_prob(x), wide.log_prob(x.double())),
        (narrow.mean, wide.mean),
        (narrow.variance, wide.variance),
        (narrow.entropy(), wide.entropy()),
        (narrow.mode, wide.mode),
        (torch.distributions.kl_divergence(narrow, narrow), torch.zeros((), dtype=torch.float64)),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected.to(dtype).double(), atol=1e-6, rtol=0)
    assert narrow.log_prob(x.float()).dtype == torch.float32


def test_full_precision_is_left_alone():
    for utility in (Gumbel(torch.zeros(3), 1.0), Normal(torch.zeros(3, dtype=torch.float64), 1.0)):
        built: Distribution = Independent(utility, 1)
        assert sst.StochasticArgmaxTrick(sst.OneHot(3), built).utility is built


@HALVES
def test_autocast_draws_in_full_precision(dtype: torch.dtype):
    """Logits come out of a linear layer in half precision there."""
    layer = torch.nn.Linear(2, 4)
    with torch.autocast("cpu", dtype=dtype):
        soft = sst.StochasticSoftmaxTrick(
            sst.OneHot(4), Gumbel(layer(torch.randn(3, 2)), 1.0), 0.5, sst.CategoricalEntropy()
        )
        draw = soft.draw()
    assert (draw.utility.dtype, draw.relaxed.dtype) == (torch.float32, dtype)


@HALVES
def test_compiled_tricks_of_half_precision(dtype: torch.dtype):
    one_hot, entropy = sst.OneHot(4), sst.CategoricalEntropy()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def sample(loc: torch.Tensor) -> torch.Tensor:
        return sst.StochasticSoftmaxTrick(one_hot, sst.Gumbel(loc), 0.5, entropy).rsample()

    x = sample(torch.zeros(2, 4, dtype=dtype))
    assert x.dtype == dtype
    torch.testing.assert_close(x.float().sum(-1), torch.ones(2), atol=0.02, rtol=0)

"""Law 18: the law of an argmax does not depend on the dtype of the parameters."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    Distribution,
    ExpTransform,
    Gumbel,
    Independent,
    Laplace,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
)

import sstricks as sst
from sstricks.utilities.precision import in_full_precision

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


class OwnGumbel(Gumbel):
    """A user's subclass of torch's Gumbel."""


def transformed(loc: Tensor) -> Distribution:
    """Normal + loc, by way of an inverse and of a composition."""
    there_and_back = ComposeTransform([SigmoidTransform(), SigmoidTransform().inv])
    return TransformedDistribution(Normal(torch.zeros_like(loc), 1.0), [there_and_back, AffineTransform(-loc, 1.0).inv])


LAWS = {
    "torch's Gumbel": lambda loc: Gumbel(loc, 1.0),
    "a subclass of it": lambda loc: OwnGumbel(loc, 1.0),
    "Gumbel": sst.Gumbel,
    "Normal": lambda loc: Normal(loc, 1.0),
    "Laplace": lambda loc: Laplace(loc, 1.0),
    "Logistic": sst.Logistic,
    "NegativeExponential": lambda loc: sst.NegativeExponential(loc.exp()),
    "Independent": lambda loc: Independent(Gumbel(loc, 1.0), 1),
    "Masked": lambda loc: sst.Masked(sst.Gumbel(loc), torch.ones_like(loc, dtype=torch.bool)),
    "ChainUtility": lambda loc: sst.ChainUtility(sst.Gumbel(loc), torch.full_like(loc[..., 1:], -torch.inf)),
    "Sorting": sst.Sorting,
    "TransformedDistribution": transformed,
}
EACH = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def best(u: Tensor) -> Tensor:
    """The best of the items, of which a matrix has a row for each place."""
    return u.flatten(-2).argmax(-1) if u.dim() == 3 else u.argmax(-1)


def assert_frequency(hits: Tensor, probability: float) -> None:
    n = hits.numel()
    assert abs(hits.double().mean().item() - probability) < 4 * (probability * (1 - probability) / n) ** 0.5


@EACH
@HALVES
def test_each_of_many_equal_items_wins_as_often(law, dtype: torch.dtype):
    """Numbers of half precision tie, and the first of them would win."""
    n = 40 if law is sst.Sorting else 1000
    u = in_full_precision(law(torch.zeros(n, dtype=dtype))).sample((4000,))
    assert u.dtype == torch.float32
    assert_frequency(best(u) < n // 2, 0.5)


@HALVES
@pytest.mark.parametrize("name", ["torch's Gumbel", "a subclass of it", "Gumbel", "NegativeExponential", "Independent"])
def test_rare_items_win_at_their_rate(name: str, dtype: torch.dtype):
    loc = torch.tensor([0.0, -6.0], dtype=dtype)
    u = in_full_precision(LAWS[name](loc)).sample((400_000,))
    rate = loc[1].exp().item() if name == "NegativeExponential" else loc[1].exp().float().item()
    assert_frequency(u.argmax(-1) == 1, rate / (1 + rate))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_a_million_rare_items_win_as_often_as_a_frequent_one(dtype: torch.dtype):
    """At −14 below it one of them wins once in a million, by a utility that half precision has no number for."""
    n = round(torch.tensor(14.0, dtype=torch.float64).exp().item())
    loc = torch.full((1 + n,), -14.0, dtype=dtype)
    loc[0] = 0
    gumbel = in_full_precision(sst.Gumbel(loc))
    winners = torch.stack([gumbel.sample().argmax() for _ in range(60)])
    assert_frequency(winners == 0, 0.5)
    assert_frequency(winners[winners > 0] > n // 2, 0.5)


@EACH
def test_samples_of_full_precision_are_those_of_the_law_itself(law):
    for dtype in (torch.float32, torch.float64):
        d = law(torch.zeros(4, dtype=dtype))
        assert in_full_precision(d) is d


@EACH
@HALVES
def test_gradients_reach_the_parameters_of_half_precision(law, dtype: torch.dtype):
    loc = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    wide = in_full_precision(law(loc))
    weights = torch.linspace(0.1, 1, wide.event_shape.numel() * wide.batch_shape.numel()).reshape(wide.sample().shape)
    (gradient,) = torch.autograd.grad((wide.rsample() * weights).sum(), loc)
    assert gradient.dtype == dtype
    assert (gradient != 0).all()
    assert wide.batch_shape == law(loc).batch_shape


@EACH
def test_the_distribution_itself_stays_in_half_precision(law):
    loc = torch.zeros(4, dtype=torch.bfloat16)
    d = law(loc)
    assert type(in_full_precision(d)) is type(d)
    assert d.sample().dtype == torch.bfloat16
    assert d.rsample().dtype == torch.bfloat16


def test_logits_made_under_autocast():
    linear = nn.Linear(3, 1000)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    with torch.autocast("cpu", torch.bfloat16):
        logits = linear(torch.ones(3))
        assert logits.dtype == torch.bfloat16
        u = in_full_precision(sst.Gumbel(logits)).rsample((4000,))
    assert_frequency(u.argmax(-1) < 500, 0.5)
    (gradient,) = torch.autograd.grad(u.sum(), linear.bias)
    assert (gradient == 4000).all()


def test_tricks_draw_outside_of_autocast():
    """Inside, the samples of a multivariate normal are products in half precision."""
    trick = sst.StochasticSoftmaxTrick(
        sst.OneHot(4), MultivariateNormal(torch.zeros(4), torch.eye(4)), 1.0, sst.CategoricalEntropy()
    )
    torch.manual_seed(0)
    expected = trick.draw((1000,)).utility
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(trick.draw((1000,)).utility, expected)
        assert torch.is_autocast_enabled("cpu")


def test_a_learnt_transform_keeps_its_dtype():
    """Its numbers are in a module, which is the user's own."""

    class Shift(ExpTransform, nn.Module):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            ExpTransform.__init__(self)
            self.by = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))

        def _call(self, x: Tensor) -> Tensor:
            return x + self.by

        __hash__ = nn.Module.__hash__

    base = Normal(torch.zeros(2, dtype=torch.bfloat16), 1.0)
    d = Independent(TransformedDistribution(base, [Shift()]), 1)
    assert in_full_precision(d).sample().dtype == torch.bfloat16


@EACH
def test_compiles_without_a_graph_break(law):
    torch.compiler.reset()
    Distribution.set_default_validate_args(False)  # as torch.compile does when it is first called in a process
    draw = torch.compile(lambda x: in_full_precision(law(x)).rsample(), fullgraph=True, backend="aot_eager")
    for dtype in (torch.bfloat16, torch.float32):
        assert draw(torch.zeros(4, dtype=dtype)).dtype == torch.float32

"""Law 19: what every distribution of the library keeps of the contract of torch.distributions."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from distribution_contract import INSTANCES, Instance, classes

SIGMAS = 5  # how far from its mean an average may lie
COUNT = 20_000
BATCHES = ((), (2,), (2, 3))
SAMPLES = ((), (3,), (2, 3), (0,))


@pytest.fixture(params=INSTANCES, ids=str)
def instance(request: pytest.FixtureRequest) -> Instance:
    return request.param


def seeded(draw: Callable[[], Tensor], seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return draw()


def known(property_: Callable[[], Tensor]) -> Tensor | None:
    """What a moment is, or None if the distribution says in words that it is not known."""
    try:
        return property_()
    except NotImplementedError as error:
        found = error
    assert len(str(found).split()) >= 5, f"{found!r} does not say what to use"
    return None


def near(found: Tensor, expected: Tensor, error: Tensor | float) -> bool:
    return bool(((found == expected) | ((found - expected).abs() <= error + 1e-9)).all())


@contextmanager
def validation(default: bool) -> Iterator[None]:
    Distribution.set_default_validate_args(default)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(True)


def test_every_distribution_is_enrolled():
    assert classes() - {type(instance.distribution()) for instance in INSTANCES} == set()


# Shapes


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_shapes(instance: Instance, batch: tuple[int, ...]):
    d = instance.distribution(*batch)
    shape = d.batch_shape + d.event_shape
    assert (*d.batch_shape, *d.event_shape)[: len(batch)] == batch
    for sample_shape in SAMPLES:
        x = d.sample(sample_shape)
        assert x.shape == torch.Size(sample_shape) + shape
        if d.has_rsample:
            assert d.rsample(sample_shape).shape == x.shape
        log_prob = known(lambda x=x: d.log_prob(x)) if x.numel() else None  # torch's Independent cannot add up nothing
        if log_prob is not None:
            assert log_prob.shape == torch.Size(sample_shape) + d.batch_shape
    assert d.sample(torch.Size([3])).shape == d.sample([3]).shape == torch.Size([3]) + shape


def test_event_dimensions_can_be_added(instance: Instance):
    d = instance.distribution(2, 3)
    wide = Independent(d, len(d.batch_shape))
    assert wide.sample((5,)).shape == torch.Size([5]) + d.batch_shape + d.event_shape
    assert bool(wide.support.check(wide.sample((5,))).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_samples_have_the_dtype_of_the_parameters(instance: Instance, dtype: torch.dtype):
    d = instance.distribution(2, dtype=dtype)
    assert d.sample().dtype == dtype
    assert not d.sample((100,)).isnan().any()
    if d.has_rsample:
        assert d.rsample().dtype == dtype


def test_repr_names_what_it_is_made_of(instance: Instance):
    d = instance.distribution(2)
    assert repr(d).startswith(f"{type(d).__name__}(")
    assert "object at" not in repr(d)
    for name in d.arg_constraints:
        assert name in repr(d)


# expand


@pytest.mark.parametrize(("batch", "larger"), [((), (3,)), ((2,), (3, 2)), ((2, 1), (2, 3)), ((2, 1), (4, 2, 5))])
def test_expand(instance: Instance, batch: tuple[int, ...], larger: tuple[int, ...]):
    small = instance.distribution(*batch)
    own = small.batch_shape[len(batch) :]  # coordinates that are batch dimensions
    large = small.expand(torch.Size(larger) + own)
    assert type(large) is type(small)
    assert large.batch_shape == torch.Size(larger) + own
    assert large.event_shape == small.event_shape
    assert large.has_rsample == small.has_rsample
    x = large.sample((7,))
    assert x.shape == torch.Size([7, *larger]) + own + small.event_shape
    expected = known(lambda: small.log_prob(x))
    if expected is not None:
        torch.testing.assert_close(large.log_prob(x), expected)


def test_expanded_samples_are_independent(instance: Instance):
    d = instance.distribution()
    x = d.expand(torch.Size([200]) + d.batch_shape).sample()
    assert len(x.unique(dim=0)) > 1


def test_expand_refuses_to_shrink(instance: Instance):
    d = instance.distribution(2, 3)
    own = d.batch_shape[2:]
    for shape in ((3,), (2, 1), (2,), (), (2, 4)):
        with pytest.raises(ValueError, match="batch_shape: found"):
            d.expand(torch.Size(shape) + own)
    assert d.expand(list(d.batch_shape)).batch_shape == d.batch_shape


def test_expand_keeps_subclasses(instance: Instance):
    d = instance.distribution(2)
    d.__class__ = type("Own", (type(d),), {"__doc__": "A user's own."})
    d.note = "kept"
    wide = d.expand(torch.Size([3]) + d.batch_shape)
    assert type(wide) is type(d)
    assert wide.note == "kept"
    assert wide.sample().shape == torch.Size([3]) + d.batch_shape + d.event_shape

    def init(self: Distribution, *args: object) -> None:
        raise AssertionError("expand makes an instance without __init__")

    d.__class__ = type("Other", (type(d),), {"__init__": init})
    with pytest.raises(NotImplementedError, match=r"must also define a custom .expand\(\)"):
        d.expand(torch.Size([3]) + d.batch_shape)


# Copies

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda d: pickle.loads(pickle.dumps(d))}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copies_sample(instance: Instance, make):
    d = instance.distribution(2)
    before = make(d)
    expected = seeded(lambda: d.sample((3,)))
    for use in (d.rsample, lambda: d.log_prob(expected), lambda: d.mean, lambda: d.support, d.entropy):
        with suppress(NotImplementedError):
            use()
    for twin in (before, make(d)):
        assert type(twin) is type(d)
        assert torch.equal(seeded(lambda twin=twin: twin.sample((3,))), expected)
        log_prob = known(lambda: d.log_prob(expected))
        if log_prob is not None:
            assert torch.equal(twin.log_prob(expected), log_prob)


# Laws


def test_samples_lie_in_the_support(instance: Instance):
    d = instance.distribution(2)
    assert d.support.event_dim == len(d.event_shape)
    inside = d.support.check(d.sample((50,)))
    assert inside.shape == torch.Size([50]) + d.batch_shape
    assert inside.all()


def test_moments_are_known_or_say_what_to_use(instance: Instance):
    d = instance.distribution(2)
    x = d.sample((COUNT,))
    shape = d.batch_shape + d.event_shape
    mean, variance, stddev = known(lambda: d.mean), known(lambda: d.variance), known(lambda: d.stddev)
    if mean is not None:
        assert mean.shape == shape
        assert near(x.mean(0), mean, SIGMAS * (x.var(0) / COUNT).sqrt())
    if variance is not None:
        assert variance.shape == shape
        finite = torch.where(x.isfinite(), x, 0.0)
        square = (finite - finite.mean(0)).square()
        assert near(square.mean(0), variance, SIGMAS * (square.var(0) / COUNT).sqrt())
        torch.testing.assert_close(stddev, variance.sqrt())
    else:
        assert stddev is None
    mode = known(lambda: d.mode)
    log_prob = known(lambda: d.log_prob(x))
    if mode is not None:
        assert mode.shape == shape
        if log_prob is not None:
            assert (d.log_prob(mode) >= log_prob.max(0).values - 1e-9).all()
    entropy, perplexity = known(d.entropy), known(d.perplexity)
    if entropy is not None:
        assert entropy.shape == d.batch_shape
        torch.testing.assert_close(perplexity, entropy.exp())
        if log_prob is not None:
            assert near(-log_prob.mean(0), entropy, SIGMAS * (log_prob.var(0) / COUNT).sqrt())
    else:
        assert perplexity is None


def test_distribution_function(instance: Instance):
    d = instance.distribution(2)
    x = d.sample((COUNT,))
    at = x.sort(0).values[COUNT // 10 :: COUNT // 5]
    below = known(lambda: d.cdf(at))
    if below is not None:
        assert near((x <= at.unsqueeze(1)).double().mean(1), below, SIGMAS * 0.5 / COUNT**0.5)
    p = torch.tensor([0.01, 0.5, 0.999], dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    quantile = known(lambda: d.icdf(p))
    assert (quantile is None) == (below is None)
    if quantile is not None:
        back, wanted = d.cdf(quantile), p.expand(quantile.shape)
        torch.testing.assert_close(torch.where(quantile.isfinite(), back, wanted), wanted)


def test_density_normalises(instance: Instance):
    d = instance.distribution(2)
    if d.has_enumerate_support:
        total = known(lambda: d.log_prob(d.enumerate_support()).exp().sum(0))
        assert d.enumerate_support(expand=False).shape[1:] == torch.Size([1] * len(d.batch_shape)) + d.event_shape
    elif not d.event_shape:
        # By substitution of a quantile, u = F⁻¹(p): the integral of exp(log_prob(u)) du/dp over p.
        p = torch.linspace(0, 1, 200_003, dtype=torch.float64)[1:-1].reshape(-1, *[1] * len(d.batch_shape))
        u = d.icdf(p)
        fixed = ~u.isfinite()
        density = torch.where(fixed[1:], 0.0, d.log_prob(u)[1:].exp() + d.log_prob(u)[:-1].exp()) / 2
        total = (density * torch.where(fixed[1:], 0.0, u.diff(dim=0))).sum(0) + fixed[0].double()
    else:
        pytest.skip("no enumeration, and more than one dimension")
    if total is not None:
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_half_precision_has_the_same_law(instance: Instance):
    narrow = instance.parameters(2, dtype=torch.bfloat16)
    few = instance.build(narrow).sample((COUNT,)).double()
    many = instance.build(narrow.double()).sample((COUNT,))
    few, many = (torch.where(x.isfinite(), x, 0.0) for x in (few, many))
    rounding = many.abs().mean(0) * torch.finfo(torch.bfloat16).eps
    assert near(few.mean(0), many.mean(0), SIGMAS * (2 * many.var(0) / COUNT).sqrt() + rounding)


def test_divergence_is_that_of_the_densities(instance: Instance):
    p, q = instance.distribution(2), instance.distribution(2, seed=1)
    try:
        kl_divergence(p, p)
    except NotImplementedError:
        return
    assert near(kl_divergence(p, p), torch.zeros(()), 1e-12)
    try:
        divergence = kl_divergence(p, q)
    except ValueError:
        return  # known only where the two have something in common
    x = p.sample((COUNT,))
    difference = p.log_prob(x) - q.log_prob(x)
    assert divergence.shape == p.batch_shape
    assert (divergence >= 0).all()
    assert near(difference.mean(0), divergence, SIGMAS * (difference.var(0) / COUNT).sqrt())


# Samples


def test_samples_carry_no_gradient(instance: Instance):
    a = instance.parameters(2).requires_grad_()
    assert not instance.build(a).sample().requires_grad


def test_rsample_follows_the_seed(instance: Instance):
    d = instance.distribution(2)
    if known(d.rsample) is None:
        assert not d.has_rsample
        return
    assert d.has_rsample
    assert torch.equal(seeded(lambda: d.rsample((30,))), seeded(lambda: d.sample((30,))))
    assert not torch.equal(seeded(lambda: d.rsample((30,))), seeded(lambda: d.rsample((30,)), 1))


def test_rsample_is_differentiable(instance: Instance):
    a = instance.parameters(2).requires_grad_()
    if not instance.build(a).has_rsample:
        return

    def draw(a: Tensor) -> Tensor:
        x = seeded(lambda: instance.build(a).rsample((2,)))
        return torch.where(x.isfinite(), x, 0.0)

    (gradient,) = torch.autograd.grad(draw(a).square().sum(), a)
    assert gradient.isfinite().all()
    assert gradient.any()
    if instance.smooth:
        assert torch.autograd.gradcheck(draw, a)
        assert torch.autograd.gradgradcheck(draw, a)


def test_generators(instance: Instance):
    d = instance.distribution(2)
    for draw in (d.sample, *([d.rsample] if d.has_rsample else [])):
        parameter = inspect.signature(draw).parameters.get("generator")
        if parameter is None:
            continue
        assert parameter.kind is parameter.KEYWORD_ONLY
        state = torch.get_rng_state()
        x, y, z = (draw((20,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(x, y)
        assert not torch.equal(x, z)
        assert torch.equal(torch.get_rng_state(), state)


def test_vmap_of_samples(instance: Instance):
    """Each example has numbers of its own, or all have the same, as the caller wishes."""
    a = instance.parameters().expand(3, *instance.shape)
    for randomness in ("different", "same"):
        x = torch.func.vmap(lambda a: instance.build(a).sample((50,)), randomness=randomness)(a)
        assert x.shape == torch.Size([3]) + instance.distribution().sample((50,)).shape
        assert len(x.round(decimals=9).unique(dim=0)) == (3 if randomness == "different" else 1)


def test_vmap_of_log_prob(instance: Instance):
    a = instance.parameters(3)
    d = instance.build(a)
    x = d.sample((5,))
    expected = known(lambda: d.log_prob(x))
    if expected is not None:
        found = torch.func.vmap(lambda a, x: instance.build(a).log_prob(x), in_dims=(0, 1), out_dims=1)(a, x)
        torch.testing.assert_close(found, expected)


def test_compiles(instance: Instance):
    torch.compiler.reset()

    def draw(a: Tensor) -> tuple[Tensor, ...]:
        d = instance.build(a)
        x = d.rsample() if d.has_rsample else d.sample()
        return x, x.square().sum()

    a = instance.parameters(2).requires_grad_()
    x, total = torch.compile(draw, fullgraph=True, backend="aot_eager")(a)
    assert x.shape == instance.build(a).sample().shape
    assert x.dtype == a.dtype
    if instance.build(a).has_rsample:
        (gradient,) = torch.autograd.grad(total, a)
        assert gradient.shape == a.shape


# Validation


def test_arguments_are_validated(instance: Instance):
    if instance.bad is None:
        return
    with pytest.raises(ValueError, match="parameter"):
        instance.bad(True)
    with pytest.raises(ValueError, match="parameter"):
        instance.bad(None)
    instance.bad(False)
    with validation(False):
        instance.bad(None)
        with pytest.raises(ValueError, match="parameter"):
            instance.bad(True)


def test_values_are_validated(instance: Instance):
    d = instance.distribution(2)
    if known(lambda: d.log_prob(d.sample())) is None:
        return
    with pytest.raises(ValueError, match="value"):
        d.log_prob(torch.full_like(d.sample(), torch.nan))

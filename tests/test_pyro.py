"""The distributions of the library in Pyro: in plates, as events, with subsampling, and in a variational objective."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch.distributions import Distribution

from distribution_contract import INSTANCES, Instance
from test_distribution_contract import known

EACH = pytest.mark.parametrize("instance", INSTANCES, ids=str)


@pytest.fixture(autouse=True)
def _no_parameters_left() -> Iterator[None]:
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def for_pyro(d: Distribution) -> Distribution:
    """The distribution as a user of Pyro declares it: class Gumbel(sst.Gumbel, TorchDistributionMixin)."""
    d.__class__ = type(type(d).__name__, (type(d), TorchDistributionMixin), {})
    return d


def as_event(d: Distribution) -> Distribution:
    return for_pyro(d).to_event(len(d.batch_shape)) if d.batch_shape else for_pyro(d)


@EACH
def test_plates_expand_it(instance: Instance):
    def model() -> torch.Tensor:
        d = as_event(instance.distribution())
        with pyro.plate("outer", 3, dim=-2), pyro.plate("inner", 50, dim=-1):
            return pyro.sample("x", d)

    trace = poutine.trace(model).get_trace()
    x = trace.nodes["x"]["value"]
    assert x.shape == torch.Size([3, 50]) + as_event(instance.distribution()).event_shape
    assert len(x.flatten(0, 1).unique(dim=0)) > 1
    expected = known(lambda: as_event(instance.distribution()).log_prob(x))
    if expected is not None:
        trace.compute_log_prob()
        torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)


@EACH
def test_subsampled_plates_scale_its_density(instance: Instance):
    def model() -> torch.Tensor:
        d = as_event(instance.distribution())
        with pyro.plate("data", 100, subsample_size=4):
            return pyro.sample("x", d)

    trace = poutine.trace(model).get_trace()
    x = trace.nodes["x"]["value"]
    expected = known(lambda: as_event(instance.distribution()).log_prob(x))
    if expected is not None:
        trace.compute_log_prob()
        torch.testing.assert_close(trace.nodes["x"]["log_prob_sum"], 25 * expected.sum())


@EACH
def test_batches_of_parameters_meet_plates(instance: Instance):
    def model() -> torch.Tensor:
        d = instance.distribution(4)
        own = len(d.batch_shape) - 1
        with pyro.plate("data", 4):
            return pyro.sample("x", for_pyro(d).to_event(own) if own else for_pyro(d))

    x = poutine.trace(model).get_trace().nodes["x"]["value"]
    assert x.shape == instance.distribution(4).sample().shape


@EACH
def test_the_evidence_lower_bound_has_a_gradient(instance: Instance):
    d = instance.distribution()
    if known(lambda: d.log_prob(d.sample())) is None:
        return
    other = 0 if d.has_rsample else 1  # the score of a law under itself is worth nothing

    def model() -> None:
        with pyro.plate("data", 4):
            pyro.sample("x", as_event(instance.distribution(seed=other)))

    def guide() -> None:
        a = pyro.param("a", instance.parameters())
        with pyro.plate("data", 4):
            pyro.sample("x", as_event(instance.build(a)))

    loss = pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True).differentiable_loss(model, guide)
    (gradient,) = torch.autograd.grad(loss, pyro.param("a").unconstrained())
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.any() or not d.has_rsample  # the score is weighted by 0 where model and guide are the same

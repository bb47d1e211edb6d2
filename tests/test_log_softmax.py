"""The logarithm of the soft argmax, where it is known without loss."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_expit, logsumexp
from torch.autograd import gradcheck, gradgradcheck

import sstricks as sst

CATEGORICAL, BINARY, FAMILY = sst.CategoricalEntropy(), sst.BinaryEntropy(), sst.ExponentialFamilyEntropy()
PAIRS = [
    *((sst.OneHot(6), f) for f in (CATEGORICAL, BINARY, FAMILY)),
    *((sst.Subset(6), f) for f in (CATEGORICAL, BINARY, FAMILY)),
    *((sst.KSubset(6, k), f) for k in (1, 2, 5, 6) for f in (CATEGORICAL, BINARY)),
]
EACH = pytest.mark.parametrize(("structure", "f"), PAIRS, ids=lambda one: f"{one!r}")


def exact(u, k, f):
    """log x, found in the domain of logarithms, so that nothing is too small."""
    order = np.argsort(u)[::-1]
    u = np.asarray(u)[order]
    if f is CATEGORICAL:  # the cap holds the first c coordinates
        taus = [float(logsumexp(u[c:])) - math.log(k - c) for c in range(k)]
        tau = next(tau for c, tau in enumerate(taus) if all(u[:c] >= tau) and u[c] <= tau)
        return np.minimum(u - tau, 0)[np.argsort(order)]
    low, high = u[-1] - 1, u[0] + 1
    tau = 0.0
    for _ in range(200):
        tau = (low + high) / 2
        inside, outside = logsumexp(log_expit(u[k:] - tau)), logsumexp(log_expit(tau - u[:k]))
        low, high = (tau, high) if inside > outside else (low, tau)
    return log_expit(u - tau)[np.argsort(order)]


@EACH
def test_it_is_the_logarithm_of_the_softmax(structure, f):
    torch.manual_seed(0)
    u = 3 * torch.randn(50, 6, dtype=torch.float64)
    for t in (0.5, torch.linspace(0.3, 2, 50, dtype=torch.float64)):
        torch.testing.assert_close(structure.log_softmax(u, t, f).exp(), structure.softmax(u, t, f))


@EACH
def test_it_is_differentiable_twice(structure, f):
    torch.manual_seed(1)
    u = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda u, t: structure.log_softmax(u, t, f), (u, t))
    assert gradgradcheck(lambda u, t: structure.log_softmax(u, t, f), (u, t))


@pytest.mark.parametrize("f", [CATEGORICAL, BINARY], ids=repr)
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(
    "u",
    [
        [1e3, 5.0, 0.0, -2e3],
        [0.0, 0.0, -3e3, -3e3],
        [1e4, 7.0, -900.0, -1e4],
        [600.0, 590.0, 0.5, -9.0],
        [2e2, 1.0, 0.0, -1.0],
        [40.0, 30.0, 0.0, -2.0],
    ],
)
def test_cold_samples_have_exact_logarithms_and_gradients(f, k, u):
    scores = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    found = sst.KSubset(4, k).log_softmax(scores, 1.0, f)
    torch.testing.assert_close(found, torch.from_numpy(exact(u, k, f)), rtol=1e-12, atol=1e-12)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(found @ weights, scores)
    assert gradient.isfinite().all()
    if f is BINARY:  # that of categorical entropy has kinks, and these u are at some
        step = 1e-3 * np.eye(4)
        slopes = [(exact(u + e, k, f) - exact(u - e, k, f)) @ weights.numpy() / 2e-3 for e in step]
        torch.testing.assert_close(gradient, torch.tensor(slopes), rtol=1e-4, atol=1e-6)


@EACH
def test_absent_coordinates_are_minus_infinity_and_their_gradient_is_zero(structure, f):
    if isinstance(structure, sst.KSubset) and structure.k > 2:
        structure = sst.KSubset(6, 3)  # exactly as many as are present
    present = torch.tensor([True, False, True, False, True, False])
    u = torch.tensor([1.0, 5.0, -800.0, 2.0, 0.5, 9.0], requires_grad=True)
    found = structure.masked(present).log_softmax(u, 0.5, f)
    assert torch.equal(found == -torch.inf, ~present)
    (gradient,) = torch.autograd.grad(found[present].sum(), u)
    assert gradient.isfinite().all()
    assert not gradient[~present].any()
    torch.testing.assert_close(found, structure.log_softmax(u.masked_fill(~present, -torch.inf), 0.5, f))


@pytest.mark.parametrize(
    ("structure", "f"),
    [(sst.KSubset(4, 2), FAMILY), (sst.KSubset(4, 2), sst.Euclidean()), (sst.Matching(2), CATEGORICAL)],
)
def test_what_is_not_known_without_loss_is_refused(structure, f):
    with pytest.raises(sst.NoSolverError, match="expected OneHot, Subset or KSubset with an entropy of coordinates"):
        structure.log_softmax(torch.zeros(structure.event_shape), 1.0, f)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        sst.OneHot(3).log_softmax(torch.zeros(3), 0.0, FAMILY)

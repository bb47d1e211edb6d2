"""KL divergences are taken between utilities (App. D.4.2)."""

import pytest
import torch
from torch.distributions import Gumbel, kl_divergence

import sstricks as sst


def test_kl_between_gumbels():
    """KL(Gumbel(θ) ‖ Gumbel(0)) = θ + exp(-θ) - 1."""
    theta = torch.tensor([-1.0, 0.0, 0.3, 4.0], dtype=torch.float64)
    found = kl_divergence(Gumbel(theta, 1.0), Gumbel(torch.zeros_like(theta), 1.0))
    torch.testing.assert_close(found, theta + torch.exp(-theta) - 1)


def test_kl_is_taken_between_the_utilities_of_tricks():
    loc = torch.tensor([[0.5, -0.5, 1.0]], dtype=torch.float64)
    p = sst.StochasticSoftmaxTrick(sst.OneHot(3), Gumbel(loc, 1.0), 1.0, sst.ExponentialFamilyEntropy())
    q = sst.StochasticSoftmaxTrick(
        sst.OneHot(3), Gumbel(torch.zeros_like(loc), 1.0), 1.0, sst.ExponentialFamilyEntropy()
    )
    torch.testing.assert_close(kl_divergence(p.utility, q.utility), (loc + torch.exp(-loc) - 1).sum(-1))
    with pytest.raises(NotImplementedError, match="upper bound"):
        kl_divergence(p, q)


def test_kl_between_logistics_by_quadrature():
    z = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    for loc, scale in ((1.5, 1.0), (-0.5, 1.0)):
        p, q = sst.Logistic(torch.tensor(loc, dtype=torch.float64), scale), sst.Logistic(torch.zeros((), dtype=z.dtype))
        integrand = p.log_prob(z).exp() * (p.log_prob(z) - q.log_prob(z))
        torch.testing.assert_close(kl_divergence(p, q), torch.trapezoid(integrand, z), atol=1e-8, rtol=0)

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli

from sstricks.estimators import NVIL, MovingAverage, Reinforce

LOSSES = torch.tensor([3.0, -1.0, 4.0, 10.0], dtype=torch.float64)  # of the vertices 00, 01, 10, 11
VERTICES = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)


def exact_gradient(logits):
    """By enumeration of the four vertices."""
    probabilities = Bernoulli(logits=logits).log_prob(VERTICES).sum(-1).exp()
    return torch.autograd.grad((probabilities * LOSSES).sum(), logits)[0]


def expected_gradient(estimator, logits, *options):
    """The mean of the estimator's gradient over all vertices, weighted by their probabilities."""
    log_probs = Bernoulli(logits=logits).log_prob(VERTICES).sum(-1)
    total = torch.zeros_like(logits)
    for index in range(4):
        surrogate = estimator(log_probs[index : index + 1], LOSSES[index : index + 1], *options)
        (gradient,) = torch.autograd.grad(surrogate, logits, retain_graph=True)
        total += log_probs[index].exp().detach() * gradient
    return total


@pytest.fixture(name="logits")
def some_logits():
    return torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("past", [[], [5.0], [5.0, -40.0]])
def test_reinforce_is_unbiased_whatever_its_baseline(logits, past):
    estimator = Reinforce(decay=0.9).double()
    for loss in past:
        estimator.average.update(torch.tensor(loss, dtype=torch.float64))
    torch.testing.assert_close(expected_gradient(estimator.eval(), logits), exact_gradient(logits))


def test_nvil_is_unbiased_whatever_its_baseline(logits):
    torch.manual_seed(0)
    estimator = NVIL(nn.Linear(3, 1), decay=0.9).double()
    estimator.average.update(torch.tensor(7.0, dtype=torch.float64))
    features = torch.randn(1, 3, dtype=torch.float64)
    torch.testing.assert_close(expected_gradient(estimator.eval(), logits, features), exact_gradient(logits))


def test_the_loss_s_own_gradient_passes_through():
    parameter = torch.tensor(2.0, requires_grad=True)
    surrogate = Reinforce()(torch.zeros(4), parameter * torch.arange(4.0))
    surrogate.backward()
    assert parameter.grad.item() == pytest.approx(1.5)


def test_the_baseline_does_not_see_the_loss_it_is_subtracted_from():
    estimator = Reinforce(decay=0.5)
    log_prob = torch.zeros(1, requires_grad=True)
    (first,) = torch.autograd.grad(estimator(log_prob, torch.tensor([8.0])), log_prob)
    (second,) = torch.autograd.grad(estimator(log_prob, torch.tensor([10.0])), log_prob)
    assert (first.item(), second.item()) == (8, 2)


def test_evaluation_leaves_the_average_alone():
    estimator = Reinforce().eval()
    estimator(torch.zeros(2), torch.ones(2))
    assert estimator.average.value == 0


def test_nvil_fits_its_baseline_and_shrinks_the_variance():
    torch.manual_seed(0)
    estimator = NVIL(nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1)), decay=0.9)
    optimizer = torch.optim.Adam(estimator.parameters(), 0.02)
    features = torch.rand(256, 1)
    loss = 5 + 10 * features.squeeze(1)
    for _ in range(300):
        optimizer.zero_grad()
        estimator(torch.zeros(256), loss, features).backward()
        optimizer.step()
    residual = loss - estimator.average.value - estimator.baseline(features).squeeze(1)
    assert residual.square().mean() < 0.02 * loss.var()


def test_the_average_is_corrected_for_its_start():
    average = MovingAverage(0.99)
    for _ in range(3):
        average.update(torch.full((5,), 4.0))
    assert average.value.item() == pytest.approx(4)


def test_an_empty_batch_leaves_the_average_alone():
    average = MovingAverage(0.5)
    average.update(torch.zeros(0))
    assert average.value == 0
    average.update(torch.tensor([3.0]))
    average.update(torch.zeros(0, 4))
    assert average.value == 3


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="decay: found 1, expected a number in"):
        MovingAverage(1)
    with pytest.raises(ValueError, match="decay: found 'half', a str, expected a number in"):
        Reinforce("half")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"loss: found dtype torch\.int64, expected a floating dtype"):
        Reinforce()(torch.zeros(2), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"loss: found shape \(3, 2\), expected that of log_prob, \(3,\)"):
        Reinforce()(torch.zeros(3), torch.zeros(3, 2))
    for outputs in (2, 3):
        with pytest.raises(ValueError, match=rf"baseline: found shape \(3, {outputs}\) for a loss of shape \(3,\)"):
            NVIL(nn.Linear(4, outputs))(torch.zeros(3), torch.zeros(3), torch.zeros(3, 4))

"""What a utility does not know, since its base does not, it says in words."""

import pytest
import torch
from torch.distributions import Distribution, Gamma, Independent, Poisson, StudentT

import sstricks as sst

MASK = torch.tensor([True, False, True])
HALF = torch.tensor(0.5)


def masked(base: Distribution) -> sst.Masked:
    return sst.Masked(base, MASK)


def chain(unary: Distribution) -> sst.ChainUtility:
    return sst.ChainUtility(unary, torch.zeros(2))


GAMMA, POISSON, STUDENT = Gamma(torch.ones(3), 2.0), Poisson(torch.ones(3)), StudentT(torch.full((3,), 5.0))
UNKNOWN = {
    "icdf: not known for Gamma": lambda: masked(GAMMA).icdf(HALF),
    "cdf: not known for StudentT": lambda: masked(STUDENT).cdf(HALF),
    "entropy: not known for Poisson": lambda: masked(POISSON).entropy(),
    "entropy: not known for Independent": lambda: chain(POISSON).entropy(),
    "rsample: Poisson": lambda: masked(POISSON).rsample(),
    "rsample: Independent": lambda: chain(Independent(POISSON, 1)).rsample(),
    "cdf: a sample of ChainUtility is more than one number": lambda: chain(GAMMA).cdf(HALF),
    "icdf: a sample of Sorting is more than one number": lambda: sst.Sorting(torch.zeros(3)).icdf(HALF),
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_it_says_what_is_not_known_and_what_to_use(words: str):
    with pytest.raises(NotImplementedError, match=rf"{words}.*(samples?|cdf of its coordinates)"):
        UNKNOWN[words]()


def test_what_the_base_knows_is_given():
    present, absent = MASK.nonzero()[0], (~MASK).nonzero()[0]
    for moment in (lambda d: d.mean, lambda d: d.mode, lambda d: d.variance, lambda d: d.entropy(), lambda d: d.stddev):
        assert torch.equal(moment(masked(GAMMA))[present], moment(GAMMA)[present])
    assert torch.equal(masked(GAMMA).cdf(torch.ones(3))[present], GAMMA.cdf(torch.ones(3))[present])
    assert masked(GAMMA).cdf(torch.ones(3))[absent] == 1
    assert masked(GAMMA).mode[absent] == -torch.inf
    assert torch.equal(chain(GAMMA).mode, torch.cat([GAMMA.mode, torch.zeros(2)]))
    assert torch.equal(chain(GAMMA).entropy(), GAMMA.entropy().sum())

"""The distributions of the library, one line each; tests/test_distribution_contract.py holds what all of them keep."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel

import sstricks as sst
from sstricks.distributions import PlackettLuceRanking, PlackettLuceSubset


@dataclass(frozen=True)
class Instance:
    """One distribution, as a function of a tensor of real parameters.

    Attributes:
        build: The distribution of parameters of shape (*batch, *shape).
        shape: That of the parameters of one example.
        bad: The distribution with invalid arguments and with this `validate_args`, if it takes that.
        smooth: Whether the gradient of `rsample` is the derivative of its value.
    """

    build: Callable[[Tensor], Distribution]
    shape: tuple[int, ...] = ()
    bad: Callable[[bool | None], Distribution] | None = None
    smooth: bool = True

    def parameters(self, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        return torch.randn((*batch, *self.shape), dtype=dtype, generator=torch.Generator().manual_seed(seed))

    def distribution(self, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Distribution:
        return self.build(self.parameters(*batch, dtype=dtype, seed=seed))

    def __str__(self) -> str:
        return type(self.distribution()).__name__


NAN = torch.tensor([torch.nan, 0.0, 1.0])
MASK = torch.tensor([True, False, True, True])
ONE_HOT, MASKED, SUBSET, PAIRS = sst.OneHot(4), sst.OneHot(4, mask=MASK), sst.Subset(4), sst.KSubset(4, 2)
MATCHING, TREES, ROOTED = sst.Matching(3), sst.SpanningTree.complete(4), sst.Arborescence.complete(3)
FAMILY = sst.ExponentialFamilyEntropy()


# Structures with a utility under which the law of the argmax is known, and one under which it is not.
TRICKS: list[tuple[Callable[[Tensor], tuple[sst.Structure, Distribution]], tuple[int, ...]]] = [
    (lambda a: (ONE_HOT, sst.Gumbel(a)), (4,)),
    (lambda a: (MASKED, Gumbel(a, torch.full_like(a, 0.5), validate_args=False)), (4,)),
    (lambda a: (SUBSET, sst.Logistic(a, 2.0)), (4,)),
    (lambda a: (PAIRS, sst.Masked(sst.NegativeExponential(a.exp()), MASK)), (4,)),
    (lambda a: (MATCHING, sst.Sorting(a)), (3,)),
    (lambda a: (TREES, sst.Gumbel(a)), (6,)),
]


def softmax_trick(structure: sst.Structure, utility: Distribution) -> sst.StochasticSoftmaxTrick:
    regularizer = sst.BinaryEntropy() if isinstance(structure, sst.Subset | sst.Matching) else FAMILY
    return sst.StochasticSoftmaxTrick(structure, utility, 0.7, regularizer)


INSTANCES = [
    Instance(lambda a: sst.Gumbel(a, a.exp()), bad=lambda v: sst.Gumbel(NAN, validate_args=v)),
    Instance(lambda a: sst.Logistic(a, a.exp()), bad=lambda v: sst.Logistic(NAN, validate_args=v)),
    Instance(lambda a: sst.NegativeExponential(a.exp()), bad=lambda v: sst.NegativeExponential(NAN, validate_args=v)),
    Instance(lambda a: sst.Masked(sst.Gumbel(a), MASK), (4,)),
    Instance(
        lambda a: sst.ChainUtility(sst.Gumbel(a[..., :3]), a[..., 3:]),
        (5,),
        bad=lambda v: sst.ChainUtility(sst.Gumbel(torch.zeros(4)), NAN, validate_args=v),
    ),
    Instance(sst.Sorting, (3,), bad=lambda v: sst.Sorting(NAN, validate_args=v)),
    Instance(lambda a: sst.ExponentialFamily(PAIRS, a), (4,)),
    Instance(lambda a: sst.ExponentialFamily(ROOTED, a), (4,)),
    Instance(lambda a: PlackettLuceSubset(PAIRS, a), (4,)),
    Instance(lambda a: PlackettLuceRanking(MATCHING, a), (3,)),
    *[Instance(lambda a, build=build: sst.StochasticArgmaxTrick(*build(a)), shape) for build, shape in TRICKS],
    *[Instance(lambda a, build=build: softmax_trick(*build(a)), shape) for build, shape in TRICKS],
    *[
        Instance(lambda a, build=build: sst.StraightThrough(softmax_trick(*build(a))), shape, smooth=False)
        for build, shape in TRICKS
    ],
]


def classes() -> set[type[Distribution]]:
    """Every distribution that is defined in the library, but those from which others there are derived."""
    found = set()
    for module in pkgutil.walk_packages(sst.__path__, "sstricks."):
        if not module.name.startswith("sstricks.recipes") and module.name != "sstricks.__main__":
            items = vars(importlib.import_module(module.name)).values()
            found |= {item for item in items if isinstance(item, type) and issubclass(item, Distribution)}
    mine = {cls for cls in found if cls.__module__.startswith("sstricks.")}
    return {cls for cls in mine if not any(issubclass(other, cls) for other in mine - {cls})}

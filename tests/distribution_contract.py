"""The distributions of the library, one line each; tests/test_distribution_contract.py holds what all of them keep."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Distribution

import sstricks as sst


@dataclass(frozen=True)
class Instance:
    """One distribution, as a function of a tensor of real parameters.

    Attributes:
        build: The distribution of parameters of shape (*batch, *shape).
        shape: That of the parameters of one example.
        bad: The distribution with invalid arguments and with this `validate_args`, if it takes that.
        smooth: Whether the gradient of `rsample` is the derivative of its value.
        pending: Properties that it does not have yet, by the names of their tests without `test_`.
    """

    build: Callable[[Tensor], Distribution]
    shape: tuple[int, ...] = ()
    bad: Callable[[bool | None], Distribution] | None = None
    smooth: bool = True
    pending: frozenset[str] = field(default_factory=frozenset)

    def parameters(self, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        return torch.randn((*batch, *self.shape), dtype=dtype, generator=torch.Generator().manual_seed(seed))

    def distribution(self, *batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Distribution:
        return self.build(self.parameters(*batch, dtype=dtype, seed=seed))

    def __str__(self) -> str:
        return type(self.distribution()).__name__


NAN = torch.tensor([torch.nan, 0.0, 1.0])
SUBSETS = sst.KSubset(4, 2)
MASK = torch.tensor([True, False, True, True])
TRICKS = frozenset({"expand_keeps_subclasses", "moments_are_known_or_say_what_to_use", "distribution_function"})
VERTICES = TRICKS | {"vmap_of_log_prob"}


def softmax_trick(a: Tensor) -> sst.StochasticSoftmaxTrick:
    return sst.StochasticSoftmaxTrick(SUBSETS, sst.Gumbel(a), 0.7, sst.ExponentialFamilyEntropy())


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
    Instance(
        lambda a: sst.StochasticArgmaxTrick(SUBSETS, sst.Gumbel(a)),
        (4,),
        pending=VERTICES | {"rsample_follows_the_seed"},
    ),
    Instance(softmax_trick, (4,), pending=TRICKS),
    Instance(lambda a: sst.StraightThrough(softmax_trick(a)), (4,), smooth=False, pending=VERTICES),
]


def classes() -> set[type[Distribution]]:
    """Every distribution that is defined in the library, but those from which others there are derived."""
    found = set()
    for module in pkgutil.walk_packages(sst.__path__, "sstricks."):
        if not module.name.startswith("sstricks.experiments") and module.name != "sstricks.__main__":
            items = vars(importlib.import_module(module.name)).values()
            found |= {item for item in items if isinstance(item, type) and issubclass(item, Distribution)}
    mine = {cls for cls in found if cls.__module__.startswith("sstricks.")}
    return {cls for cls in mine if not any(issubclass(other, cls) for other in mine - {cls})}

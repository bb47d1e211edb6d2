"""The built-in problems of `sst diagnose`: small structures, utilities with random parameters, random losses."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel, Normal
from torch.nn.functional import softplus

import sstricks as sst
from sstricks.diagnosis import Loss
from sstricks.experiments.runs.seeds import generator_of

StructureName = Literal[
    "one-hot",
    "subset",
    "k-subset",
    "chain-k-subset",
    "matching",
    "spanning-tree",
    "arborescence",
    "projective-arborescence",
]
UtilityName = Literal["gumbel", "logistic", "normal", "negative-exponential"]
RegularizerName = Literal["euclidean", "categorical", "binary", "exponential-family"]
LossName = Literal["rebar", "quadratic", "network"]

_STRUCTURES: dict[StructureName, Callable[[int, int], sst.Structure]] = {
    "one-hot": lambda n, k: sst.OneHot(n),
    "subset": lambda n, k: sst.Subset(n),
    "k-subset": sst.KSubset,
    "chain-k-subset": sst.ChainKSubset,
    "matching": lambda n, k: sst.Matching(n),
    "spanning-tree": lambda n, k: sst.SpanningTree.complete(n),
    "arborescence": lambda n, k: sst.Arborescence.complete(n),
    "projective-arborescence": lambda n, k: sst.ProjectiveArborescence(n),
}
_UTILITIES: dict[UtilityName, Callable[[Tensor], Distribution]] = {
    "gumbel": lambda theta: Gumbel(theta, 1.0),
    "logistic": sst.Logistic,
    "normal": lambda theta: Normal(theta, 1.0),
    "negative-exponential": lambda theta: sst.NegativeExponential(softplus(theta)),
}
_REGULARIZERS: dict[RegularizerName, Callable[[], sst.Regularizer]] = {
    "euclidean": sst.Euclidean,
    "categorical": sst.CategoricalEntropy,
    "binary": sst.BinaryEntropy,
    "exponential-family": sst.ExponentialFamilyEntropy,
}


def make_trick(
    structure: StructureName, n: int, k: int, utility: UtilityName, regularizer: RegularizerName, seed: int
) -> sst.StochasticSoftmaxTrick:
    """A trick whose parameters θ are standard normal; the rates of exponentials are softplus(θ).

    Args:
        structure: 𝒳.
        n: its size: elements, or nodes.
        k: how many are chosen, where that is fixed.
        utility: U.
        regularizer: f.
        seed: of θ.

    Raises:
        ValueError: the size does not fit, or there is no solver for the pair.
    """
    built = _STRUCTURES[structure](n, k)
    generator = generator_of(seed)
    theta = torch.randn(built.event_shape, dtype=torch.float64, generator=generator).requires_grad_()
    return sst.StochasticSoftmaxTrick(built, _UTILITIES[utility](theta), 1.0, _REGULARIZERS[regularizer]())


def make_loss(name: LossName, size: int, seed: int) -> Loss:
    """A loss on the coordinates of embeddings.

    Args:
        name: rebar: ‖x − 0.49‖², the toy of Tucker et al. (2017); on vertices it is linear. quadratic: (x − c)ᵀA(x − c)
            with a random c in the cube and a random A ⪰ 0, which couples the coordinates. network: a random network
            with one hidden layer.
        size: how many coordinates an embedding has.
        seed: of what is random in it.

    Returns:
        The loss, from (samples, *event_shape) to (samples,).
    """
    loss = _loss_of_vectors(name, size, seed)
    return lambda x: loss(x.flatten(1))


def _loss_of_vectors(name: LossName, size: int, seed: int) -> Loss:
    generator = generator_of(seed + 1)
    if name == "rebar":
        return lambda x: (x - 0.49).square().sum(-1)
    center = torch.rand(size, dtype=torch.float64, generator=generator)
    weight = torch.randn(2 * size, size, dtype=torch.float64, generator=generator)
    if name == "quadratic":
        return lambda x: ((x - center) @ weight.T).square().sum(-1) / (2 * size)
    out = torch.randn(2 * size, dtype=torch.float64, generator=generator)
    return lambda x: torch.tanh((x - center) @ weight.T) @ out

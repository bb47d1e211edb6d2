"""What the field guide shows: one exhibit for each structure."""

import math

import torch
from torch import Tensor
from torch.distributions import Gumbel

import sstricks as sst
from sstricks.experiments.field_guide.arcs import Arcs
from sstricks.experiments.field_guide.bars import Bars
from sstricks.experiments.field_guide.bipartite import Bipartite
from sstricks.experiments.field_guide.exhibit import Exhibit
from sstricks.experiments.field_guide.graph import Graph
from sstricks.experiments.field_guide.lattice import best_paths, lattice
from sstricks.experiments.field_guide.sentence import Sentence

_FAMILY = sst.ExponentialFamilyEntropy()
_WAYS = ("bus", "tram", "bicycle", "taxi", "on foot")
_THINGS = ("umbrella", "gloves", "sunglasses", "scarf", "camera")
_LOG_ODDS = (0.5, -2.5, 1.0, -2.0, 0.0)
_REVIEW = ("pours", "a", "deep", "amber", "with", "a", "sweet", "malty", "nose", "and", "a", "dry", "finish")
_PEOPLE, _TASKS = ("Ada", "Ben", "Cleo", "Dan", "Eve"), ("cook", "wash", "shop", "sweep", "rest")
_PARSED = ("root", "she", "reads", "old", "maps", "daily")
_HEADS = (2, 0, 4, 2, 2)


def all_exhibits() -> tuple[Exhibit, ...]:
    """One for each structure, in the order of the guide."""
    return (
        _exhibit("one-hot", sst.OneHot(5), Bars(_WAYS)),
        Exhibit("subset", _trick(sst.Subset(5), sst.Logistic(torch.tensor(_LOG_ODDS))), Bars(_THINGS)),
        _exhibit("k-subset", sst.KSubset(len(_REVIEW), 4), Sentence(_REVIEW)),
        _chain(),
        _matching(),
        _spanning_tree(),
        _arborescence(),
        _projective(),
        _paths(),
    )


def _trick(structure: sst.Structure, utility: torch.distributions.Distribution) -> sst.StochasticSoftmaxTrick:
    return sst.StochasticSoftmaxTrick(structure, utility, 1.0, _FAMILY)


def _gumbel(structure: sst.Structure) -> Gumbel:
    return Gumbel(torch.zeros(structure.event_shape, dtype=torch.float64), 1.0)


def _exhibit(name: str, structure: sst.Structure, picture: Bars | Sentence | Graph | Arcs) -> Exhibit:
    return Exhibit(name, _trick(structure, _gumbel(structure)), picture)


def _chain() -> Exhibit:
    n = len(_REVIEW)
    utility = sst.ChainUtility(Gumbel(torch.zeros(n, dtype=torch.float64), 1.0), torch.full((n - 1,), 1.5).double())
    return Exhibit("chain-k-subset", _trick(sst.ChainKSubset(n, 4), utility), Sentence(_REVIEW))


def _matching() -> Exhibit:
    matching = sst.Matching(5)
    trick = sst.StochasticSoftmaxTrick(matching, _gumbel(matching), 1.0, sst.CategoricalEntropy())
    return Exhibit("matching", trick, Bipartite(_PEOPLE, _TASKS))


def _spanning_tree() -> Exhibit:
    trees = sst.SpanningTree.complete(7)
    return _exhibit("spanning-tree", trees, Graph(trees.edges, _circle(7), "ABCDEFG"))


def _arborescence() -> Exhibit:
    trees = sst.Arborescence.complete(6)
    picture = Graph(trees.edges, _circle(6), "rABCDE", directed=True, bend=0.13, ends=frozenset({0}))
    return _exhibit("arborescence", trees, picture)


def _projective() -> Exhibit:
    trees = sst.ProjectiveArborescence(len(_PARSED))
    heads, dependents = trees.edges
    gold = torch.tensor([-1, *_HEADS])[dependents] == heads
    utility = Gumbel(2 * gold.double(), 1.0)  # so that the parse makes some sense
    return Exhibit("projective-arborescence", _trick(trees, utility), Arcs(trees.edges, _PARSED))


def _paths() -> Exhibit:
    edges, places = lattice(4)
    paths = sst.LinearOracle(lambda u: best_paths(u, edges), (edges.shape[1],))
    trick = sst.StochasticSoftmaxTrick(paths, _gumbel(paths), 1.0, sst.Euclidean(), solver=sst.FrankWolfe())
    names = ["A", *[""] * (len(places) - 2), "B"]
    picture = Graph(edges, places, names, directed=True, ends=frozenset({0, len(places) - 1}))
    return Exhibit("linear-oracle", trick, picture)


def _circle(n: int) -> Tensor:
    """Places on a circle, the first on top."""
    angle = torch.arange(n).double() * (2 * math.pi / n)
    return torch.stack([angle.sin(), angle.cos()], -1)

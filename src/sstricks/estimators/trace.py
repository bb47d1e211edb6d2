r"""The choices by which an argmax is found, as the action of a score function (Struminsky et al. 2021).

All utilities here are decreasing functions of independent exponential times :math:`E_e` of rates
:math:`\lambda_e = e^{\theta_e}`: −E itself, or −log E, which is Gumbel. The argmax is found by *races*. In a race of
the elements of a set V the first is chosen, and its time is subtracted from the others':

- its winner is w with probability :math:`\lambda_w / \Lambda_V`, where :math:`\Lambda_V = \sum_{e \in V} \lambda_e`;
- its time, the smallest, is exponential of rate :math:`\Lambda_V`;
- what the others have left is exponential of their old rates, as if nothing had happened;

and these are independent. So the next races are again of exponential times, the law of all winners, the *trace*, is a
product, and the times can be drawn once more given the trace: E is the sum of the times of all races that e took part
in, and of what it had left after the last one if it lost that.

**Kruskal, the k largest, rankings.** All elements that may still be added race, again and again. The order of the times
is all that matters, so that Gumbel utilities do as well.

**Chu–Liu–Edmonds.** At every node but the root the edges that enter it race. Where the winners make a cycle, it is
contracted to a node, and the edges that enter the cycle race with what they have left; they are losers all, since the
winners are inside. Trees are of smallest sum of times, so utilities are −E: with −log E one would subtract other
numbers, which leave no exponentials.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Gumbel

from sstricks import utilities
from sstricks.errors import invalid
from sstricks.estimators.estimator import Law
from sstricks.functional import from_working, to_working
from sstricks.functional.arborescence import best_of_each, cycles
from sstricks.ops.noise import standard_exponential
from sstricks.ops.operator import is_readable
from sstricks.structures import Arborescence, KSubset, Matching, OneHot, SpanningTree
from sstricks.structures.structure import Structure
from sstricks.tricks.known_law import coordinates, log_weights
from sstricks.tricks.trick import Trick
from sstricks.utilities import NegativeExponential, Sorting

_NEEDED = "that of OneHot, KSubset or SpanningTree with Gumbel or NegativeExponential utilities, Arborescence with "
_NEEDED += "NegativeExponential and without single_root, or Matching with Sorting utilities and without a mask"
_INSTEAD = "For an Arborescence pass utility=lambda theta: sst.NegativeExponential(theta.exp()); elsewhere take the "
_INSTEAD += "utility as the action of a ScoreFunction."


def check_has_trace(argument: str, structure: Structure, law: Law) -> None:
    """Raise unless there is a trace of known law, as far as this can be said before `law` is given its parameters."""
    order = isinstance(structure, OneHot | KSubset | SpanningTree)
    contracts = isinstance(structure, Matching) or _contracts(structure)
    if not (order or (contracts and law is not utilities.Gumbel)):
        raise _unknown(argument, structure, law)


def _contracts(structure: Structure) -> bool:
    """Whether the argmax is that of races whose losers are left as they were: without edges that wait for others."""
    return isinstance(structure, Arborescence) and not structure.single_root


class Clocks(NamedTuple):
    """A random utility as a function of independent exponential times.

    Attributes:
        structure: Whose argmax the races find; subsets in order if it is the order that matters.
        log_rate: θ, shape (*batch, n), −∞ for what is absent.
        raced: From utilities to what is raced for, the largest first, shape (*sample, *batch, n).
        utility: From the logarithms of times, (*sample, *batch, n), to utilities.
    """

    structure: Structure
    log_rate: Tensor
    raced: Callable[[Tensor], Tensor]
    utility: Callable[[Tensor], Tensor]

    def trace(self, u: Tensor) -> "Trace":
        """The trace of utilities, shape (*sample, *batch, *event)."""
        return Trace(self.structure, self.log_rate, self.raced(u))


def clocks_of(trick: Trick) -> Clocks:
    """The times that the utility of a trick is made of.

    Raises:
        ValueError: It is made of none that find the argmax by races.
    """
    base, mask = coordinates(trick.utility)

    def present(log_rate: Tensor) -> Tensor:
        return log_rate if mask is None else log_rate.masked_fill(~mask, -torch.inf)

    match trick.structure, base:
        case (OneHot() | KSubset(k=int()) | SpanningTree()) as s, Gumbel():
            return Clocks(s, present(log_weights(base)), lambda u: u, lambda t: -base.scale * t)
        case (
            OneHot() | KSubset(k=int()) | SpanningTree() | Arborescence(single_root=False)
        ) as s, NegativeExponential():
            return Clocks(s, present(log_weights(base)), lambda u: u, lambda t: -t.exp())
        case Matching(partial=False, mask=None, n=n, m=m), Sorting() if mask is None:
            return Clocks(KSubset(m, n), base.scores, base.scores_of, lambda t: base.table(-t))
    raise _unknown("utility", trick.structure, base)


def _unknown(argument: str, structure: Structure, utility: Distribution | Law) -> ValueError:
    name = getattr(utility, "__name__", type(utility).__name__)
    return invalid(argument, f"a trace of {structure!r} with {name} utilities", _NEEDED, _INSTEAD)


class Race(NamedTuple):
    """Races at the same time, of disjoint sets of elements.

    Attributes:
        group: In which each element takes part, shape (*batch, n); `most` if in none.
        won: Which elements won theirs, shape (*batch, n).
        most: How many races there are at most.
    """

    group: Tensor
    won: Tensor
    most: int


class Trace:
    r"""The winners of the races that find the argmax of u, their log-probability, and other utilities that have them.

    .. math:: \log p(T) = \sum_{\text{races } V} \Big( \theta_{w(V)} - \log \sum_{e \in V} \exp \theta_e \Big)

    Args:
        structure: A `OneHot`, `KSubset`, `SpanningTree` or `Arborescence`.
        theta: θ, the logarithms of the rates of the times, shape (*batch, n).
        u: Utilities, shape (*sample, *batch, n); for an `Arborescence` the negative times.

    Raises:
        ValueError: The structure is another.

    Attributes:
        log_prob: Shape (*sample, *batch), differentiable in θ.

    Example:
        >>> from sstricks.estimators.trace import Trace
        >>> Trace(sst.KSubset(3, 2), torch.zeros(3), torch.tensor([3.0, 2.0, 1.0])).log_prob.exp()
        tensor(0.1667)
    """

    def __init__(self, structure: Structure, theta: Tensor, u: Tensor) -> None:
        if not (isinstance(structure, OneHot | KSubset | SpanningTree) or _contracts(structure)):
            raise invalid("structure", repr(structure), _NEEDED, _INSTEAD)
        self._dtype = theta.dtype
        theta, u = torch.broadcast_tensors(to_working(theta), to_working(u.detach()))
        self._there = theta > -torch.inf
        self._theta = torch.where(self._there, theta, 0.0)  # finite, so that no derivative is NaN
        free = self._there
        if structure.mask is not None:
            free = free & structure.placed("mask", u.device)
        if isinstance(structure, Arborescence):
            races = _contractions(structure, u, free)
        else:
            races = _one_by_one(structure, u, free)
        # Each with the logarithm of Λ, at every element of the race.
        self._races = [(race, _log_sums(self._theta, race)) for race in races]
        each = [torch.where(race.won, self._theta - total, 0.0) for race, total in self._races]
        self.log_prob = from_working(sum(each, 0.0 * self._theta).sum(-1), self._dtype)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Logarithms of times given the trace, shape (*sample, *batch, n), differentiable in θ; +∞ for absent elements.

        Args:
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        parts, lost = [], self._there
        for race, total in self._races:
            noise = standard_exponential(total, torch.Size((*total.shape[:-1], race.most + 1)), generator).log()
            parts.append(torch.where(race.group < race.most, noise.gather(-1, race.group) - total, -torch.inf))
            lost = lost & ~race.won
        left = standard_exponential(self._theta, self._theta.shape, generator).log() - self._theta
        parts.append(torch.where(lost, left, -torch.inf))
        time = torch.where(self._there, torch.stack(parts), 0.0).logsumexp(0)
        return from_working(torch.where(self._there, time, torch.inf), self._dtype)


def _log_sums(theta: Tensor, race: Race) -> Tensor:
    """The logarithm of Σ exp θ over its race, at each element."""
    shape = (*theta.shape[:-1], race.most + 1)
    largest = theta.new_full(shape, -torch.inf).scatter_reduce(-1, race.group, theta.detach(), "amax")
    largest = largest.gather(-1, race.group)
    sums = theta.new_zeros(shape).scatter_add(-1, race.group, (theta - largest).exp())
    return largest + sums.gather(-1, race.group).log()


def _one_by_one(structure: Structure, u: Tensor, free: Tensor) -> Iterator[Race]:
    """The greedy algorithm: one race at a time, of all elements that can still be added."""
    index = torch.arange(u.shape[-1], device=u.device)
    trees = structure if isinstance(structure, SpanningTree) else None
    steps = trees.num_nodes - 1 if trees else structure.k if isinstance(structure, KSubset) else 1
    component = torch.arange(steps + 1, device=u.device).expand(*u.shape[:-1], -1)  # of each node
    for _ in range(steps):
        best = torch.where(free, u, -torch.inf).argmax(-1, keepdim=True)
        won = free & (index == best)
        yield Race((~free).long(), won, 1)
        if trees is None:
            free = free & ~won
        else:
            edges = trees.placed("edges", u.device)
            old, new = (component.gather(-1, ends[best]) for ends in edges)
            component = torch.where((component == old) & won.any(-1, keepdim=True), new, component)
            free = free & (component[..., edges[0]] != component[..., edges[1]])


def _contractions(structure: Arborescence, u: Tensor, free: Tensor) -> Iterator[Race]:
    """The algorithm of Chu, Liu and Edmonds: level by level, the cycles of the winners are contracted to nodes."""
    edges, root, count = structure.placed("edges", u.device), structure.root, structure.num_nodes
    index = torch.arange(u.shape[-1], device=u.device)
    nodes = torch.arange(count, device=u.device).expand(*u.shape[:-1], -1)
    # The node that stands for the contracted cycle of each node, those that race, and what each has drawn so far.
    label, drawn = nodes, torch.zeros_like(nodes)
    entered = pending = torch.zeros_like(nodes).scatter_add(-1, edges[1].expand(free.shape), free.long()) > 0
    for _ in range(count - 1):  # as many contractions as there can be, and one more
        from_label, to_label = label[..., edges[0]], label[..., edges[1]]
        racing = free & (from_label != to_label) & pending.gather(-1, to_label)
        group = torch.where(racing, to_label, count)
        best = best_of_each(torch.where(racing, u, -torch.inf), group, count + 1)
        yield Race(group, racing & (best.gather(-1, group) == index), count)
        u = torch.where(racing, u - u.gather(-1, best.clamp(min=0)).gather(-1, group), u)
        drawn = torch.where(pending, best[..., :-1].clamp(min=0), drawn)
        parent = torch.where(entered & (label == nodes), from_label.gather(-1, drawn), root)
        on_cycle, least = cycles(parent, nodes)
        on_cycle[..., root] = False
        label = torch.where(on_cycle, least, nodes).gather(-1, label)
        pending = on_cycle
        if is_readable(pending) and not pending.any():
            return

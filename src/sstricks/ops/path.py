r"""The exponential family of the paths of an acyclic graph, p(x) ∝ exp(uᵀx): log Z, marginals, derivative, samples.

Let :math:`\beta_v` be the weight of all paths from node v to the sink. With :math:`w_e = e^{u_e}`, over the edges e
from v to any :math:`h_e`,

.. math:: \beta_v = \sum_e w_e \beta_{h_e}, \quad c_e = w_e \beta_{h_e} / \beta_v, \quad \beta_\mathrm{sink} = 1

and Z is the source's. Weights are kept as mantissa and exponent, so that every share c, the probability that a path
which is at v goes on by e, has all its digits whatever the range of the utilities. The shares are a Markov chain,
already normalised: the probability α of being at a node is carried from the source to the sink,

.. math:: x_e = \alpha_v c_e, \quad \alpha_h = \sum_{e : h_e = h} x_e, \quad \alpha_\mathrm{source} = 1.

No logarithm is taken and nothing is subtracted. All of it is O(E) (forward–backward; Rabiner 1989).

**Derivative** in the direction g, along with the above. Let :math:`b_v = d \log \beta_v`, the expected sum of g over
what is still to come. With the gain :math:`a_e = g_e + b_{h_e}` of an edge,

.. math:: b_v = \sum_e c_e a_e, \quad dc_e = c_e (a_e - b_v), \quad dx_e = d\alpha_v\, c_e + \alpha_v\, dc_e,
          \quad d\alpha_h = \sum_{e : h_e = h} dx_e.

The Jacobian is the covariance matrix, hence symmetric: the backward pass is this derivative in the direction of the
incoming gradient.

**Samples** walk from the source and draw every edge from the shares of the node they are at. **The best path** is the
chain of shares that are 0 or 1, with max for +. Of paths that are equally good, the one is chosen that has the first
edge, in the order of the edge list, of those that not both have. Two paths that go on from different nodes in the best
way share all edges from the first node that they have in common, and none before it.

**Schedule.** A node's level is the number of edges of its longest path to the sink. Nodes are renumbered level by
level, and edges are sorted by the node that they leave, so that every edge leads to a lower number: kernels go through
the edges in this order, what runs on a device goes level by level. A schedule is one tensor, int64 (7, E + 1):

- row 0: the edges in this order, first the F edges that are on some path, then the others;
- rows 1 and 2: the numbers of the nodes that the F edges leave and enter;
- row 3: the place of every edge in row 0;
- row 4: where in row 0 each level's edges begin, from level 1 on, and F;
- row 5: with which number each level's nodes begin, from level 1 on, and the number of nodes;
- row 6: the lowest node that the edges of each level, or of any level above it, enter.

Its last column holds, in rows 0 to 3: whether indices decrease anywhere along a path, the number of levels above the
sink, F, and the sink.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sstricks.errors import invalid, invalid_rows
from sstricks.ops.density import differentiable
from sstricks.ops.gradients import attach_gradients, attach_no_gradient
from sstricks.ops.numbers import LN2, Number, exponential, nothing
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.threads import over_rows

_WORD = 62  # how many edges the bits of a number tell apart


@operator("sstricks::path_schedule", core=(2, 2), output_core=2, waits=True)
def schedule(frame: Tensor, edges: Tensor, source: int, sink: int) -> Tensor:
    """The schedule of a graph, shape (7, E + 1), on the CPU.

    Args:
        frame: Shape (7, E + 1); only this shape matters.
        edges: Where every edge leads from and to, int64, shape (2, E), E ≥ 1, on the CPU.
        source: The node that paths begin at.
        sink: The node that they end at; −1 is the highest number of all.

    Raises:
        ValueError: Node numbers have gaps, the two nodes are none of them or the same, there is a cycle, or no path.
    """
    from sstricks.ops.kernels.path import schedule as kernel

    count = edges.shape[-1]
    out = torch.zeros_like(frame)
    for ends, row in zip(edges.reshape(-1, 2, count), out.reshape(-1, 7, count + 1), strict=True):
        low, high = map(int, ends.aminmax())
        if low < 0 or high >= 2 * count:
            raise invalid(
                "edges",
                f"node numbers from {low} to {high}",
                f"0 to num_nodes - 1, of at most {2 * count} nodes that {count} edges can touch",
                "Number the nodes from 0, without gaps.",
            )
        last = high if sink < 0 else sink
        for argument, node in (("source", source), ("sink", last)):
            if node > high:
                raise invalid(argument, str(node), f"an integer from 0 to num_nodes - 1 = {high}", "Name a node.")
        if source == last:
            raise invalid("source", f"node {source}, which is the sink", "another node", "A path needs an edge.")
        cycle = kernel(ends.contiguous().numpy(), high + 1, source, last, row.numpy())
        if cycle >= 0:
            raise invalid("edges", f"a cycle through node {cycle}", "a graph without cycles", "Leave an edge out.")
        if row[2, -1] == 0:
            raise invalid(
                "edges", f"no path from node {source} to node {last}", "at least one", "Name another source or sink."
            )
    return out


def frame_of(edges: Tensor) -> Tensor:
    """What `schedule` takes, beside these edges."""
    return edges.new_empty(7, edges.shape[-1] + 1)


class _Level(NamedTuple):
    first: int  # its edges
    last: int
    start: int  # its nodes
    stop: int
    low: int


def _levels(plan: Tensor) -> list[_Level]:
    """The levels above the sink, from a schedule on the CPU."""
    edges, nodes, lows = plan[4:, : depth_of(plan) + 1].tolist()
    return [_Level(*level) for level in zip(edges, edges[1:], nodes, nodes[1:], lows, strict=False)]


def depth_of(plan: Tensor) -> int:
    """The number of levels above the sink, which no path has more edges than."""
    return int(plan[1, -1])


class _Graph:
    """A schedule on the device of the utilities, and what only the CPU can tell of it."""

    def __init__(self, graph: Tensor, plan: Tensor) -> None:
        self.used, self.size = int(plan[2, -1]), graph.shape[1] - 1
        self.words = -(-self.size // _WORD) if plan[0, -1] else 0
        self.order, self.tail, self.head = graph[:3, : self.used]
        self.place = graph[3, :-1]
        self.levels = _levels(plan)

    def sorted(self, u: Tensor) -> Tensor:
        """What the edges on some path have, in the order of the schedule."""
        return u.index_select(-1, self.order)

    def unsorted(self, x: Tensor) -> Tensor:
        """The same way back; 0 for the other edges."""
        return pad(x, (0, self.size - self.used)).index_select(-1, self.place)

    def upwards(self) -> Iterator[tuple[_Level, Tensor, Tensor, int]]:
        """Every level from the sink on, the places of its edges' two ends, and what can be forgotten before it.

        Tails are counted from the level's first node on, heads from `low` on, and no node below is needed any more.
        """
        base = 0
        for level in self.levels:
            yield level, *self._ends(level), level.low - base
            base = level.low

    def downwards(self) -> Iterator[tuple[_Level, Tensor, Tensor, int]]:
        """Every level from the source on, the same two places, and how many nodes below come into view."""
        base = self.levels[-1].start
        for level in reversed(self.levels):
            yield level, *self._ends(level), base - level.low
            base = level.low

    def _ends(self, level: _Level) -> tuple[Tensor, Tensor]:
        edges = slice(level.first, level.last)
        return self.tail[edges] - level.start, self.head[edges] - level.low


def _spread(x: Tensor, at: Tensor) -> Tensor:
    return x.index_select(-1, at)


def _largest(x: Tensor, at: Tensor, nodes: int, least: float) -> Tensor:
    """The largest of the edges of each node, and no less than this."""
    blank = x.new_full((*x.shape[:-1], nodes), least)
    return blank.scatter_reduce(-1, at.expand(x.shape), x, "amax")


def _summed(x: Tensor, at: Tensor, nodes: int) -> Tensor:
    return x.new_zeros(*x.shape[:-1], nodes).index_add(-1, at, x)


def _shares(u: Tensor, graph: _Graph) -> tuple[list[Tensor], Number]:
    """The shares of the edges, level by level, and Z."""
    weight = Number(*map(graph.sorted, exponential(u)))
    one = torch.ones_like(u[..., :1])
    beta = Number(one, torch.zeros_like(one))
    found = []
    for level, at, to, gone in graph.upwards():
        edges, nodes = slice(level.first, level.last), level.stop - level.start
        beta = Number(*(x[..., gone:] for x in beta))
        mantissa = weight.mantissa[..., edges] * _spread(beta.mantissa, to)
        exponent = weight.exponent[..., edges] + _spread(beta.exponent, to)
        top = _largest(exponent, at, nodes, nothing(u))
        part = mantissa * (exponent - _spread(top, at)).exp2()
        total = _summed(part, at, nodes)
        alive = total > 0
        safe = torch.where(alive, total, 1.0)
        found.append(part / _spread(safe, at))
        more = safe.detach().log2().floor()
        there = Number(torch.where(alive, safe * (-more).exp2(), 0.0), torch.where(alive, top + more, nothing(u)))
        beta = Number(*(torch.cat(pair, -1) for pair in zip(beta, there, strict=True)))
    return found, Number(*(x[..., -1] for x in beta))


def _flow(share: list[Tensor], graph: _Graph) -> Tensor:
    """The probabilities of the edges, in the order of the schedule, from their shares."""
    law = torch.ones_like(share[-1][..., :1])
    found = []
    for (level, at, to, more), c in zip(graph.downwards(), reversed(share), strict=True):
        nodes = level.stop - level.start
        x = _spread(law[..., law.shape[-1] - nodes :], at) * c
        found.append(x)
        law = pad(law[..., : law.shape[-1] - nodes], (more, 0)).index_add(-1, to, x)
    return torch.cat(found[::-1], -1)


def _marginals_jvp(g: Tensor, share: list[Tensor], graph: _Graph) -> Tensor:
    g = graph.sorted(g)
    b = torch.zeros_like(g[..., :1])
    dshare = []
    for (level, at, to, gone), c in zip(graph.upwards(), share, strict=True):
        gain = g[..., level.first : level.last] + _spread(b[..., gone:], to)
        mean = _summed(c * gain, at, level.stop - level.start)
        dshare.append(c * (gain - _spread(mean, at)))
        b = torch.cat([b[..., gone:], mean], -1)
    law = torch.ones_like(g[..., :1])
    dlaw = torch.zeros_like(law)
    found = []
    for (level, at, to, more), c, dc in zip(graph.downwards(), reversed(share), reversed(dshare), strict=True):
        rest = law.shape[-1] - (level.stop - level.start)
        here, dhere = _spread(law[..., rest:], at), _spread(dlaw[..., rest:], at)
        x, dx = here * c, dhere * c + here * dc
        found.append(dx)
        law, dlaw = (pad(y[..., :rest], (more, 0)).index_add(-1, to, z) for y, z in ((law, x), (dlaw, dx)))
    return graph.unsorted(torch.cat(found[::-1], -1))


def _check_feasible(feasible: Tensor) -> None:
    if not bool(feasible.all()):
        row = int((~feasible).nonzero()[0])
        raise invalid_rows(
            ~feasible,
            "u",
            f"no path from the source to the sink in row {row} (without its masked and -inf edges)",
            "at least one path",
            "Unmask edges, or leave this example out of the batch.",
        )


def _feasible(x: Tensor, feasible: Tensor) -> Tensor:
    """What was computed, or NaN for graphs without a path, where nobody looks (see `is_checked`)."""
    if is_checked(x):
        _check_feasible(feasible)
        return x
    return torch.where(feasible.reshape(feasible.shape + (1,) * (x.dim() - feasible.dim())), x, torch.nan)


def _launch(kernel_name: str, out: Tensor, graph: Tensor, *rows: Tensor, edges: int, nodes: int) -> Tensor:
    """Run a kernel whose working memory holds so many numbers for each edge and for each node."""
    from sstricks.ops.kernels import path as kernels
    from sstricks.ops.kernels.floats import LANES

    feasible = torch.empty(len(out), dtype=torch.bool)
    size = graph.shape[1]
    arrays = (graph.numpy(), *(row.numpy() for row in rows), out.numpy(), feasible.numpy())
    scratch = (edges * size + nodes * int(graph[5, graph[1, -1]])) * LANES
    over_rows(getattr(kernels, kernel_name), len(out), 8.0 * size, *arrays, step=LANES, scratch=scratch)
    _check_feasible(feasible)
    return out


@operator("sstricks::path_marginals", core=(1, None, None))
def marginals(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The marginals P(e is on the path), shape (*batch, E), of the exponential family with parameters u (eq. 8).

    Args:
        u: Natural parameters, shape (*batch, E); −∞ is an absent edge.
        graph: The schedule of the graph, on the device of u.
        plan: The same on the CPU.

    Raises:
        ValueError: Some row has no path.
    """
    there = _Graph(graph, plan)
    share, total = _shares(u, there)
    return _feasible(there.unsorted(_flow(share, there).clamp(0.0, 1.0)), total.mantissa > 0)


@operator("sstricks::path_marginals_jvp", core=(1, 1, None, None))
def marginals_jvp(u: Tensor, g: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The derivative of `marginals` in the direction g, shape (*batch, E)."""
    there = _Graph(graph, plan)
    return _marginals_jvp(g, _shares(u, there)[0], there)


@operator("sstricks::path_log_partition", core=(1, None, None), output_core=0)
def log_partition(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The log-partition function log Σ_{x∈𝒳} exp(uᵀx), shape (*batch)."""
    total = _shares(u, _Graph(graph, plan))[1]
    return _feasible(total.mantissa.log() + total.exponent * LN2, total.mantissa > 0)


@marginals.cpu
def _(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    return _launch("marginals", torch.zeros_like(u), plan, u, edges=1, nodes=2)


@marginals_jvp.cpu
def _(u: Tensor, g: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    return _launch("marginals_jvp", torch.zeros_like(u), plan, u, g, edges=2, nodes=2)


@log_partition.cpu
def _(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    return _launch("log_partition", u.new_empty(len(u)), plan, u, edges=0, nodes=2)


# An operator of its own, since a program that is compiled does not know the levels.
@operator("sstricks::path_cumulant", core=(1, 2, None, None))
def cumulant(u: Tensor, g: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The derivative of `marginals` in all of m ≥ 1 directions, shape (*batch, E), symmetric in them.

    Args:
        u: Natural parameters, shape (*batch, E).
        g: The directions, shape (*batch, m, E).
        graph: The schedule of the graph, on the device of u.
        plan: The same on the CPU.
    """
    there = _Graph(graph, plan)

    def along(u: Tensor, first: Tensor, *others: Tensor) -> Tensor:
        if not others:
            return _marginals_jvp(first, _shares(u, there)[0], there)
        return torch.func.vjp(lambda u: along(u, *others), u)[1](first)[0]  # the Jacobian is symmetric

    with differentiable():
        return along(u, *g.unbind(-2))


# With a direction h more, the derivative of ⟨h, C(u; g₁, …)⟩ in u is C(u; g₁, …, h); in gᵢ it is C with h for gᵢ.
@cumulant.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, out: Tensor, u: Tensor, g: Tensor, graph: Tensor, plan: Tensor
) -> tuple[Tensor | None, ...]:
    h, g = grad.unsqueeze(-2), g.expand(*out.shape[:-1], *g.shape[-2:])
    in_u = in_g = None
    if needs[0]:
        in_u = cumulant(u, torch.cat([g, h], -2), graph, plan)
    if needs[1]:
        swapped = (torch.cat([g[..., :i, :], h, g[..., i + 1 :, :]], -2) for i in range(g.shape[-2]))
        in_g = torch.stack([cumulant(u, each, graph, plan) for each in swapped], -2)
    return in_u, in_g, None, None


attach_gradients(marginals, marginals_jvp, log_partition, lambda u, g, *graph: cumulant(u, g.unsqueeze(-2), *graph))


@operator("sstricks::maximum_path", core=(1, None, None))
def maximum_path(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The best path (Viterbi's algorithm), shape (*batch, E).

    Args:
        u: Utilities, shape (*batch, E); −∞ is an absent edge.
        graph: The schedule of the graph, on the device of u.
        plan: The same on the CPU.

    Raises:
        ValueError: Some row has no path.
    """
    there = _Graph(graph, plan)
    value, reward = torch.zeros_like(u[..., :1]), there.sorted(u)
    word = torch.arange(there.words, device=u.device)
    held = word.new_zeros(there.words, *u.shape[:-1], 1)  # bits of the edges of the best path from each node
    choices = []
    for level, at, to, gone in there.upwards():
        edges, nodes = slice(level.first, level.last), level.stop - level.start
        value, held = value[..., gone:], held[..., gone:]
        found = reward[..., edges] + _spread(value, to)
        best = _largest(found, at, nodes, -torch.inf)
        first = (found == _spread(best, at)) & (found > -torch.inf)
        of_word, bit = there.order[edges] // _WORD, _WORD - 1 - there.order[edges] % _WORD
        own = torch.where(of_word == word[:, None], 1 << bit, 0)
        bits = _spread(held, to) | own.reshape(there.words, *[1] * (u.dim() - 1), len(to))
        for row in bits:
            row = torch.where(first, row, -1)
            first = first & (row == _spread(_largest(row, at, nodes, -1), at))
        # Of parallel or last equals the first edge; a node that leads nowhere has none.
        place = torch.arange(level.first, level.last, device=u.device).expand(found.shape)
        place = torch.where(first, -place, -there.used)
        chosen = first & (place == _spread(_largest(place, at, nodes, -there.used), at))
        choices.append(chosen.to(u.dtype))
        value = torch.cat([value, best], -1)
        held = torch.cat([held, _summed(torch.where(chosen, bits, 0), at, nodes)], -1)
    return _feasible(there.unsorted(_flow(choices, there)), value[..., -1] > -torch.inf)


@maximum_path.cpu
def _(u: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    from sstricks.ops.kernels.path import maximum_path as kernel

    out = torch.zeros_like(u)
    feasible = torch.empty(len(u), dtype=torch.bool)
    over_rows(kernel, len(u), 3.0 * u.shape[1], plan.numpy(), u.numpy(), out.numpy(), feasible.numpy())
    _check_feasible(feasible)
    return out


attach_no_gradient(maximum_path)


@operator("sstricks::path_sample", core=(2, 2, None, None), output_core=2)
def sample(u: Tensor, uniform: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    """The paths with p(x) ∝ exp(uᵀx) that independent uniforms lead to, shape (*batch, S, E).

    Args:
        u: Natural parameters, the same for each of S samples, shape (*batch, S, E), S ≥ 1.
        uniform: Numbers in [0, 1), one for each level above the sink, shape (*batch, S, levels).
        graph: The schedule of the graph, on the device of u.
        plan: The same on the CPU.

    Raises:
        ValueError: Some row has no path.
    """
    there = _Graph(graph, plan)
    share, total = _shares(u[..., 0, :], there)
    at = torch.full(uniform.shape[:-1], there.levels[-1].start, device=u.device)
    found = []
    for i in range(len(there.levels) - 1, -1, -1):
        edges = slice(there.levels[i].first, there.levels[i].last)
        sums = torch.where(there.tail[edges] == at[..., None], share[i].unsqueeze(-2), 0.0).cumsum(-1)
        beyond = sums[..., -1:]  # 0 if the path skips this level
        chosen = ((sums <= beyond * uniform[..., i : i + 1]) & (sums < beyond)).sum(-1)
        here = beyond.squeeze(-1) > 0
        x = (torch.arange(sums.shape[-1], device=u.device) == chosen[..., None]) & here[..., None]
        at = torch.where(here, there.head[edges][chosen], at)
        found.append(x.to(u.dtype))
    return _feasible(there.unsorted(torch.cat(found[::-1], -1)), total.mantissa > 0)


@sample.cpu
def _(u: Tensor, uniform: Tensor, graph: Tensor, plan: Tensor) -> Tensor:
    return _launch("sample", torch.zeros_like(u), plan, u[:, 0].contiguous(), uniform, edges=1, nodes=2)


attach_no_gradient(sample)


def draw(u: Tensor, graph: Tensor, plan: Tensor, generator: torch.Generator | None) -> Tensor:
    """One random path for each row of u, shape (*batch, E). Rows that are merely repeated share their shares."""
    if u.numel() == 0:
        return u
    lead = 0
    while lead < u.dim() - 1 and u.stride(lead) == 0:
        lead += 1
    repeats, u = u.shape[:lead], u[(0,) * lead]
    rows = u.unsqueeze(-2).expand(*u.shape[:-1], repeats.numel(), -1)
    shape = (*rows.shape[:-1], depth_of(plan))
    uniform = torch.rand(shape, dtype=u.dtype, device=u.device, generator=generator)
    return sample(rows, uniform, graph, plan).movedim(-2, 0).reshape(*repeats, *u.shape)

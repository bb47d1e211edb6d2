import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.functional.checks import graph, graph_root
from sstricks.functional.utility import from_working, to_working
from sstricks.ops import arborescence


def maximum_arborescence(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The indicator vector of the maximum arborescence, argmax Σ_{e∈T} u_e (App. B.8, Alg. 1).

    Of several, the one whose indicator vector prefers lower coordinates. O(n² + E), by contraction of cycles.

    Args:
        u: Utilities, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.
        root: The node that all paths begin at. Edges into it count as absent.

    Returns:
        The tree, shape (*batch, E), without gradient.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> edges = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]])
        >>> F.maximum_arborescence(torch.tensor([1.0, 2.0, 9.0, 9.0]), edges, 3)
        tensor([0., 1., 0., 1.])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    tree = arborescence.maximum_arborescence(to_working(u.detach()), edges, num_nodes)
    return from_working(tree, u.dtype)


def arborescence_marginals(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The marginals P(e ∈ T) under p(T) ∝ exp(Σ_{e∈T} u_e), by the directed matrix-tree theorem (App. B.8).

    Exact at any range: nodes are eliminated one by one, so no matrix is inverted and nothing is clipped. O(n³),
    less on sparse graphs.

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.
        root: The node that all paths begin at. Edges into it count as absent.

    Returns:
        The marginals, shape (*batch, E); those of the edges into a node other than the root sum to 1.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> F.arborescence_marginals(torch.zeros(4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3)
        tensor([0.6667, 0.6667, 0.3333, 0.3333])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return from_working(arborescence.marginals(to_working(u), edges, num_nodes), u.dtype)


def arborescence_log_partition(u: Tensor, edges: Tensor, num_nodes: int, root: int = 0) -> Tensor:
    """The log-partition function log Σ_T exp(Σ_{e∈T} u_e) (App. B.8), shape (*batch).

    Arguments and errors are those of `arborescence_marginals`, which is its gradient.

    Example:
        >>> F.arborescence_log_partition(torch.zeros(4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3).exp()
        tensor(3.)
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return from_working(arborescence.log_partition(to_working(u), edges, num_nodes), u.dtype)


def arborescence_sample(
    u: Tensor, edges: Tensor, num_nodes: int, root: int = 0, *, generator: torch.Generator | None = None
) -> Tensor:
    """An exact sample of p(T) ∝ exp(Σ_{e∈T} u_e) for each row of u, at any range. O(n³), less on sparse graphs.

    Args:
        u: Natural parameters, shape (*batch, E).
        edges: Where every edge leads from and to, shape (2, E).
        num_nodes: The number of nodes n. One that has no edge above −∞ is absent.
        root: The node that all paths begin at. Edges into it count as absent.
        generator: What to draw from instead of torch's default generator.

    Returns:
        Trees, shape (*batch, E), without gradient.

    Raises:
        ValueError: The root does not reach all nodes of some graph.

    Example:
        >>> F.arborescence_sample(torch.zeros(5, 4), torch.tensor([[0, 0, 1, 2], [1, 2, 2, 1]]), 3).sum(-1)
        tensor([2., 2., 2., 2., 2.])
    """
    edges, num_nodes = _rooted_graph(u, edges, num_nodes, root)
    return from_working(arborescence.draw(to_working(u.detach()), edges, num_nodes, generator), u.dtype)


def _rooted_graph(u: Tensor, edges: Tensor, num_nodes: int, root: int) -> tuple[Tensor, int]:
    edges, num_nodes = graph(u, edges, num_nodes)
    return arborescence.rooted(edges, graph_root(root, num_nodes)), num_nodes


@torch.no_grad()
def exponential_arborescence(
    rate: Tensor, edges: Tensor, num_nodes: int, root: int = 0, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Random r-arborescences, drawn edge by edge in proportion to their rates (App. B.8, Alg. 2).

    .. math:: X = \operatorname{argmax}_{x \in \mathcal{X}} U^\top x, \qquad -U_e \sim \mathrm{Exp}(\lambda_e)

    has this law, without any utility: every node draws the edge that enters it, with P(e) ∝ λₑ; each directed cycle is
    contracted to a node that draws again, among the edges that enter the cycle; and where such an edge enters, the
    cycle is broken. What a node has drawn stays drawn, which is what λ = ∞ says in Alg. 2.

    Args:
        rate: λ ≥ 0, shape (*batch, E); 0 is an absent edge. Expand it for several samples of each. A node none of
            whose edges is present is itself absent.
        edges: LongTensor (2, E), `edges[:, e]` = (from, to).
        num_nodes: The number of nodes.
        root: r; edges that enter it are never chosen.
        generator: Where the randomness comes from, if not from torch's default generator.

    Returns:
        Indicator vectors of the edges, shape and dtype of the rates.

    Raises:
        ValueError: A rate is negative, infinite or NaN, or some graph has no r-arborescence.

    Example:
        >>> path = torch.tensor([[0, 1, 2], [1, 2, 1]])
        >>> F.exponential_arborescence(torch.ones(3), path, num_nodes=3)
        tensor([1., 1., 0.])
    """
    edges, num_nodes = graph(rate, edges, num_nodes, "rate")
    root = graph_root(root, num_nodes)
    if not ((rate >= 0) & (rate < torch.inf)).all():
        raise invalid("rate", "a negative, infinite or NaN entry", "finite numbers >= 0", "Use 0 for an absent edge.")
    log_rate = to_working(rate).log()
    tail, head = edges.unbind()
    log_rate = log_rate.masked_fill(head == root, -torch.inf).reshape(-1, len(tail))
    nodes = torch.arange(num_nodes, device=rate.device).expand(len(log_rate), -1)
    present = _touched(log_rate > -torch.inf, tail, head, nodes)

    # Level by level: the node that stands for the contracted cycle that each node belongs to, and what that one drew.
    label, drawn = nodes, torch.zeros_like(nodes)
    pending = present & (nodes != root)
    levels = []
    while pending.any():
        from_label, to_label = label[:, tail], label[:, head]
        fresh = _draw(log_rate.masked_fill(from_label == to_label, -torch.inf), to_label, num_nodes, generator)
        stranded = (pending & (fresh < 0)).any(-1)
        if stranded.any():
            raise invalid(
                "rate",
                f"nodes in row {int(stranded.nonzero()[0])} that no edges of positive rate lead to from root {root}",
                "a graph with an r-arborescence",
                "Add edges, or make the rates of all edges at a node zero to leave it out.",
            )
        drawn = torch.where(pending, fresh, drawn)
        levels.append((label, drawn))
        contracted = present & (label == nodes) & (nodes != root)
        parent = torch.where(contracted, from_label.gather(-1, drawn), root)
        on_cycle, least = cycles(parent, nodes)
        on_cycle[:, root] = False
        label = torch.where(on_cycle, least, nodes).gather(-1, label)
        pending = on_cycle & (least == nodes)

    # Back down: what a contracted cycle drew replaces what was drawn by that one of its nodes which it enters.
    chosen = drawn
    for (label, drawn), (above, _) in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        entering = chosen.gather(-1, above)
        chosen = torch.where(label.gather(-1, head[entering]) == nodes, entering, drawn)
    rows, where = (present & (nodes != root)).nonzero(as_tuple=True)
    x = torch.zeros(log_rate.shape, dtype=rate.dtype, device=rate.device)
    x[rows, chosen[rows, where]] = 1
    return x.reshape(rate.shape)


def _touched(edge: Tensor, tail: Tensor, head: Tensor, nodes: Tensor) -> Tensor:
    """Which nodes have an edge."""
    ends = torch.zeros_like(nodes).index_add(-1, tail, edge.long()).index_add(-1, head, edge.long())
    return ends > 0


def _draw(log_rate: Tensor, to_label: Tensor, num_nodes: int, generator: torch.Generator | None) -> Tensor:
    """For each node an entering edge, drawn in proportion to its rate, or −1; shape (rows, num_nodes).

    The first of independent exponential clocks is such a draw (Prop. 6), in logarithms at any range of the rates.
    """
    score = log_rate - torch.empty_like(log_rate).exponential_(generator=generator).log()
    return best_of_each(score, to_label, num_nodes)


def best_of_each(score: Tensor, group: Tensor, count: int) -> Tensor:
    """The index of the best score in each of so many groups, the first of several, or −1; shape (*batch, count).

    Args:
        score: Shape (*batch, n); −∞ is none.
        group: Which group each is of, shape (*batch, n).
        count: How many groups there are.
    """
    best = score.new_full((*score.shape[:-1], count), -torch.inf).scatter_reduce(-1, group, score, "amax")
    is_best = (score == best.gather(-1, group)) & (score > -torch.inf)
    last = score.shape[-1]
    index = torch.arange(last, device=score.device).where(is_best, last)
    found = group.new_full(best.shape, last).scatter_reduce(-1, group, index, "amin")
    return torch.where(found < last, found, -1)


def cycles(parent: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Which nodes lie on a cycle of node ↦ parent, and the least node of each such cycle."""
    least = nodes
    for _ in range(nodes.shape[-1].bit_length()):  # parent becomes its own power, past every path into a cycle
        least = torch.minimum(least, least.gather(-1, parent))
        parent = parent.gather(-1, parent)
    return torch.zeros_like(nodes, dtype=torch.bool).scatter(-1, parent, True), least

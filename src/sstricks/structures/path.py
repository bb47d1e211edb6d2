import torch
from torch import Tensor

from sstricks.errors import check_integer
from sstricks.functional.checks import check_n
from sstricks.functional.path import plan_of
from sstricks.ops import path
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.frank_wolfe import register_frank_wolfe
from sstricks.solvers.registry import register_solver
from sstricks.structures.graph import adjacency
from sstricks.structures.structure import Structure


class Path(Structure):
    r"""The paths of a directed acyclic graph from one node to another, as edge indicators.

    .. math:: \mathcal{X} = \{ 1_P \in \{0, 1\}^E : P \text{ is a path from the source to the sink} \}

    Labellings of a sequence, its segmentations and alignments of two sequences are such paths: see `linear_chain`,
    `segmentation` and `alignment`. Edges and nodes may stand in any order. Parallel edges are welcome; they are
    different edges of different paths. Edges that are on no path count as absent. Everything but the separable
    relaxations takes O(E), and is exact at any range of utilities.

    Args:
        edges: Where every edge leads from and to, LongTensor (2, E).
        source: The node that paths begin at.
        sink: The node that they end at, by default that with the highest number.
        mask: False where an edge is absent, shape (*batch, E); some path must remain.

    Raises:
        ValueError: The graph has a cycle or gaps in its node numbers, or no path is left.

    Example:
        >>> paths = sst.Path(torch.tensor([[0, 0, 1], [1, 2, 2]]))
        >>> paths.argmax(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 0., 1.])
    """

    def __init__(self, edges: Tensor, source: int = 0, sink: int | None = None, mask: Tensor | None = None) -> None:
        plan = plan_of(edges, source, sink)
        super().__init__((edges.shape[1],), mask, at_least=1)
        used = torch.zeros(edges.shape[1], dtype=torch.bool).index_fill(0, plan[0, : plan[2, -1]], True)
        if not used.all():
            self._take_mask(used if mask is None else mask & used.to(mask.device))
        self.edges = edges.clone()  # the caller's may change
        self.num_nodes = int(edges.max()) + 1
        self.source = int(source)
        self.sink = int(plan[3, -1])
        self._schedule = plan  # moves with the structure
        self._plan = (plan,)  # does not
        if mask is not None:
            self._check_not_empty("mask")

    @classmethod
    def linear_chain(cls, steps: int, classes: int, mask: Tensor | None = None) -> "Path":
        """The labellings of a sequence in which each label interacts with the next, as of a linear-chain CRF.

        The first C edges are the first step's labels. Then come C² edges for each further step t, one for each pair of
        labels (a of step t − 1, b of step t), sorted by a. Where labels have utilities `emission`, (*batch, T, C), and
        pairs have `transition`, (C, C) or (*batch, T − 1, C, C), those of the edges are

            pairs = emission[..., 1:, None, :] + transition
            u = torch.cat([emission[..., 0, :], pairs.flatten(-3)], -1)

        and from x, `x[..., C:].unflatten(-1, (T - 1, C, C)).sum(-2)` are the indicators of all labels but the first.
        Sequences of different lengths share a batch by masking all labels but one, with utility 0, beyond their ends.

        Args:
            steps: The length T of the sequence.
            classes: The number C of labels.
            mask: False where an edge is absent, shape (*batch, C + (T − 1)·C²).

        Raises:
            ValueError: A size is below 1, or no labelling is left.

        Example:
            >>> sst.Path.linear_chain(4, 3).log_partition(torch.zeros(30)).exp().round()
            tensor(81.)
        """
        steps = check_integer("steps", steps, "It is the length of the sequence.", low=1)
        classes = check_integer("classes", classes, "It is the number of labels.", low=1)
        # A label of the last step is not a node but one of several parallel edges into the sink.
        label = torch.arange(classes)
        a, b = (x.flatten() for x in torch.meshgrid(label, label, indexing="ij"))
        before = torch.arange(steps - 1).unsqueeze(-1) * classes + 1
        last = (steps - 1) * classes + 1
        tail = torch.cat([torch.zeros_like(label), (before + a).flatten()])
        head = torch.cat([1 + label, (before + classes + b).flatten()]).clamp(max=last)
        return cls(torch.stack([tail, head]), mask=mask)

    @classmethod
    def segmentation(cls, n: int, max_length: int, classes: int = 1, mask: Tensor | None = None) -> "Path":
        """The segmentations of a sequence into labelled segments, as of a semi-Markov model without transitions.

        The edges are the cells of a table of shape (n, L, C) in this order: the segment that begins at item i, has
        ℓ + 1 items and label c. Those that end beyond the last item count as absent.

        Args:
            n: The number of items.
            max_length: The length L of the longest segments.
            classes: The number C of labels.
            mask: False where an edge is absent, shape (*batch, n·L·C).

        Raises:
            ValueError: A size is below 1, or no segmentation is left.

        Example:
            >>> x = sst.Path.segmentation(5, 3).argmax(torch.tensor([0.0, 3.0, 0.0]).repeat(5))
            >>> x.unflatten(-1, (5, 3)).nonzero()
            tensor([[0, 0],
                    [1, 1],
                    [3, 1]])
        """
        n = check_n(n)
        longest = check_integer("max_length", max_length, "Segments have items.", low=1)
        classes = check_integer("classes", classes, "Without labels there is one.", low=1)
        begin, length, _ = torch.meshgrid(
            torch.arange(n), torch.arange(1, longest + 1), torch.arange(classes), indexing="ij"
        )
        end = (begin + length).clamp(max=n + 1)
        return cls(torch.stack([begin, end]).flatten(1), sink=n, mask=mask)

    @classmethod
    def alignment(cls, n: int, m: int, mask: Tensor | None = None) -> "Path":
        """The monotone alignments of sequences of n and m items: the paths through their edit graph.

        The edges are the cells of a table of shape (n + 1, m + 1, 3) in this order: at the point (i, j), with i and j
        items consumed, the next two items are matched (to (i + 1, j + 1)), or the first sequence's next item is left
        alone (to (i + 1, j)), or the second's is (to (i, j + 1)). Moves that leave the grid count as absent.

        Args:
            n: The length of the first sequence.
            m: The length of the second.
            mask: False where an edge is absent, shape (*batch, (n + 1)·(m + 1)·3).

        Raises:
            ValueError: A length is below 1, or no alignment is left.

        Example:
            >>> match = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
            >>> moves = torch.zeros(3, 4, 3)
            >>> moves[:2, :3, 0] = match
            >>> x = sst.Path.alignment(2, 3).argmax(moves.flatten())
            >>> x.unflatten(-1, (3, 4, 3))[:2, :3, 0]
            tensor([[0., 1., 0.],
                    [0., 0., 1.]])
        """
        n = check_n(n)
        m = check_integer("m", m, "It is the length of the second sequence.", low=1)
        i, j, move = torch.meshgrid(torch.arange(n + 1), torch.arange(m + 1), torch.arange(3), indexing="ij")
        down, right = i + (move < 2), j + (move != 1)
        last = (n + 1) * (m + 1) - 1
        head = (down * (m + 1) + right).masked_fill((down > n) | (right > m), last + 1)
        return cls(torch.stack([i * (m + 1) + j, head]).flatten(1), sink=last, mask=mask)

    def _arguments(self) -> str:
        return f"{self.edges.shape[1]} edges, from {self.source} to {self.sink}"

    def to_adjacency(self, x: Tensor) -> Tensor:
        """The (weighted) adjacency matrix, shape (*batch, n, n), edge i → j at [i, j]; parallel edges add up.

        Example:
            >>> sst.Path(torch.tensor([[0, 0, 1], [1, 2, 2]])).to_adjacency(torch.tensor([1.0, 0.0, 1.0]))
            tensor([[0., 1., 0.],
                    [0., 0., 1.],
                    [0., 0., 0.]])
        """
        self.check_shape("x", x)
        return adjacency(x, self.placed("edges", x.device), self.num_nodes)

    def _empty(self) -> tuple[str, str, str]:
        return (
            f"a graph without a path from node {self.source} to node {self.sink}",
            "at least one path in every row",
            "Unmask edges, or leave the example out of the batch.",
        )

    def _graph(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the operators take: the schedule on the device of u and on the CPU."""
        return self.placed("_schedule", u.device), self._plan[0]

    def _argmax(self, u: Tensor) -> Tensor:
        return path.maximum_path(u, *self._graph(u))

    def _contains(self, x: Tensor) -> Tensor:
        """One unit flows from the source to the sink: in a graph without cycles, along a path."""
        tail, head = self.placed("edges", x.device)
        flow = x.new_zeros(*x.shape[:-1], self.num_nodes).index_add(-1, tail, x).index_add(-1, head, -x)
        node = torch.arange(self.num_nodes, device=x.device)
        return (flow == (node == self.source).to(x) - (node == self.sink).to(x)).all(-1)

    def _onwards(self) -> dict[int, list[int]]:
        """The edges on which each node's paths go on to the sink; the nodes nearer to it come first."""
        there, (tail, head) = self.mask, self.edges.tolist()
        plan = self._plan[0]
        found: dict[int, list[int]] = {}
        for e in plan[0, : plan[2, -1]].tolist():
            if (there is None or there[e]) and (head[e] == self.sink or head[e] in found):
                found.setdefault(tail[e], []).append(e)
        return found

    def _candidates(self) -> int:
        head, count = self.edges[1].tolist(), {self.sink: 1}
        for node, edges in self._onwards().items():
            count[node] = sum(count[head[e]] for e in edges)
        return count[self.source]

    def _support(self) -> Tensor:
        head, onwards = self.edges[1].tolist(), self._onwards()
        found: list[tuple[int, ...]] = []
        begun: list[tuple[int, ...]] = [(e,) for e in reversed(onwards[self.source])]
        while begun:
            way = begun.pop()
            if head[way[-1]] == self.sink:
                found.append(way)
            else:
                begun += [(*way, e) for e in reversed(onwards[head[way[-1]]])]
        x = torch.zeros(len(found), self.edges.shape[1])
        for row, way in zip(x, found, strict=True):
            row[list(way)] = 1
        return x

    def _log_partition(self, u: Tensor) -> Tensor:
        return path.log_partition(u, *self._graph(u))

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        return path.draw(u, *self._graph(u), generator)


@register_solver(Path, ExponentialFamilyEntropy)
def _(paths: Path, f: Regularizer, u: Tensor) -> Tensor:
    return path.marginals(u, *paths._graph(u))


register_frank_wolfe(Path)

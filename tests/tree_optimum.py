"""argmax s·x - Σ φ(x_e) over the hull of spanning trees, to fifty digits, by trying all partitions of the nodes.

Of a graph in several components, it is that of the spanning trees of each.

The hull is x(E) = n - 1, x(E(S)) ≤ |S| - 1, 0 ≤ x ≤ 1. Under the first alone the optimum is that of subsets. Of all
partitions of the nodes, the one with the most violation consists of sets that are tight, and divides the problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from brute_force import MP, Vector
from exact_optimum import Response, Separable, one_sided_slopes
from graphs import components

VIOLATED = MP.mpf(10) ** -40
Edges = list[tuple[int, int, int]]  # the ends of each, and its number


@dataclass(frozen=True, eq=False)
class TreeOptimum:
    """The optimum for one response (φ')⁻¹ over the spanning trees of a graph."""

    edges: tuple[tuple[int, int], ...]
    response: Response

    def value(self, s: Vector) -> Vector:
        x = [MP.zero] * len(s)
        for part in components([(i, j, e) for e, (i, j) in enumerate(self.edges) if s[e] != MP.ninf]):
            self._solve([(i, j, e) for i, j, e in part], s, x)
        return x

    def slopes(self, s: Vector, g: Vector) -> tuple[Vector, Vector]:
        return one_sided_slopes(self.value, s, g)

    def _solve(self, edges: Edges, s: Vector, x: Vector) -> None:
        nodes = sorted({v for i, j, _ in edges for v in (i, j)})
        if not nodes:
            return
        relaxed = Separable(self.response, len(nodes) - 1).value([s[e] for _, _, e in edges])
        for (_, _, e), value in zip(edges, relaxed, strict=True):
            x[e] = value

        def violation(part: dict[int, int]) -> MP.mpf:
            inside = MP.fsum(x[e] for i, j, e in edges if part[i] == part[j])
            return inside - (len(nodes) - len(set(part.values())))

        worst = max(_partitions(nodes), key=violation)
        if violation(worst) <= VIOLATED:
            return
        for p in set(worst.values()):
            self._solve([(i, j, e) for i, j, e in edges if worst[i] == worst[j] == p], s, x)
        self._solve([(worst[i], worst[j], e) for i, j, e in edges if worst[i] != worst[j]], s, x)


def _partitions(nodes: list[int]) -> Iterator[dict[int, int]]:
    """Every node's part, for every partition; a part is called by its first node."""
    if not nodes:
        yield {}
        return
    *rest, last = nodes
    for part in _partitions(rest):
        for p in {*part.values(), last}:
            yield {**part, last: p}

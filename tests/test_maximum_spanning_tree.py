"""The kernels for dense and for sparse graphs, against edges taken one by one from the best on."""

import numpy as np
import pytest

from sstricks.ops.kernels.spanning_tree import boruvka, prim


def by_sorting(nodes: int, u: np.ndarray, ends: np.ndarray) -> tuple[list[float], int]:
    """Kruskal: the tree, and how many components the present nodes make."""
    there = u > -np.inf
    group = {int(v): {int(v)} for v in ends[:, there].flat}
    tree = np.zeros(len(u))
    for x in np.lexsort((np.arange(len(u)), -u)):
        a, b = ends[:, x].tolist()
        if there[x] and group[a] is not group[b]:
            tree[x] = 1.0
            both = group[a] | group[b]
            group.update(dict.fromkeys(both, both))
    return tree.tolist(), len({id(nodes) for nodes in group.values()})


@pytest.mark.parametrize("kernel", [boruvka, prim], ids=["boruvka", "prim"])
@pytest.mark.parametrize("levels", [1, 3, 10**6], ids=["one level", "ties", "none"])
@pytest.mark.parametrize("seed", range(20))
def test_multigraphs_with_ties_and_absent_edges(kernel, levels: int, seed: int):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 30))
    ends = rng.integers(0, nodes, (2, int(rng.integers(1, 120))))
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % nodes, ends[1])
    u = rng.integers(-levels, levels, (3, ends.shape[1])).astype(np.float64)
    u[1, rng.random(ends.shape[1]) < 0.7] = -np.inf
    u[2] = -np.inf
    out, components = np.full_like(u, 7.0), np.zeros(3, np.int64)
    kernel(0, 3, nodes, u, ends, out, components)
    expected = [by_sorting(nodes, row, ends) for row in u]
    assert out.tolist() == [tree for tree, _ in expected]
    assert components.tolist() == [count for _, count in expected]

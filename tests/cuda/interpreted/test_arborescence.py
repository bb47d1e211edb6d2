import math

import pytest
import torch
from graph_rows import DIRECTED, tensors, utilities
from torch import Tensor

from sstricks.ops import arborescence as operators
from sstricks.ops.cuda import arborescence as launchers
from sstricks.ops.cuda import graphs

GRAPHS = pytest.mark.parametrize("graph", DIRECTED)


def problem(graph: str) -> tuple[Tensor, Tensor, Tensor, int]:
    edges, nodes = tensors(DIRECTED[graph])
    u = utilities(edges)
    return u, torch.randn(u.shape, dtype=torch.float64), edges, nodes


@GRAPHS
def test_marginals_equal_those_of_the_cpu(graph: str):
    u, _, edges, nodes = problem(graph)
    found, expected = launchers.marginals(u, edges, nodes), operators.marginals(u, edges, nodes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-14)


@GRAPHS
def test_derivative_equals_that_of_the_cpu_and_is_exactly_zero_at_a_vertex(graph: str):
    u, g, edges, nodes = problem(graph)
    found, expected = launchers.marginals_jvp(u, g, edges, nodes), operators.marginals_jvp(u, g, edges, nodes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-13)
    assert found[2].eq(0).all()


@GRAPHS
def test_log_partition_equals_that_of_the_cpu(graph: str):
    u, _, edges, nodes = problem(graph)
    found, expected = launchers.log_partition(u, edges, nodes), operators.log_partition(u, edges, nodes)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@GRAPHS
def test_argmax_equals_that_of_the_cpu(graph: str):
    u, g, edges, nodes = problem(graph)
    rows = torch.cat([u, g.round(), (3 * g).round()])
    found = launchers.maximum_arborescence(rows, edges, nodes)
    assert torch.equal(found, operators.maximum_arborescence(rows, edges, nodes))


@GRAPHS
def test_single_roots_equal_those_of_the_cpu(graph: str):
    u, g, edges, nodes = problem(graph)
    rows = torch.cat([u, (3 * g[:2]).round(), 1e9 * g[:1]])
    rows = rows[[has_single_root(row, edges, nodes) for row in rows]]
    found = launchers.maximum_arborescence(rows, edges, nodes, single=True)
    assert torch.equal(found, operators.maximum_arborescence(rows, edges, nodes, True))
    near, shift = launchers.nearby(rows, edges, nodes, single=True)
    expected = operators.single_root(rows, edges, nodes, 45.0)
    x, y = operators.marginals(near, edges, nodes), operators.marginals(expected, edges, nodes)
    torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    log_z = operators.log_partition(near, edges, nodes) + shift
    theirs = operators.log_partition(expected, edges, nodes) + operators.single_root_shift(rows, edges, nodes, 45.0)
    torch.testing.assert_close(log_z, theirs, rtol=1e-12, atol=1e-9)


def has_single_root(u: Tensor, edges: Tensor, nodes: int) -> bool:
    try:
        operators.maximum_arborescence(u.unsqueeze(0), edges, nodes, True)
    except ValueError:
        return False
    return True


def test_rows_without_a_single_root_are_nan():
    edges = torch.tensor([[i, j] for i in range(4) for j in range(1, 4) if i != j]).T.contiguous()
    u = torch.randn(3, 9, dtype=torch.float64)
    u[1] = torch.where((edges[0] > 0) & (edges[1] > 1), -math.inf, u[1])  # nodes 2 and 3 follow the root only
    u[2, 0] = math.nan
    near, shift = launchers.nearby(u, edges, 4, single=True)
    odd = torch.tensor([False, True, True])
    assert torch.equal(shift.isnan(), odd)
    for found in (near, launchers.maximum_arborescence(u, edges, 4, single=True)):
        assert torch.equal(found.isnan().all(-1), odd)
        assert not found[0].isnan().any()


def test_argmax_contracts_contractions():
    edges = torch.tensor([[i, j] for i in range(10) for j in range(10) if i != j]).T.contiguous()
    near = (edges[0] - edges[1]).abs().double()
    u = torch.stack([torch.where(edges[0] == 0, -100.0, -near), -near, torch.where(edges[0] == 0, -9.0, -near.log2())])
    found = launchers.maximum_arborescence(u, edges, 10)
    assert torch.equal(found, operators.maximum_arborescence(u, edges, 10))


@GRAPHS
def test_samples_equal_those_of_the_cpu(graph: str):
    u, _, edges, nodes = problem(graph)
    uniforms = torch.rand(len(u), (nodes - 1) * (nodes + 2) // 2, dtype=torch.float64)
    found = launchers.sample(u, uniforms, edges, nodes)
    assert torch.equal(found, operators.sample(u, uniforms, edges, nodes))


def test_invalid_rows_are_nan():
    edges = torch.tensor([[i, j] for i in range(4) for j in range(4) if i != j]).T.contiguous()
    u = torch.randn(4, 12, dtype=torch.float64)
    u[0, 3] = math.nan
    u[1] = torch.where((edges[0] < 2) & (edges[1] >= 2), -math.inf, u[1])  # the root does not reach nodes 2 and 3
    u[2] = -math.inf  # a tree without nodes
    odd = torch.tensor([True, True, False, False])
    for found in (
        launchers.marginals(u, edges, 4),
        launchers.marginals_jvp(u, torch.ones_like(u), edges, 4),
        launchers.maximum_arborescence(u, edges, 4),
        launchers.sample(u, torch.rand(4, 9, dtype=torch.float64), edges, 4),
        launchers.log_partition(u, edges, 4).unsqueeze(-1),
    ):
        assert torch.equal(found.isnan(), odd.unsqueeze(-1).expand(found.shape))
        assert found[2].eq(0).all()
    valid = u[3:]
    assert torch.equal(launchers.marginals(u, edges, 4)[3:], launchers.marginals(valid, edges, 4))
    g = torch.zeros_like(valid)
    g[0, 0] = math.nan
    assert launchers.marginals_jvp(valid, g, edges, 4).isnan().all()


def test_programs_take_rows_in_turns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "MEMORY", 0)
    edges = torch.tensor([[i, j] for i in range(3) for j in range(3) if i != j]).T.contiguous()
    u = torch.randn(graphs.FEW + 3, 6, dtype=torch.float64)
    torch.testing.assert_close(launchers.marginals(u, edges, 3), operators.marginals(u, edges, 3), rtol=0, atol=1e-14)
    assert torch.equal(launchers.maximum_arborescence(u, edges, 3), operators.maximum_arborescence(u, edges, 3))

import math

import pytest
import torch
from graph_rows import UNDIRECTED, tensors, utilities
from torch import Tensor

from graphs import complete
from sstricks.ops import spanning_tree as operators
from sstricks.ops.cuda import graphs
from sstricks.ops.cuda import spanning_tree as launchers

GRAPHS = pytest.mark.parametrize("graph", UNDIRECTED)


def problem(graph: str) -> tuple[Tensor, Tensor, Tensor, int]:
    edges, nodes = tensors(UNDIRECTED[graph])
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
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-14)
    assert found[2].eq(0).all()


@GRAPHS
def test_log_partition_equals_that_of_the_cpu(graph: str):
    u, _, edges, nodes = problem(graph)
    found, expected = launchers.log_partition(u, edges, nodes), operators.log_partition(u, edges, nodes)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@GRAPHS
def test_argmax_equals_that_of_the_cpu(graph: str):
    u, _, edges, nodes = problem(graph)
    assert torch.equal(
        launchers.maximum_spanning_tree(u, edges, nodes), operators.maximum_spanning_tree(u, edges, nodes)
    )


def test_invalid_rows_are_nan():
    edges, nodes = tensors(complete(4))
    u = torch.randn(4, 6, dtype=torch.float64)
    u[0, 3] = math.nan
    u[1] = torch.where((edges[0] < 2) == (edges[1] < 2), u[1], -math.inf)  # two components
    u[2] = -math.inf  # a tree without nodes
    odd = torch.tensor([True, True, False, False])
    for found in (
        launchers.marginals(u, edges, nodes),
        launchers.marginals_jvp(u, torch.ones_like(u), edges, nodes),
        launchers.maximum_spanning_tree(u, edges, nodes),
        launchers.log_partition(u, edges, nodes).unsqueeze(-1),
    ):
        assert torch.equal(found.isnan(), odd.unsqueeze(-1).expand(found.shape))
        assert found[2].eq(0).all()
    valid = u[3:]
    assert torch.equal(launchers.marginals(u, edges, nodes)[3:], launchers.marginals(valid, edges, nodes))
    g = torch.zeros_like(valid)
    g[0, 0] = math.nan
    assert launchers.marginals_jvp(valid, g, edges, nodes).isnan().all()


def test_programs_take_rows_in_turns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "MEMORY", 0)
    edges, nodes = tensors(complete(3))
    u = torch.randn(graphs.FEW + 3, 3, dtype=torch.float64)
    torch.testing.assert_close(
        launchers.marginals(u, edges, nodes), operators.marginals(u, edges, nodes), rtol=0, atol=1e-14
    )
    assert torch.equal(
        launchers.maximum_spanning_tree(u, edges, nodes), operators.maximum_spanning_tree(u, edges, nodes)
    )

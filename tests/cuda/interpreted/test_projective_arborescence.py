import math

import pytest
import torch
from torch import Tensor

from sstricks.ops import projective_arborescence as operators
from sstricks.ops.cuda import projective_arborescence as launchers

NODES = 5


def utilities() -> Tensor:
    """Of any range, with ties, and without some nodes."""
    u = torch.randn(7, (NODES - 1) ** 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = operators.edge_ends(NODES)
    u[1] *= 30
    u[2] *= 1e6
    u[3] = (2 * u[3]).round()
    u[4] = 0
    u[5] = torch.where((ends == 2).any(0), -math.inf, u[5])
    u[6] = torch.where((ends[0] > 0) & (ends[1] == 3), u[6], u[6] * 1e13)
    return u


def test_marginals_equal_those_of_the_cpu():
    u = utilities()
    found, expected = launchers.marginals(u, NODES), operators.marginals(u, NODES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-14)


def test_derivative_equals_that_of_the_cpu_and_is_exactly_zero_at_a_vertex():
    u = utilities()
    g = torch.randn_like(u)
    found, expected = launchers.marginals_jvp(u, g, NODES), operators.marginals_jvp(u, g, NODES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=1e-13)
    assert found[2].eq(0).all()


def test_log_partition_equals_that_of_the_cpu():
    u = utilities()
    found, expected = launchers.log_partition(u, NODES), operators.log_partition(u, NODES)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
def test_argmax_equals_that_of_the_cpu(tied: bool):
    u = utilities()
    u = torch.cat([u, torch.randn_like(u).round()]) if tied else u[[0, 1, 2, 5, 6]]
    found = launchers.maximum_projective_arborescence(u, NODES)
    assert torch.equal(found, operators.maximum_projective_arborescence(u, NODES))


def test_samples_equal_those_of_the_cpu():
    u = utilities()
    uniforms = torch.rand(len(u), 3 * operators.size(NODES), dtype=torch.float64)
    assert torch.equal(launchers.sample(u, uniforms, NODES), operators.drawn(u, uniforms, NODES))


def test_single_roots_equal_those_of_the_cpu():
    u = torch.cat([utilities(), torch.randn(3, (NODES - 1) ** 2, dtype=torch.float64).round()])
    g = torch.randn_like(u)
    found, expected = launchers.marginals(u, NODES, True), operators.marginals(u, NODES, True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    found, expected = launchers.marginals_jvp(u, g, NODES, True), operators.marginals_jvp(u, g, NODES, True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    found, expected = launchers.log_partition(u, NODES, True), operators.log_partition(u, NODES, True)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    found = launchers.maximum_projective_arborescence(u, NODES, True)
    assert torch.equal(found, operators.maximum_projective_arborescence(u, NODES, True))
    uniforms = torch.rand(len(u), 3 * operators.size(NODES), dtype=torch.float64)
    assert torch.equal(launchers.sample(u, uniforms, NODES, True), operators.drawn(u, uniforms, NODES, True))


def test_keys_of_several_words():
    u = torch.randn(2, 81, dtype=torch.float64).round().clamp(-1, 1)
    found = launchers.maximum_projective_arborescence(u, 10)
    assert torch.equal(found, operators.maximum_projective_arborescence(u, 10))


def test_invalid_rows_are_nan():
    u = torch.randn(4, 9, dtype=torch.float64)
    u[0, :3] = -math.inf  # no edge at the root
    u[1, 3] = math.nan
    u[2] = -math.inf  # a tree without nodes
    odd = torch.tensor([True, True, False, False])
    for found in (
        launchers.marginals(u, 4),
        launchers.marginals_jvp(u, torch.ones_like(u), 4),
        launchers.maximum_projective_arborescence(u, 4),
        launchers.sample(u, torch.rand(4, 30, dtype=torch.float64), 4),
        launchers.log_partition(u, 4).unsqueeze(-1),
    ):
        assert torch.equal(found.isnan(), odd.unsqueeze(-1).expand(found.shape))
        assert found[2].eq(0).all()
    valid, g = u[3:], torch.zeros(1, 9, dtype=torch.float64)
    assert torch.equal(launchers.marginals(u, 4)[3:], launchers.marginals(valid, 4))
    g[0, 0] = math.nan
    assert launchers.marginals_jvp(valid, g, 4).isnan().all()

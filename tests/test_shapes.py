"""Law 9 for shapes of any kind: leading dimensions, sizes of one and zero, temperatures and masks that broadcast."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, array_shapes, mutually_broadcastable_shapes

import sstricks as sst
from cases import PAIR_CASES, Case
from laws import assert_near

PAIRS = pytest.mark.parametrize("case", PAIR_CASES, ids=str)
SHAPES = mutually_broadcastable_shapes(num_shapes=3, min_side=0, max_dims=3, max_side=3)
moderate = settings(max_examples=20, deadline=None, derandomize=True)


@PAIRS
@moderate
@given(shapes=SHAPES)
def test_batches_of_everything_broadcast(case: Case, shapes: BroadcastableShapes):
    """Utilities, temperatures and masks, each with leading dimensions of its own; row by row the same."""
    u_shape, t_shape, mask_shape = shapes.input_shapes
    batch, n = shapes.result_shape, case.problem.size
    u = case.utilities(*u_shape).requires_grad_()
    t = torch.linspace(0.5, 2.0, int(np.prod(t_shape)), dtype=torch.float64).reshape(t_shape).requires_grad_()
    mask = torch.ones(*mask_shape, n, dtype=torch.bool)
    if mask.numel():
        mask.view(-1, n)[::2] = torch.from_numpy(case.problem.vertices[1] == 1)
    structure = case.problem.build(mask)
    assert structure.batch_shape == mask_shape
    x = structure.softmax(u, t, case.regularizer)
    assert x.shape == (*batch, n)
    outer = np.broadcast_shapes(u_shape, mask_shape)
    assert structure.argmax(u).shape == (*outer, n)
    if case.has_family:
        assert structure.log_partition(u).shape == outer
    assert structure.contains(x).shape == batch
    du, dt = torch.autograd.grad(x.sum(), (u, t), allow_unused=True)
    assert du is None or du.shape == u.shape
    assert dt is None or dt.shape == t.shape
    rows = u.expand(*batch, n).reshape(-1, n), t.expand(batch).reshape(-1), mask.expand(*batch, n).reshape(-1, n)
    for found, one, temperature, present in zip(x.reshape(-1, n), *rows, strict=True):
        assert_near(found, case.problem.build(present).softmax(one, temperature, case.regularizer), 1e-12)


@PAIRS
@moderate
@given(batch=array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3), data=st.data())
def test_samples_of_tricks(case: Case, batch: tuple[int, ...], data: st.DataObject):
    shape = data.draw(array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    utility = torch.distributions.Gumbel(case.utilities(*batch), 1.0)
    draw = sst.StochasticSoftmaxTrick(case.structure, utility, 0.5, case.regularizer).draw(shape)
    for part in (draw.utility, draw.relaxed, draw.discrete):
        assert part.shape == (*shape, *batch, case.problem.size)
    assert sst.StochasticArgmaxTrick(case.structure, utility).sample(shape).shape == draw.discrete.shape

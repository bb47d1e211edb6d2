"""Law 7: half precision in and out, single precision inside."""

import pytest
import torch

import sstricks as sst
from cases import CASES, PAIR_CASES, Case

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


def test_counts_beyond_those_of_half_precision():
    for dtype, k in ((torch.bfloat16, 300), (torch.float16, 2100)):
        x = torch.zeros(3 * k, dtype=dtype)
        for count in (k, k + 1):
            x[:count] = 1
            assert sst.KSubset(3 * k, k).contains(x) == (count == k)
            apart = torch.zeros(6 * k - 1, dtype=dtype)
            apart[: 2 * count : 2] = 1
            assert sst.ChainKSubset(3 * k, k).contains(apart) == (count == k)


@HALVES
@pytest.mark.parametrize("case", CASES, ids=str)
def test_softmax_is_single_precision_rounded_once(case: Case, dtype: torch.dtype):
    u = case.utilities(6, dtype=dtype)
    for t in (0.3, torch.tensor(0.5), torch.tensor(0.5, dtype=dtype), torch.linspace(0.5, 3, 6).to(dtype)):
        x = case.softmax(u, t)
        wide = t.float() if isinstance(t, torch.Tensor) else t
        assert x.dtype == dtype
        assert torch.equal(x, case.softmax(u.float(), wide).to(dtype))


@HALVES
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_gradients_are_single_precision_rounded_once(case: Case, dtype: torch.dtype):
    u, t = case.utilities(6, dtype=dtype), torch.linspace(0.5, 3, 6).to(dtype)
    g = case.utilities(6, dtype=dtype, seed=1)
    narrow = u.clone().requires_grad_(), t.clone().requires_grad_()
    wide = u.float().requires_grad_(), t.float().requires_grad_()
    halves = torch.autograd.grad(case.softmax(*narrow), narrow, g)
    singles = torch.autograd.grad(case.softmax(*wide), wide, g.float())
    for half, single in zip(halves, singles, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half, single.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@HALVES
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_tangents_keep_the_dtype(case: Case, dtype: torch.dtype):
    """In half precision they are those of single precision, rounded."""
    u, t = case.utilities(6, dtype=dtype), torch.linspace(0.5, 3, 6).to(dtype)
    tangents = case.utilities(6, dtype=dtype, seed=1), torch.ones(6, dtype=dtype)
    _, half = torch.func.jvp(case.softmax, (u, t), tangents)
    _, single = torch.func.jvp(case.softmax, (u.float(), t.float()), tuple(d.float() for d in tangents))
    assert half.dtype == dtype
    torch.testing.assert_close(half, single.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@HALVES
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_argmax_and_log_partition_keep_the_dtype(case: Case, dtype: torch.dtype):
    u = case.utilities(6, dtype=dtype)
    vertex = case.structure.argmax(u)
    assert vertex.dtype == dtype
    assert torch.equal(vertex.float(), case.structure.argmax(u.float()))
    assert case.structure.contains(vertex).all()
    if not case.has_family:
        return
    log_z = case.structure.log_partition(u)
    assert log_z.dtype == dtype
    assert torch.equal(log_z, case.structure.log_partition(u.float()).to(dtype))


@HALVES
@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_the_largest_halves_do_not_overflow(case: Case, dtype: torch.dtype):
    u = case.utilities()
    u = (u / u.abs().max() * torch.finfo(dtype).max).to(dtype)
    u.requires_grad_()
    x = case.softmax(u, 1e-3)
    assert torch.equal(x, case.structure.argmax(u))
    (gradient,) = torch.autograd.grad(x.sum(), u)
    assert gradient.isfinite().all()

import pytest
import torch

from sstricks.experiments.listops.gated_unit import GatedUnit


def inputs(rows, hidden, dtype):
    torch.manual_seed(0)
    unit = GatedUnit(hidden).to(dtype)
    return unit, [torch.randn(rows, hidden, dtype=dtype, requires_grad=True) for _ in range(2)]


def value_and_gradients(unit, function, arguments):
    out = function(*arguments)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad(out, [*arguments, *unit.parameters()], upstream)]


def torch_s(unit):
    return lambda x, h: torch.gru_cell(x, h, unit.weight_ih, unit.weight_hh, unit.bias_ih, unit.bias_hh)


@pytest.mark.parametrize(("rows", "hidden"), [(0, 3), (1, 1), (7, 5), (300, 60)])
def test_equals_torch_s_in_float64(rows, hidden):
    unit, arguments = inputs(rows, hidden, torch.float64)
    expected = value_and_gradients(unit, torch_s(unit), arguments)
    for ours, theirs in zip(value_and_gradients(unit, unit, arguments), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_gradcheck():
    unit, arguments = inputs(3, 4, torch.float64)
    assert torch.autograd.gradcheck(unit, arguments)


@pytest.mark.parametrize(("precision", "error"), [(None, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_float32_and_bfloat16_are_as_near_as_their_precision(precision, error, num_threads):
    unit, arguments = inputs(5000, 60, torch.float64)
    expected = value_and_gradients(unit, torch_s(unit), arguments)
    unit, arguments = unit.float(), [x.detach().float().requires_grad_() for x in arguments]
    unit.precision = precision
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = value_and_gradients(unit, unit, arguments)
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= error * theirs.norm()


def test_without_a_state_it_is_torch_s():
    unit, (x, _) = inputs(4, 3, torch.float32)
    torch.testing.assert_close(unit(x), unit(x, torch.zeros(4, 3)))
    x = x.detach().T.contiguous().T
    torch.testing.assert_close(unit(x, x), torch_s(unit)(x, x))


def test_where_torch_computes_it_keeps_the_precision_asked_for():
    unit, (x, _) = inputs(40, 8, torch.float32)
    exact = unit(x).detach()
    unit.precision = torch.bfloat16
    rounded = unit(x)  # without a state it is torch's, as on a GPU
    assert rounded.dtype == torch.float32
    assert 1e-4 < (rounded - exact).abs().max() < 0.05

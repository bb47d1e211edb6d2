import pytest
import torch

from at_once import results_at_once
from sstricks.experiments.nri.messages import messages, plain_messages


def inputs(batch, frames, nodes, width, out_width, dtype):
    shapes = [
        (batch, frames, nodes, width),
        (batch, frames, nodes, width),
        (batch, nodes * (nodes - 1)),
        (out_width, width),
        (out_width,),
    ]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def value_and_gradients(function, arguments, *options):
    out = function(*arguments, *options)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad(out, arguments, upstream)]


def test_gradcheck():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(messages, inputs(2, 2, 4, 5, 3, torch.float64))


@pytest.mark.parametrize("shape", [(1, 1, 2, 1, 1), (3, 2, 5, 7, 4), (9, 5, 10, 16, 16)])
def test_equals_the_plain_version_in_float64(shape):
    torch.manual_seed(0)
    arguments = inputs(*shape, torch.float64)
    fused, plain = value_and_gradients(messages, arguments), value_and_gradients(plain_messages, arguments)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(("precision", "error"), [(None, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_float32_and_bfloat16_are_as_near_as_their_precision(precision, error, num_threads):
    torch.manual_seed(0)
    arguments = inputs(20, 9, 10, 32, 32, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        fused = value_and_gradients(messages, arguments, precision)
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    exact = [x.detach().double().requires_grad_() for x in arguments]
    for ours, theirs in zip(fused, value_and_gradients(plain_messages, exact), strict=True):
        assert (ours - theirs).norm() <= error * theirs.norm()


def test_the_same_input_gives_the_same_bits():
    torch.manual_seed(0)
    arguments = inputs(64, 9, 10, 64, 64, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, *others = (value_and_gradients(messages, arguments, torch.bfloat16) for _ in range(4))
    finally:
        torch.set_num_threads(before)
    for other in others:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, other, strict=True))


def test_an_empty_batch():
    arguments = inputs(0, 2, 3, 4, 4, torch.float32)
    assert messages(*arguments).shape == (0, 2, 3, 4)


def test_inference_mode():
    torch.manual_seed(0)
    arguments = inputs(64, 9, 10, 64, 64, torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(messages(*arguments), plain_messages(*arguments))


def test_bfloat16_rounds_as_torch_does():
    torch.manual_seed(0)
    arguments = inputs(3, 2, 5, 8, 8, torch.float32)
    fused, plain = messages(*arguments, torch.bfloat16), plain_messages(*arguments, torch.bfloat16)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)


def test_non_contiguous_and_partly_constant_inputs():
    torch.manual_seed(0)
    sent, received, weights, matrix, bias = inputs(2, 3, 4, 6, 6, torch.float64)
    arguments = (sent.transpose(0, 1).detach(), received.transpose(0, 1), weights[:1].expand(3, -1), matrix, bias)
    expected = torch.autograd.grad(plain_messages(*arguments).square().sum(), (received, weights))
    found = torch.autograd.grad(messages(*arguments).square().sum(), (received, weights))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_several_threads_at_once():
    torch.manual_seed(0)
    arguments = inputs(8, 9, 10, 16, 16, torch.float32)
    expected = value_and_gradients(messages, arguments)
    for result in results_at_once(lambda: value_and_gradients(messages, arguments)):
        for ours, theirs in zip(result, expected, strict=True):
            torch.testing.assert_close(ours, theirs)

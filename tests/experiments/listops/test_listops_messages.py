import pytest
import sentences_of
import torch

from at_once import results_at_once
from sstricks.experiments.listops import messages as chunked
from sstricks.experiments.listops.links import gold_graph, links_of
from sstricks.experiments.listops.messages import messages, plain_messages


def graphs(batch, length, dtype, density=0.6):
    weights = torch.rand(batch, length, length, dtype=dtype)
    return (weights * (torch.rand(batch, length, length) < density)).requires_grad_()


def inputs(batch, length, width, out_width, dtype):
    shapes = [(batch * length, width), (batch * length, width), (out_width, width), (out_width,)]
    sent, received, matrix, bias = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return [sent, received, graphs(batch, length, dtype), matrix, bias]


def value_and_gradients(function, arguments, *options):
    sent, received, graph, matrix, bias = arguments
    out = function(sent, received, links_of(graph), matrix, bias, *options)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad(out, arguments, upstream)]


def by_definition(sent, received, graph, matrix, bias):
    batch, length, _ = graph.shape
    out = torch.zeros(batch * length, len(bias), dtype=sent.dtype)
    for b in range(batch):
        for i in range(length):
            for j in range(length):
                hidden = (sent[b * length + j] + received[b * length + i]).relu()
                out[b * length + i] += graph[b, i, j] * (matrix @ hidden + bias).relu()
    return out


def test_a_message_runs_from_operand_to_operator():
    links = links_of(gold_graph(sentences_of.batch("[MAX 3 [MIN 8 2 ] ]", "[MED 1 4 ]")).float())
    assert links.senders.tolist() == [1, 2, 3, 4, 8, 9]
    assert links.receivers.tolist() == [0, 0, 2, 2, 7, 7]
    assert links.starts.tolist() == [0, 4, 6]


def test_the_value_is_the_definition():
    torch.manual_seed(0)
    arguments = [x.detach() for x in inputs(2, 3, 4, 5, torch.float64)]
    sent, received, graph, matrix, bias = arguments
    found = messages(sent, received, links_of(graph), matrix, bias)
    torch.testing.assert_close(found, by_definition(*arguments))


def test_gradcheck():
    torch.manual_seed(0)

    def function(sent, received, graph, matrix, bias):
        return messages(sent, received, links_of(graph), matrix, bias)

    sent, received, _, matrix, bias = inputs(2, 3, 5, 4, torch.float64)
    weights = (0.1 + torch.rand(2, 3, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(function, (sent, received, weights, matrix, bias))


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (5, 7, 7, 4), (12, 20, 16, 16)])
def test_equals_the_plain_version_in_float64(shape):
    torch.manual_seed(0)
    arguments = inputs(*shape, torch.float64)
    fused, plain = value_and_gradients(messages, arguments), value_and_gradients(plain_messages, arguments)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("links_at_once", [1, 100, 10**9])
def test_how_the_links_are_cut_does_not_matter(monkeypatch, links_at_once):
    torch.manual_seed(0)
    arguments = inputs(9, 6, 8, 8, torch.float64)
    arguments[2].data[3] = 0
    expected = value_and_gradients(plain_messages, arguments)
    monkeypatch.setattr(chunked, "_CHUNK", links_at_once)
    for ours, theirs in zip(value_and_gradients(messages, arguments), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(("precision", "error"), [(None, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_float32_and_bfloat16_are_as_near_as_their_precision(precision, error, num_threads):
    torch.manual_seed(0)
    arguments = inputs(40, 25, 60, 60, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        fused, again = (value_and_gradients(messages, arguments, precision) for _ in range(2))
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    exact = [x.detach().double().requires_grad_() for x in arguments]
    for ours, twice, theirs in zip(fused, again, value_and_gradients(plain_messages, exact), strict=True):
        assert (ours - theirs).norm() <= error * theirs.norm()
        assert torch.equal(ours, twice)


def test_graphs_without_edges():
    sent, received, _, matrix, bias = inputs(3, 4, 5, 6, torch.float32)
    out = messages(sent, received, links_of(torch.zeros(3, 4, 4)), matrix, bias)
    assert torch.equal(out, torch.zeros(12, 6))
    out.sum().backward()
    assert not matrix.grad.any()


def test_inference_mode():
    torch.manual_seed(0)
    sent, received, graph, matrix, bias = inputs(4, 10, 16, 16, torch.float32)
    with torch.inference_mode():
        links = links_of(graph)
        expected = plain_messages(sent, received, links, matrix, bias)
        torch.testing.assert_close(messages(sent, received, links, matrix, bias), expected)


def test_negligible_edges_change_little():
    torch.manual_seed(0)
    sent, received, graph, matrix, bias = inputs(4, 10, 16, 16, torch.float64)
    graph.data[graph < 0.3] *= 1e-6
    exact = messages(sent, received, links_of(graph), matrix, bias)
    fewer = links_of(graph, 1e-6)
    assert len(fewer.senders) < 0.8 * len(links_of(graph).senders)
    largest = (matrix.abs().sum() * (sent.abs().amax() + received.abs().amax())) + bias.abs().amax()
    error = (messages(sent, received, fewer, matrix, bias) - exact).abs().amax()
    assert error <= 10 * 1e-6 * largest


def test_several_threads_at_once():
    torch.manual_seed(0)
    arguments = inputs(20, 15, 16, 16, torch.float32)
    expected = value_and_gradients(messages, arguments)
    for result in results_at_once(lambda: value_and_gradients(messages, arguments)):
        for ours, theirs in zip(result, expected, strict=True):
            torch.testing.assert_close(ours, theirs)

import pytest
import torch
from torch.nn import functional as F

from sstricks.experiments.nri.encoder import Encoder
from sstricks.experiments.nri.pairs import directed_edges


def with_one_hot_matrices(encoder, positions):
    """Kipf et al.'s encoder as they wrote it down: one-hot matrices and concatenation."""
    n = encoder.num_nodes
    send, receive = (F.one_hot(nodes, n).to(positions.dtype) for nodes in directed_edges(n))

    def block(block, pre):
        out = F.elu(block.linear(F.elu(pre)))
        return block.norm(out.reshape(-1, encoder.hidden)).view(out.shape)

    nodes = block(encoder.nodes1, encoder.input(positions.transpose(1, 2).flatten(2)))
    edges = block(encoder.edges1, encoder.pairs1.linear(torch.cat([send @ nodes, receive @ nodes], -1)))
    nodes = block(encoder.nodes2, encoder.gather(receive.T @ edges / n))
    pairs = torch.cat([send @ nodes, receive @ nodes, edges], -1)
    return encoder.readout(block(encoder.edges2, encoder.pairs2.linear(pairs)))


@pytest.mark.parametrize("training", [True, False])
def test_equals_one_hot_matrices(training):
    torch.manual_seed(0)
    encoder = Encoder(6, 4, 8, 2).double().train(training)
    positions = torch.randn(3, 4, 6, 2, dtype=torch.float64)
    torch.testing.assert_close(encoder(positions), with_one_hot_matrices(encoder, positions))
    assert encoder(positions).shape == (3, 30, 2)


def test_bfloat16_products_stay_near():
    torch.manual_seed(0)
    encoder = Encoder(6, 4, 16, 1).eval()
    rounded = Encoder(6, 4, 16, 1, precision=torch.bfloat16).eval()
    rounded.load_state_dict(encoder.state_dict())
    positions = torch.randn(3, 4, 6, 2)
    exact, found = encoder(positions), rounded(positions)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.03 * exact.norm()


def test_starts_as_kipf_et_al_start():
    encoder = Encoder(10, 10, 256, 1)
    for name, parameter in encoder.named_parameters():
        if name.endswith("linear.bias"):
            assert (parameter == 0.1).all()
    expected = (2 / (2 * 256 + 256)) ** 0.5
    assert encoder.pairs1.linear.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_positions_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"positions has shape .* expected"):
        Encoder(6, 4, 8, 2)(torch.zeros(3, 5, 6, 2))

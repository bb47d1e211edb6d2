import pytest
import torch
from torch.nn import functional as F

from sstricks.experiments.nri.decoder import Decoder
from sstricks.experiments.nri.pairs import directed_edges


def one_step(decoder, frame, graph):
    """Kipf et al.'s decoder as they wrote it down, for one frame (B, n, 2)."""
    senders, receivers = directed_edges(decoder.num_nodes)
    pairs = torch.cat([frame[:, senders], frame[:, receivers]], -1)
    on = graph[:, senders, receivers].unsqueeze(-1)
    total = 0
    for weight, network in ((decoder.no_edge * (1 - on), decoder.absent), (on, decoder.present)):
        total = total + weight * F.relu(network.message(F.relu(network.pair(pairs))))
    received = torch.stack([total[:, receivers == node].sum(1) for node in range(decoder.num_nodes)], 1)
    return frame + decoder.update(torch.cat([frame, received], -1))


@pytest.fixture
def case():
    torch.manual_seed(0)
    return Decoder(5, 8).double(), torch.randn(2, 7, 5, 2).double(), torch.rand(2, 5, 5).double()


@pytest.mark.parametrize("horizon", [1, 2, 3, 6, 7])
def test_rolls_out_from_every_horizon_th_true_frame(case, horizon):
    decoder, positions, graph = case
    expected, frame = [], positions[:, 0]
    for time in range(6):
        frame = one_step(decoder, positions[:, time] if time % horizon == 0 else frame, graph)
        expected.append(frame)
    torch.testing.assert_close(decoder(positions, graph, horizon), torch.stack(expected, 1))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_absent_edges_may_be_silenced(case, weight):
    decoder, positions, graph = case
    decoder.no_edge.fill_(weight)
    torch.testing.assert_close(decoder(positions, graph, 7)[:, 0], one_step(decoder, positions[:, 0], graph))
    assert decoder.state_dict()["no_edge"] == pytest.approx(weight)


def test_the_diagonal_is_not_read(case):
    decoder, positions, graph = case
    changed = graph + torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(decoder(positions, graph), decoder(positions, changed))


def test_bfloat16_products_stay_near(case):
    decoder, positions, graph = case
    rounded = Decoder(5, 8, precision=torch.bfloat16)
    rounded.load_state_dict(decoder.float().state_dict())
    exact, found = decoder(positions.float(), graph.float()), rounded(positions.float(), graph.float())
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 0.02


def test_bad_arguments_are_refused(case):
    decoder, positions, graph = case
    with pytest.raises(ValueError, match="graph has shape"):
        decoder(positions, graph[:1])
    with pytest.raises(ValueError, match="horizon is 0"):
        decoder(positions, graph, 0)
    with pytest.raises(ValueError, match="horizon is 8"):
        decoder(positions, graph, 8)

"""A training step of graph layout (8.1, App. D.4) written down as the paper and Kipf et al. (2018) describe it.

One-hot send and receive matrices, a decoder that is rolled out from every ninth true frame, the marginals of a tree as
the derivative of a log-determinant, a second, teacher-forced pass for the number that is logged; float32 throughout.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Gumbel
from torch.nn import functional as F

from benchmarks.naive.laplacian import marginals


class Block(nn.Module):
    """Two layers with ELU, then batch norm."""

    def __init__(self, num_inputs: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(num_inputs, hidden), nn.Linear(hidden, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        for layer in (self.first, self.second):
            nn.init.xavier_normal_(layer.weight)
            nn.init.constant_(layer.bias, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, inputs) -> (B, rows, hidden)."""
        out = F.elu(self.second(F.elu(self.first(x))))
        return self.norm(out.flatten(0, 1)).view_as(out)


class Model(nn.Module):
    """Encoder, sampler and decoder over n nodes, T frames."""

    def __init__(self, num_nodes: int, num_frames: int, hidden: int, temperature: float) -> None:
        super().__init__()
        self.num_nodes, self.temperature = num_nodes, temperature
        off_diagonal = 1 - torch.eye(num_nodes)
        self.receivers, self.senders = off_diagonal.nonzero(as_tuple=True)
        self.receive = F.one_hot(self.receivers, num_nodes).float()
        self.send = F.one_hot(self.senders, num_nodes).float()
        self.edges = torch.triu_indices(num_nodes, num_nodes, 1)
        self.nodes1, self.edges1 = Block(2 * num_frames, hidden), Block(2 * hidden, hidden)
        self.nodes2, self.edges2 = Block(hidden, hidden), Block(3 * hidden, hidden)
        self.readout = nn.Linear(hidden, 1)
        self.pair = nn.ModuleList(nn.Linear(4, hidden) for _ in range(2))
        self.message = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.update = nn.Sequential(
            nn.Linear(2 + hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def encode(self, positions: Tensor) -> Tensor:
        """Symmetrised utilities, (B, T, n, 2) -> (B, n(n-1)/2)."""
        nodes = self.nodes1(positions.transpose(1, 2).flatten(2))
        edges = self.edges1(torch.cat([self.send @ nodes, self.receive @ nodes], -1))
        nodes = self.nodes2(self.receive.T @ edges / self.num_nodes)
        pairs = torch.cat([self.send @ nodes, self.receive @ nodes, edges], -1)
        directed = self.readout(self.edges2(pairs)).squeeze(-1)
        grid = directed.new_zeros(len(directed), self.num_nodes, self.num_nodes)
        grid[:, self.senders, self.receivers] = directed
        return ((grid + grid.mT) / 2)[:, self.edges[0], self.edges[1]]

    def sample(self, theta: Tensor) -> Tensor:
        """Relaxed trees as weights of the directed edges, (B, n(n-1))."""
        utility = Gumbel(theta, torch.ones_like(theta)).rsample()
        x = marginals(utility / self.temperature, self.edges, self.num_nodes)
        grid = x.new_zeros(len(x), self.num_nodes, self.num_nodes)
        grid[:, self.edges[0], self.edges[1]] = x
        return (grid + grid.mT)[:, self.senders, self.receivers]

    def advance(self, positions: Tensor, weights: Tensor) -> Tensor:
        """The successors of frames, (B, starts, n, 2)."""
        pairs = torch.cat([self.send @ positions, self.receive @ positions], -1)
        total = torch.zeros(())
        for weight, first, second in zip((1 - weights, weights), self.pair, self.message, strict=True):
            total = total + F.relu(second(F.relu(first(pairs)))) * weight[:, None, :, None]
        received = (total.mT @ self.receive).mT
        return positions + self.update(torch.cat([positions, received], -1))

    def decode(self, starts: Tensor, weights: Tensor, horizon: int) -> Tensor:
        """Roll out from the starts, (B, starts, n, 2) -> (B, starts * horizon, n, 2)."""
        frames = []
        for _ in range(horizon):
            starts = self.advance(starts, weights)
            frames.append(starts)
        return torch.stack(frames, 2).flatten(1, 2)


def training_step(
    model: Model, optimizer: torch.optim.Optimizer, positions: Tensor, horizon: int, starts: int
) -> float:
    """One step on (B, T, n, 2), decoding from the first `starts` of every `horizon`-th frames; the ELBO it logs."""
    target, num_nodes = positions[:, 1:], positions.shape[2]

    def nll(prediction: Tensor) -> Tensor:
        return ((prediction[:, : len(target[0])] - target) ** 2 / 1e-4).sum((1, 2, 3)) / num_nodes

    optimizer.zero_grad()
    theta = model.encode(positions)
    weights = model.sample(theta)
    kl = (theta + torch.exp(-theta) - 1).sum(-1) / num_nodes
    loss = (nll(model.decode(positions[:, ::horizon][:, :starts], weights, horizon)) + kl).mean()
    with torch.no_grad():
        logged = (nll(model.decode(positions, weights, 1)) + kl).mean()
    loss.backward()
    optimizer.step()
    return -logged.item()

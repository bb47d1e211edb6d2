"""A training step of graph layout at the paper's size: ours beside a straightforward rendition, and where time goes."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import nri as naive
from sstricks.experiments.nri.data import simulate
from sstricks.experiments.nri.decoder import Decoder
from sstricks.experiments.nri.edges import spanning_tree_edges
from sstricks.experiments.nri.encoder import Encoder
from sstricks.experiments.nri.objective import elbo, gaussian_nll

BATCH, NODES, FRAMES, HIDDEN, TEMPERATURE, ROLLOUT = 128, 10, 10, 256, 1.0, 9
SIZE: dict[str, float] = {"n": NODES, "T": FRAMES, "hidden": HIDDEN, "batch": BATCH}
PAIRS = BATCH * NODES * (NODES - 1)
WANTED = 5  # how many of our steps should fit into one of the rendition's
RENDITION = "the paper's loop"


def run(seconds: float) -> list[Row]:
    """Hold the contests; a step takes a second, so each contender gets ten times the usual budget."""
    steps = _steps().hold(10 * seconds)
    limit = next(row.timing.median / WANTED for row in steps if row.contender == RENDITION and row.timing)
    steps = [replace(row, target=limit) if row.contender == OURS else row for row in steps]
    peaks = _peaks().hold(seconds)
    peak = max(rate(PRODUCT, row) for row in peaks)
    peaks = [replace(row, note=f"{rate(PRODUCT, row):.0f} GFLOP/s") for row in peaks]
    parts = [replace(row, note=_account(row, peak)) for row in _parts().hold(4 * seconds)]
    return steps + parts + peaks


PRODUCT = 2e-9 * PAIRS * HIDDEN**2
"""GFLOP of one product of the hidden rows of all pairs with a hidden-to-hidden matrix."""

NEEDED = {
    "encoder": 3 * PRODUCT * (3 + 7 / (NODES - 1)),
    "decoder": 3 * PRODUCT * (FRAMES - 1) * (2 + 2 / (NODES - 1)),
}
"""GFLOP that forward and backward cannot do without, by part: the nodes' layers are 1/(n-1) of the pairs'."""


def rate(gflop: float, row: Row) -> float:
    """GFLOP a second by the median."""
    return gflop / row.timing.median if row.timing else 0.0


def _account(row: Row, peak: float) -> str:
    gflop = NEEDED.get(row.contender)
    if gflop is None:
        return "no matrix products to speak of"
    return (
        f"{gflop:.1f} GFLOP needed, {rate(gflop, row):.0f} GFLOP/s, {rate(gflop, row) / peak:.0%} of the product's peak"
    )


class Step:
    """One of our training steps, whole or in parts, on the device of the positions."""

    def __init__(self, positions: Tensor, precision: torch.dtype | None, horizon: int) -> None:
        torch.manual_seed(0)
        self.positions, self.horizon = positions, horizon
        self.edges = spanning_tree_edges(NODES)
        self.encoder = Encoder(NODES, FRAMES, HIDDEN, 1, precision=precision).to(positions.device)
        self.decoder = Decoder(NODES, HIDDEN, precision=precision).to(positions.device)
        self.model = nn.ModuleList([self.encoder, self.decoder])
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.outputs = self.encoder(positions).detach()
        self.graph = self.edges.adjacency(self.edges.trick(self.edges.utilities(self.outputs), TEMPERATURE).rsample())

    def step(self) -> None:
        """Forward, backward, clip, Adam."""
        self.optimizer.zero_grad()
        theta = self.edges.utilities(self.encoder(self.positions))
        graph = self.edges.adjacency(self.edges.trick(theta, TEMPERATURE).rsample())
        nll = gaussian_nll(self.decoder(self.positions, graph, self.horizon), self.positions[:, 1:])
        (-elbo(nll, self.edges.kl(theta), NODES).mean()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1000.0)
        self.optimizer.step()

    def encode(self) -> None:
        """The encoder, forward and backward."""
        self.encoder(self.positions).square().sum().backward()

    def sample(self) -> None:
        """From the encoder's outputs to a graph, and back."""
        theta = self.edges.utilities(self.outputs.requires_grad_())
        self.edges.adjacency(self.edges.trick(theta, TEMPERATURE).rsample()).square().sum().backward()

    def decode(self) -> None:
        """The decoder, forward and backward."""
        graph = self.graph.detach().requires_grad_()
        gaussian_nll(self.decoder(self.positions, graph, self.horizon), self.positions[:, 1:]).sum().backward()


def observed() -> Tensor:
    """A batch of positions."""
    return simulate(BATCH, NODES, FRAMES, generator=torch.Generator().manual_seed(0)).positions


def _steps() -> Contest:
    positions = observed()
    contenders = [
        Contender(OURS, Step(positions, torch.bfloat16, 1).step, "bfloat16 products, one-step predictions"),
        Contender("sstricks, float32", Step(positions, None, 1).step),
        Contender(f"sstricks, rolled out {ROLLOUT} frames", Step(positions, torch.bfloat16, ROLLOUT).step),
        Contender(RENDITION, _rendition(positions, starts=2), "from frames 0 and 9, as written; float32"),
        Contender(
            "the same, from frame 0 alone", _rendition(positions, starts=1), "no predictions beyond the last frame"
        ),
    ]
    return Contest("training step", SIZE, contenders)


def _rendition(positions: Tensor, starts: int) -> Callable[[], float]:
    torch.manual_seed(0)
    model = naive.Model(NODES, FRAMES, HIDDEN, TEMPERATURE)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    return lambda: naive.training_step(model, optimizer, positions, ROLLOUT, starts)


def _parts() -> Contest:
    ours = Step(observed(), torch.bfloat16, 1)
    ours.step()
    contenders = [
        Contender("encoder", ours.encode),
        Contender("sample of edges", ours.sample),
        Contender("decoder", ours.decode),
        Contender("Adam", ours.optimizer.step),
    ]
    return Contest("parts of ours, forward and backward", SIZE, contenders)


def _peaks() -> Contest:
    def product(dtype: torch.dtype) -> Callable[[], Tensor]:
        rows, matrix = torch.randn(PAIRS, HIDDEN).to(dtype), torch.randn(HIDDEN, HIDDEN).to(dtype)
        return lambda: rows @ matrix

    contenders = [
        Contender(str(dtype).removeprefix("torch."), product(dtype)) for dtype in (torch.bfloat16, torch.float32)
    ]
    return Contest("matrix product", {"rows": PAIRS, "columns": HIDDEN}, contenders)

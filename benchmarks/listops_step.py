"""A training step of ListOps at the paper's size: ours beside a straightforward rendition, and where time goes."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive.listops import DenseNetwork, loss
from sstricks.experiments.listops.data import Specification, make_splits
from sstricks.experiments.listops.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.listops.encoder import EdgeEncoder
from sstricks.experiments.listops.links import gold_graph, links_of
from sstricks.experiments.listops.network import GraphNetwork
from sstricks.experiments.listops.sentences import Sentences

BATCH, HIDDEN, STEPS, DROPOUT, TEMPERATURE, NEGLIGIBLE = 100, 60, 5, 0.1, 1.0, 1e-4
LENGTHS = (18, 22)
SPREAD = 5.0
"""The standard deviation of trained utilities' locations: 5 after 500 steps, and rising."""
WANTED = 3  # how many of our steps should fit into one of the rendition's
RENDITION = "dense messages in torch"


def run(seconds: float) -> list[Row]:
    """Hold the contests; a step takes a tenth of a second, so each contender gets four times the usual budget."""
    sentences = _sentences()
    size: dict[str, float] = {"L": sentences.max_length, "hidden": HIDDEN, "batch": BATCH}
    steps = Contest("training step, trained utilities", size, _steps(sentences)).hold(4 * seconds)
    limit = next(row.timing.median / WANTED for row in steps if row.contender == RENDITION and row.timing)
    steps = [replace(row, target=limit) if row.contender == OURS else row for row in steps]
    return [*steps, *Contest("parts of ours, forward and backward", size, _parts(sentences)).hold(4 * seconds)]


def _sentences() -> Sentences:
    train = make_splits(Specification(train=2_000, valid=5, test=5)).train
    usual = (train.lengths >= LENGTHS[0]) & (train.lengths <= LENGTHS[1])
    return train.select(usual.nonzero().squeeze(-1)[:BATCH])


class _Ours:
    """One of our training steps, whole or in parts."""

    def __init__(self, sentences: Sentences, precision: torch.dtype | None, negligible: float) -> None:
        torch.manual_seed(0)
        self.sentences, self.negligible = sentences, negligible
        self.edges = EDGE_DISTRIBUTIONS["arborescence"]("gumbel")
        self.encoder = EdgeEncoder(HIDDEN, DROPOUT)
        self.network = GraphNetwork(HIDDEN, STEPS, DROPOUT, precision)
        self.model = nn.ModuleList([self.encoder, self.network])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, fused=True)
        self.scale = SPREAD / self.encoder(sentences.tokens).detach().std()
        self.theta = self.scale * self.encoder(sentences.tokens).detach()
        self.graph = self.sample(self.theta).detach()

    def sample(self, theta: Tensor) -> Tensor:
        """From utilities to a relaxed graph."""
        x = self.edges.trick(theta, self.sentences.mask, TEMPERATURE).rsample()
        return self.edges.adjacency(x, self.sentences.max_length)

    def loss(self, graph: Tensor) -> Tensor:
        """The cross-entropy given a graph."""
        logits = self.network(self.sentences.tokens, links_of(graph, self.negligible))
        return F.cross_entropy(logits, self.sentences.answer)

    def step(self) -> None:
        """Forward, backward, clip, AdamW."""
        self.optimizer.zero_grad()
        self.loss(self.sample(self.scale * self.encoder(self.sentences.tokens))).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


class _Dense(_Ours):
    """The same with the messages of the rendition."""

    def __init__(self, sentences: Sentences) -> None:
        super().__init__(sentences, None, 0.0)
        self.dense = DenseNetwork(HIDDEN, STEPS, DROPOUT)

    def loss(self, graph: Tensor) -> Tensor:
        """The cross-entropy given a graph."""
        return loss(self.dense, self.sentences.tokens, graph, self.sentences.answer)


def _steps(sentences: Sentences) -> list[Contender]:
    return [
        Contender(OURS, _Ours(sentences, torch.bfloat16, NEGLIGIBLE).step, "as the preset cpu has it"),
        Contender("sstricks, every edge", _Ours(sentences, torch.bfloat16, 0.0).step, "bfloat16, none negligible"),
        Contender("sstricks, every edge, float32", _Ours(sentences, None, 0.0).step, "as the preset paper has it"),
        Contender(RENDITION, _Dense(sentences).step, "float32"),
    ]


def _parts(sentences: Sentences) -> list[Contender]:
    ours = _Ours(sentences, torch.bfloat16, NEGLIGIBLE)
    ours.step()
    gold = links_of(gold_graph(sentences).float())

    def encode() -> None:
        ours.encoder(sentences.tokens).square().sum().backward()

    def sample() -> None:
        ours.sample(ours.theta.requires_grad_()).square().sum().backward()

    def evaluate() -> None:
        ours.loss(ours.graph.requires_grad_()).backward()

    def evaluate_gold() -> None:
        F.cross_entropy(ours.network(sentences.tokens, gold), sentences.answer).backward()

    links = len(links_of(ours.graph, NEGLIGIBLE).senders)
    return [
        Contender("encoder", encode, "two LSTMs"),
        Contender("sample of arborescences", sample),
        Contender("message passing", evaluate, f"{links} of {len(links_of(ours.graph).senders)} edges, {STEPS} rounds"),
        Contender("message passing over gold edges", evaluate_gold, f"{len(gold.senders)} edges"),
        Contender("AdamW", ours.optimizer.step),
    ]

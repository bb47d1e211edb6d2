"""Graph layout: discover the latent trees behind moving points (Sec. 8.1, App. C.1 and D.4 of the paper).

Points move as a force-directed layout algorithm pulls at hidden edges, which form a tree. An encoder sees the whole
trajectory and gives every pair of points a utility; a stochastic softmax trick makes a relaxed graph of them; a decoder
predicts each frame from the one before, by messages along the graph. Both are trained on the evidence lower bound, and
nobody tells them about trees but the structure of the trick: compare `--edges spanning-tree` with `top-k` (as many
edges, anywhere) and `independent` (Kipf et al. 2018, "NRI"). Score-function estimators (`--estimator`) train the same
model on hard graphs. Evaluation is always on hard graphs.

    sst train nri --out runs/trees          # minutes; --preset cpu takes an hour on two cores
    cp nri.py mine.py && python mine.py --help
"""

import functools
import math
import textwrap
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, kl_divergence
from torch.nn import functional as F

import sstricks as sst
from sstricks.estimators import NVIL, Action, Reinforce, draw_action
from sstricks.recipes.harness import recipe as harness
from sstricks.recipes.harness.commands import main
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.recipe import Data, Model, Precision, Recipe, check_finite, draw_soft, fold_in, lowered


@dataclass(frozen=True, kw_only=True)
class GraphLayout(Recipe):
    """Discover the latent graphs behind moving points: neural relational inference on graph layout (Sec. 8.1)."""

    name: ClassVar = "nri"
    monitor: ClassVar = "valid/elbo"
    shown: ClassVar = {"valid/elbo": "ELBO {:.0f}", "valid/edge_precision": "precision {:.2f}"}

    edges: Literal["spanning-tree", "top-k", "independent"] = "spanning-tree"
    """Distribution over graphs."""
    estimator: Literal["sst", "straight-through", "i-mle", "identity", "spigot", "reinforce", "nvil"] = "sst"
    """How the encoder gets its gradient: through relaxed samples (sst), from a score function (reinforce, nvil), or as
    in docs/estimators.md."""
    preset: Literal["quick", "cpu", "large", "paper"] = "quick"
    """quick: minutes on 2 cores. cpu: an hour. large: ours at the paper's sizes, for a GPU. paper: the paper's
    procedure to the letter, for a GPU."""
    data_seed: int = 0
    """Chooses the data set."""
    graph_nodes: int = 10
    """Nodes of a tree."""
    num_frames: int = 10
    """Frames of a trajectory; the paper has 10 and 20."""
    train_examples: int = 50_000
    """Size of the training split."""
    valid_examples: int = 10_000
    """Size of the validation split."""
    test_examples: int = 10_000
    """Size of the test split."""
    hidden: int = 256
    """Width of all layers."""
    temperature: float = 1.0
    """Temperature of the relaxation; the step of i-mle and spigot."""
    horizon: int = 1
    """Frames predicted in training before a true one is seen again; 1 in evaluation."""
    no_edge_hold: int = 0
    """Steps before messages pass between nodes that no edge connects."""
    no_edge_ramp: int = 0
    """Steps over which those messages then gain their full weight."""
    baseline_decay: float = 0.99
    """Of REINFORCE's and NVIL's moving average."""

    def with_preset(self) -> Self:
        """The paper names its optimizer, sizes and what it tuned (App. D.4.3), but not the values that were found.

        What `large`, `cpu` and `quick` have and the paper has not: half of all initial weights lead a tree to mark the
        pairs of nodes that are *not* joined, so the run goes on from the best of several restarts; and messages between
        nodes that no edge connects are held back at first (see `no_edge_weight`). `cpu` and `quick` predict one step
        ahead, as evaluation does, instead of rolling out ten frames: faster, and no worse.
        """
        paper = replace(self, batch_size=128, steps=50_000, valid_every=500, lr=5e-4)
        paper = replace(
            paper,
            temperature=1.0 if self.edges == "spanning-tree" else 0.5,
            horizon=min(10, self.num_frames - 1),
            weight_decay=0.0 if self.estimator in harness.ESTIMATORS else 1e-4,
        )
        if self.preset == "paper":
            return paper
        large = replace(paper, no_edge_hold=200, no_edge_ramp=200, precision="bfloat16", restarts=4, restart_steps=500)
        if self.preset == "large":
            return large
        cpu = replace(
            large, horizon=1, hidden=128, steps=3_000, valid_every=100, valid_examples=2_000, lr=2e-3, restart_steps=200
        )
        if self.preset == "cpu":
            return cpu
        sizes = {"hidden": 64, "train_examples": 20_000, "valid_examples": 1_000}
        return replace(cpu, **sizes, lr_decay=0.3, steps=1_200, restarts=16, restart_steps=50, restart_factor=4)

    def check(self) -> None:
        self.check_range("graph_nodes", "num_frames", least=2)
        super().check()
        self.check_positive("train_examples", "valid_examples", "test_examples", "hidden", "temperature")
        self.check_range("horizon", least=1, most="num_frames")
        self.check_range("data_seed", "no_edge_hold", "no_edge_ramp", least=0)
        self.check_range("baseline_decay", least=0, below=1)
        self.check_range("batch_size", least=1, most="train_examples")

    @property
    def title(self) -> str:
        return self.edges if self.estimator == "sst" else f"{self.edges} {self.estimator}"

    def no_edge_weight(self, step: int) -> float:
        """The weight of messages along absent edges: 0 at first, then it rises to 1 in a straight line.

        Graph layout has a second basin, in which the relaxed tree marks the pairs that are *not* joined. It opens when
        the network of the absent edges, whose messages have weight 1 − X ≈ 0.8 at the start, learns the mean force
        first: from then on, raising X on a true edge takes force away from it. While that network is silent, nothing
        but a message along an edge can explain a force, so the edges are found on the right side.
        """
        since = step - self.no_edge_hold
        return float(since >= 0) if self.no_edge_ramp == 0 else min(1.0, max(0.0, since / self.no_edge_ramp))

    def space(self) -> dict[str, Any]:
        """What the paper varied (App. C.1, D.4.3); it does not print the bounds. These have the presets inside."""
        from ray import tune

        lr = tune.loguniform(3e-4, 5e-3)
        if self.estimator in harness.ESTIMATORS:
            return {"lr": lr, "temperature": tune.loguniform(0.3, 3.0)}
        decays = tune.choice([0.9, 0.97, 0.99, 0.997, 0.999])
        return {"lr": lr, "weight_decay": tune.loguniform(1e-6, 1e-2), "baseline_decay": decays}

    def model(self) -> "GraphLayoutModel":
        return GraphLayoutModel(self)

    def data(self) -> Data:
        sizes = (self.train_examples, self.valid_examples, self.test_examples)
        return simulate_splits(sizes, self.graph_nodes, self.num_frames, self.data_seed)

    def facts(self) -> dict[str, Any]:
        """What graphs drawn from the prior would score: precision 2/n, recall the share of pairs that they connect."""
        density = 0.5 if self.edges == "independent" else 2 / self.graph_nodes
        return {"chance/edge_precision": 2 / self.graph_nodes, "chance/edge_recall": density}

    def draw(self, model: Any, folder: Path) -> list[Path]:
        """Three test graphs beside what was recovered, and the learning curves."""
        from sstricks.recipes.drawing import draw_curves

        elbo = {"train/elbo": "training, relaxed samples", "valid/elbo": "validation, hard samples"}
        edges = {"valid/edge_precision": "precision", "valid/edge_recall": "recall"}
        panels = {"ELBO per node (nats, higher is better)": elbo, "Edges recovered in validation": edges}
        examples, runs = range(1, min(3, self.test_examples) + 1), {f"{self.title} ({self.preset})": (self, model)}
        graphs = draw_layouts(runs, folder / "graphs.png", examples)
        return [graphs, draw_curves({"": folder}, panels, folder / "curves.png")]

    @classmethod
    def layout(cls) -> harness.Layout:
        """Table 1 for stochastic softmax tricks, Table 7 for score-function estimators."""
        names = {"independent": "Indep. Directed Edges", "top-k": "Top |V| − 1", "spanning-tree": "Spanning Tree"}
        scores = {"reinforce": harness.Label(0, "REINFORCE"), "nvil": harness.Label(1, "NVIL")}

        def place(facts: harness.Facts) -> harness.Place:
            edges, estimator, nodes, frames = (facts[n] for n in ("edges", "estimator", "graph_nodes", "num_frames"))
            flipped = facts.get("test/complemented") == 1  # never averaged with others: chance is another one, too
            text = f"E.F. Ent. {names[edges]}" if (edges, estimator) == ("top-k", "sst") else names[edges]
            rank = 2 * list(names).index(edges) + flipped
            if flipped:
                recall = 1 - facts.get("chance/edge_recall", 2 / nodes)
                text += f" (flipped; chance {200 / nodes:.0f}, {100 * recall:.0f})"
            if estimator in scores:
                title = harness.Label(frames, f"Graph layout: score-function estimators, T = {frames}")
                return harness.Place(title, (harness.Label(rank, text),), scores[estimator])
            text = ", ".join(filter(None, (text, harness.ESTIMATORS[estimator])))
            rank += 2 * len(names) * list(harness.ESTIMATORS).index(estimator)
            title = harness.Label(0, "Graph layout: stochastic softmax tricks")
            return harness.Place(title, (harness.Label(rank, text),), harness.Label(frames, f"T = {frames}"))

        def setup(facts: harness.Facts) -> str:
            best = f", the best of {facts['restarts']} initialisations goes on" if facts["restarts"] > 1 else ""
            return (
                "preset {preset}, {steps:,} steps of batch {batch_size}{best}, {hidden} hidden units, {graph_nodes} "
                "nodes, {train_examples:,} training, {valid_examples:,} validation and {test_examples:,} test examples"
            ).format(**facts, best=best)

        def caution(facts: harness.Facts) -> str | None:
            if facts["graph_nodes"] != 10 or facts["num_frames"] not in (10, 20) or facts["steps"] < 500:
                return None  # other data than the paper's, or a try of the command
            unsure = "the paper does not say for which T; " if facts["estimator"] in scores else ""
            return f"{unsure}20 runs of 50,000 steps a cell, 256 hidden units"

        return harness.Layout(
            subject="Graph layout",
            selected_by="ELBO",
            validation=harness.Metric("valid/elbo", "validation ELBO per node (nats)", 0),
            falls=False,
            metrics=(
                harness.Metric("test/elbo", "ELBO", 0),
                harness.Metric("test/edge_precision", "Edge Prec.", 1, 100, chance=True),
                harness.Metric("test/edge_recall", "Edge Rec.", 1, 100, chance=True),
            ),
            rows=("Edge Distribution",),
            place=place,
            placing=frozenset({"edges", "estimator", "num_frames"}),
            tuned=frozenset({"lr", "lr_decay", "weight_decay", "clip", "temperature", "horizon", "baseline_decay"})
            | {"no_edge_hold", "no_edge_ramp"},
            setup=setup,
            caution=caution,
        )


# ------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Layouts:
    """Trajectories of trees being laid out, and the trees that no model gets to see."""

    positions: Tensor  # float32 (N, T, n, 2), in [-1, 1]
    edges: Tensor  # bool (N, n(n-1)/2), in the order of torch.triu_indices(n, n, 1)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, chosen: Tensor | slice) -> "Layouts":
        return Layouts(self.positions[chosen], self.edges[chosen])

    def to(self, device: torch.device) -> "Layouts":
        return Layouts(self.positions.to(device), self.edges.to(device))


def spring_step(positions: Tensor, adjacency: Tensor) -> Tensor:
    """One iteration of Fruchterman and Reingold's layout, as ``networkx.spring_layout(iterations=1)`` does it.

    The force on node i is Σ_j (p_i − p_j) (k²/d² − A_ij d/k) with k = n^(−1/2). Every node moves a tenth of the larger
    axis range along its force; then the layout is centred and its largest absolute coordinate made 1.
    """
    ideal = 1 / math.sqrt(positions.shape[-2])
    delta = positions.unsqueeze(-2) - positions.unsqueeze(-3)
    distance = delta.square().sum(-1).sqrt_().clamp_(min=0.01)
    strength = ideal**2 / distance.square() - adjacency * distance / ideal
    force = (delta * strength.unsqueeze(-1)).sum(-2)
    reach = 0.1 * (positions.amax(-2) - positions.amin(-2)).amax(-1)
    length = force.square().sum(-1, keepdim=True).sqrt_().clamp_(min=0.01)
    moved = positions + force * (reach[..., None, None] / length)
    centred = moved - moved.mean(-2, keepdim=True)
    return centred / centred.abs().amax((-2, -1), keepdim=True)


def simulate(num_examples: int, num_nodes: int, num_frames: int, generator: torch.Generator) -> Layouts:
    """Draw trees and lay them out. Frame 1 is the first output of the layout, as the start is an outlier (App. D.4.1).

    A tree is the maximum spanning tree of Gumbel edge weights; the start is standard normal in the plane.
    """
    trees = sst.SpanningTree.complete(num_nodes)
    edges = trees.argmax(-torch.empty(num_examples, *trees.event_shape).exponential_(generator=generator).log())
    start = torch.randn(num_examples, num_nodes, 2, dtype=torch.float64, generator=generator)
    frames = torch.empty(num_examples, num_frames, num_nodes, 2)
    for part in torch.arange(num_examples).split(2048):  # their pairwise differences stay in the cache
        positions, adjacency = start[part], trees.to_adjacency(edges[part]).double()
        for frame in range(num_frames):
            positions = spring_step(positions, adjacency)
            frames[part, frame] = positions.float()
    return Layouts(frames, edges.bool())


@functools.lru_cache(maxsize=1)
def simulate_splits(sizes: tuple[int, ...], num_nodes: int, num_frames: int, seed: int) -> Data:
    """The three splits, each from a stream of its own: the test set does not depend on the size of the others."""
    generators = (torch.Generator().manual_seed((3 * seed + stream) % 2**64) for stream in range(3))
    return Data(*(simulate(size, num_nodes, num_frames, one) for size, one in zip(sizes, generators, strict=True)))


# ------------------------------------------------------------------------------------------------- pairs of nodes
# The ordered pairs (sender, receiver) are laid out such that nothing has to be gathered by index: pair (k, r) of the
# (n - 1, n) layout is the message from sender (r + k + 1) mod n to receiver r. Row k is the nodes rolled by k + 1, and
# a sum over rows is a sum over the senders of each receiver.


@functools.lru_cache
def ordered_pairs(num_nodes: int) -> sst.Arborescence:
    """A graph whose edges lead from the sender to the receiver of each pair, (2, n(n-1))."""
    receivers = torch.arange(num_nodes).expand(num_nodes - 1, num_nodes)
    senders = (receivers + torch.arange(1, num_nodes).unsqueeze(1)) % num_nodes
    return sst.Arborescence(torch.stack([senders.flatten(), receivers.flatten()]), num_nodes)


def pair_sum(senders: Tensor, receivers: Tensor) -> Tensor:
    """Sender's plus receiver's features of every pair: (B, n, h) twice -> (B, n - 1, n, h)."""
    return torch.stack([senders.roll(-k, 1) + receivers for k in range(1, senders.shape[1])], 1)


class EdgeDistribution:
    """The distribution over graphs that `--edges` names; theta are the locations of its Gumbel utilities.

    Independent edges are directed: the Gumbel-max trick on two utilities per edge, as in Kipf et al. (2018). Their
    difference is Logistic, so this is ``Subset`` with U ~ Logistic(theta_1 − theta_0). The others are structures over
    the n(n-1)/2 undirected edges, whose utilities are averaged over both directions.
    """

    def __init__(self, edges: str, num_nodes: int) -> None:
        self.independent = edges == "independent"
        self.outputs_per_pair = 2 if self.independent else 1
        self.trees, self.pairs = sst.SpanningTree.complete(num_nodes), ordered_pairs(num_nodes)
        size = num_nodes * (num_nodes - 1) // 2
        other = sst.Subset(2 * size) if self.independent else sst.KSubset(size, num_nodes - 1)
        self.structure = self.trees if edges == "spanning-tree" else other

    def theta(self, outputs: Tensor) -> Tensor:
        """From (B, n(n-1), outputs_per_pair) to (B, n(n-1), 2) or (B, n(n-1)/2), shifted to where their KL is least.

        Adding a constant to all utilities changes no sample of a structure whose vertices all have the same number of
        ones, but it changes the KL of the utilities. Left to the encoder, that constant costs bits, and an example
        whose constant goes astray costs exp(−theta) and the training with it; with theta = o + log mean exp(−o) the
        gradient of the KL is bounded.
        """
        if not self.independent:
            directed = self.pairs.to_adjacency(outputs.squeeze(-1))
            outputs = self.trees.from_adjacency(directed + directed.mT) / 2
        return outputs + torch.logsumexp(-outputs, -1, keepdim=True) - math.log(outputs.shape[-1])

    def utility(self, theta: Tensor) -> Distribution:
        return sst.Logistic(theta[..., 1] - theta[..., 0]) if self.independent else sst.Gumbel(theta)

    def graph(self, edges: Tensor) -> Tensor:
        """A sample as a matrix; entry ij is for the message i -> j."""
        return (self.pairs if self.independent else self.trees).to_adjacency(edges)

    def kl(self, theta: Tensor, *, score_function: bool = False) -> Tensor:
        """KL of the utilities to Gumbel(0), each once (the code behind the paper's numbers counts both directions).

        It is theta + exp(−theta) − 1, without cancellation near 0 (App. D.4.2). A score function sees independent edges
        themselves, and there it is the KL of these to fair coins; of others it sees the utilities, for the law of the
        edges is a sum over too many orders.
        """
        if not (score_function and self.independent):
            return (theta + torch.expm1(-theta)).sum(tuple(range(1, theta.dim())))
        logits = theta[..., 1] - theta[..., 0]
        return kl_divergence(Bernoulli(logits=logits), Bernoulli(logits=torch.zeros_like(logits))).sum(-1)

    def log_prob(self, theta: Tensor, action: Action) -> Tensor:
        if not self.independent:
            return action.log_prob
        return Bernoulli(logits=theta[..., 1] - theta[..., 0], validate_args=False).log_prob(action.discrete).sum(-1)


# ------------------------------------------------------------------------------------------------------------ model


class MixedLinear(nn.Linear):
    """An affine map whose matrix product runs in `precision`; parameters, input and output stay as they are.

    Xavier weights and a bias of 0.1, as Kipf et al. (2018) start their encoder.
    """

    def __init__(self, num_inputs: int, num_outputs: int, precision: Precision = "float32") -> None:
        super().__init__(num_inputs, num_outputs)
        self.precision: Precision = precision
        nn.init.xavier_normal_(self.weight)
        nn.init.constant_(self.bias, 0.1)

    def forward(self, input: Tensor) -> Tensor:
        return mixed_linear(input, self.weight, self.bias, self.precision)


def mixed_linear(input: Tensor, weight: Tensor, bias: Tensor | None, precision: Precision) -> Tensor:
    """An affine map whose matrix product runs in `precision`."""
    bias = None if bias is None else lowered(bias, precision)
    return F.linear(lowered(input, precision), lowered(weight, precision), bias).to(input.dtype)


class Block(nn.Module):
    """ELU of the pre-activations, one more layer, ELU, batch norm over all dimensions but the last."""

    def __init__(self, hidden: int, precision: Precision) -> None:
        super().__init__()
        self.linear = MixedLinear(hidden, hidden, precision)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, pre: Tensor) -> Tensor:
        out = F.elu(self.linear(F.elu(pre)))
        return self.norm(out.flatten(0, -2)).view(out.shape)


class PairLayer(nn.Module):
    """An affine map of the (sender, receiver) features of every pair, computed once per node and added per pair."""

    def __init__(self, hidden: int, num_skips: int, precision: Precision) -> None:
        super().__init__()
        self.linear = MixedLinear((2 + num_skips) * hidden, hidden, precision)

    def forward(self, nodes: Tensor, *skips: Tensor) -> Tensor:
        send, receive, *skip_weights = self.linear.weight.chunk(2 + len(skips), 1)
        part = functools.partial(mixed_linear, precision=self.linear.precision)
        out = pair_sum(part(nodes, send, None), part(nodes, receive, self.linear.bias))
        for skip, weight in zip(skips, skip_weights, strict=True):
            out = out + part(skip, weight, None)
        return out


class Encoder(nn.Module):
    """The factor-graph MLP encoder of Kipf et al. (2018): nodes, pairs, nodes, pairs with a skip connection.

    The layers at the input and at the output keep float32, whatever the precision.
    """

    def __init__(self, num_frames: int, hidden: int, outputs: int, precision: Precision = "float32") -> None:
        super().__init__()
        self.input = MixedLinear(2 * num_frames, hidden)
        self.nodes1 = Block(hidden, precision)
        self.pairs1 = PairLayer(hidden, 0, precision)
        self.edges1 = Block(hidden, precision)
        self.gather = MixedLinear(hidden, hidden, precision)
        self.nodes2 = Block(hidden, precision)
        self.pairs2 = PairLayer(hidden, 1, precision)
        self.edges2 = Block(hidden, precision)
        self.readout = MixedLinear(hidden, outputs)

    def features(self, positions: Tensor) -> Tensor:
        """What `readout` reads, and an input-dependent baseline may: (B, T, n, 2) -> (B, n(n-1), h)."""
        nodes = self.nodes1(self.input(positions.transpose(1, 2).flatten(2)))
        edges = self.edges1(self.pairs1(nodes))
        nodes = self.nodes2(self.gather(edges.sum(1) / nodes.shape[1]))
        return self.edges2(self.pairs2(nodes, edges)).flatten(1, 2)


class MessageNetwork(nn.Module):
    """Messages y_r = Σ_s w_sr relu(W relu(a_s + b_r) + c) between nodes.

    The first layer is linear in both nodes, so each node's shares a and b are computed once.
    """

    def __init__(self, hidden: int, precision: Precision) -> None:
        super().__init__()
        self.pair = nn.Linear(4, hidden)
        self.message = nn.Linear(hidden, hidden)
        self.precision: Precision = precision

    def forward(self, positions: Tensor, weights: Tensor) -> Tensor:
        """What each node receives: (B, T, n, 2) and pair weights (B, n(n-1)) -> (B, T, n, h)."""
        batch, _, num_nodes, _ = positions.shape
        send, receive = self.pair.weight.chunk(2, 1)
        sent, received = F.linear(positions, send), F.linear(positions, receive, self.pair.bias)
        hidden = pair_sum(sent.flatten(0, 1), received.flatten(0, 1)).relu()
        out = (mixed_linear(hidden, self.message.weight, None, self.precision) + self.message.bias).relu()
        by_row = weights.unflatten(-1, (num_nodes - 1, num_nodes))
        return torch.einsum("bkr,btkrh->btrh", by_row, out.unflatten(0, (batch, -1)))


class Decoder(nn.Module):
    """The MLP decoder of Kipf et al. (2018): one message network per edge type, a residual output.

    A message i -> j is X_ij m_1(p_i, p_j) + w (1 − X_ij) m_0(p_i, p_j). The paper's decoder has w = 1; see
    `GraphLayout.no_edge_weight`. Positions and output are float32: a standard deviation of 0.007 is lost in bfloat16.
    """

    no_edge: Tensor

    def __init__(self, hidden: int, precision: Precision = "float32") -> None:
        super().__init__()
        self.absent, self.present = MessageNetwork(hidden, precision), MessageNetwork(hidden, precision)
        self.update = nn.Sequential(
            nn.Linear(2 + hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )
        self.register_buffer("no_edge", torch.ones(()))  # w, saved with the parameters

    def forward(self, positions: Tensor, graph: Tensor, horizon: int = 1) -> Tensor:
        """Predict frames 1 .. T − 1, rolled out `horizon` frames from every `horizon`-th true frame.

        (B, T, n, 2) and (B, n, n), whose entry ij is the weight of the edge in the message i -> j, to (B, T - 1, n, 2).
        """
        frames, weights = positions.shape[1], ordered_pairs(graph.shape[-1]).from_adjacency(graph)
        known, predictions = positions[:, : frames - 1 : horizon], []
        for _ in range(min(horizon, frames - 1)):
            received = self.present(known, weights)
            if self.no_edge > 0:
                received = received + self.absent(known, self.no_edge * (1 - weights))
            known = known + self.update(torch.cat([known, received], -1))
            predictions.append(known)
        return torch.stack(predictions, 2).flatten(1, 2)[:, : frames - 1]


class GraphLayoutModel(Model):
    """Encoder, edge distribution and decoder, trained on relaxed samples and evaluated on hard ones."""

    def __init__(self, recipe: GraphLayout) -> None:
        super().__init__()
        self.recipe = r = recipe
        self.edges = EdgeDistribution(r.edges, r.graph_nodes)
        self.encoder = Encoder(r.num_frames, r.hidden, self.edges.outputs_per_pair, r.precision)
        self.decoder = Decoder(r.hidden, r.precision)
        self.estimator = None
        if r.estimator == "reinforce":
            self.estimator = Reinforce(r.baseline_decay)
        elif r.estimator == "nvil":  # the baseline sees the mean of the encoder's last features (App. C.1)
            layers = nn.Sequential(nn.Linear(r.hidden, r.hidden), nn.ReLU(), nn.Linear(r.hidden, 1))
            self.estimator = NVIL(nn.Sequential(OrderedDict(layers=layers)), r.baseline_decay)

    def encode(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's last features, and locations of the utilities."""
        features = self.encoder.features(positions)
        theta = self.edges.theta(self.encoder.readout(features))
        check_finite("the encoder's outputs are", theta)
        return features, theta

    def loss(self, batch: Layouts, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative ELBO, or a surrogate whose gradient estimates that of it."""
        r = self.recipe
        self.decoder.no_edge.fill_(r.no_edge_weight(step))
        features, theta = self.encode(batch.positions)
        trick = sst.StochasticSoftmaxTrick(
            self.edges.structure, self.edges.utility(theta), r.temperature, sst.ExponentialFamilyEntropy()
        )
        if self.estimator is None:
            kl = self.edges.kl(theta)
            sample = draw_soft(r.estimator, trick, theta)
            elbo = self.elbo(batch.positions, self.edges.graph(sample), kl, r.horizon)
            surrogate = -elbo.mean()
        else:
            action = draw_action(trick)
            log_prob, kl = self.edges.log_prob(theta, action), self.edges.kl(theta, score_function=True)
            elbo = self.elbo(batch.positions, self.edges.graph(action.discrete), kl, r.horizon)
            inputs = (features.detach().mean(1),) if r.estimator == "nvil" else ()
            surrogate = self.estimator(log_prob, -elbo, *inputs)
        return surrogate, {"elbo": elbo.mean(), "kl": kl.mean()}

    def elbo(self, positions: Tensor, graph: Tensor, kl: Tensor, horizon: int = 1) -> Tensor:
        """The evidence lower bound per node, (B,), without the Gaussian's constant.

        The variance is 5e-5. The constant, −4.03 a coordinate, is left out as in Kipf et al. (2018) and in the code
        behind the paper's numbers: with it every ELBO would be higher by 8.06 (T − 1).
        """
        error = (self.decoder(positions, graph, horizon) - positions[:, 1:]).square().sum((1, 2, 3))
        return -(error / (2 * 5e-5) + kl) / positions.shape[2]

    def evaluate(self, batch: Layouts) -> dict[str, Tensor]:
        """ELBO on hard graphs, and the graphs."""
        _, theta = self.encode(batch.positions)
        graph = self.edges.graph(sst.StochasticArgmaxTrick(self.edges.structure, self.edges.utility(theta)).sample())
        kl = self.edges.kl(theta, score_function=self.estimator is not None)
        elbo = self.elbo(batch.positions, graph, kl)
        return {"elbo": elbo, "kl": kl, "graphs": graph > 0.5, "edges": batch.edges}

    def summarize(self, found: dict[str, Tensor]) -> dict[str, float]:
        """Means, and precision and recall over all examples."""
        scores = edge_scores(found.pop("graphs"), found.pop("edges"))
        return {**super().summarize(found), **scores}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam; weight decay on the encoder and the baseline alone (App. C.1, D.4.3)."""
        inference = [*self.encoder.parameters(), *(self.estimator.parameters() if self.estimator else ())]
        groups = [{"params": inference}, {"params": self.decoder.parameters(), "weight_decay": 0.0}]
        return torch.optim.Adam(groups, self.recipe.lr, weight_decay=self.recipe.weight_decay, fused=True)


def edge_scores(predicted: Tensor, true_edges: Tensor) -> dict[str, float]:
    """Mean precision and recall of graphs, or of their complements if those have the higher precision (App. D.4.2).

    Which of the two edge types came to mean "edge" is arbitrary, so the mean precision decides: once for all graphs,
    never graph by graph. A graph without edges has precision 0. (N, n, n) and bool (N, n(n-1)/2).
    """
    num_nodes = predicted.shape[-1]
    truth = sst.SpanningTree.complete(num_nodes).to_adjacency(true_edges.float())
    pairs, found = (ordered_pairs(num_nodes).from_adjacency(graph) > 0.5 for graph in (truth, predicted))
    both = []
    for complemented, chosen in ((0.0, found), (1.0, ~found)):
        hits = (chosen & pairs).sum(-1).double()
        precision = (hits / chosen.sum(-1).clamp(min=1)).mean().item()
        recall = (hits / pairs.sum(-1)).mean().item()
        both.append({"edge_precision": precision, "edge_recall": recall, "complemented": complemented})
    return max(both, key=lambda scores: scores["edge_precision"])


def edge_sets(graphs: Tensor) -> list[set[Any]]:
    """The undirected edges of graphs, bool (N, n, n): a pair of nodes is one if either direction is."""
    return [set(map(tuple, graph.nonzero().tolist())) for graph in (graphs | graphs.mT).triu(1)]


def draw_layouts(
    runs: Mapping[str, tuple[GraphLayout, GraphLayoutModel]], path: Path, examples: Sequence[int] = (1,)
) -> Path:
    """Draw true graphs and, beside them, what each model recovers (Fig. 3): a row for each test graph, from 1."""
    from matplotlib.figure import Figure

    from sstricks.recipes import drawing

    recipe, _ = next(iter(runs.values()))
    test: Any = recipe.data().test
    if not examples or min(examples) < 1 or max(examples) > len(test):
        raise RunError(f"--graphs {examples}: there are {len(test)} test graphs, from 1. Choose some of them.")
    judged = test[: max(500, *examples)]  # by which it is decided whether graphs or their complements are shown
    true = edge_sets(sst.SpanningTree.complete(recipe.graph_nodes).to_adjacency(judged.edges.float()) > 0.5)
    figure = Figure(figsize=(3.2 * (1 + len(runs)), 3.5 * len(examples) + 0.7), layout="constrained")
    first, *columns = figure.subplots(len(examples), 1 + len(runs), squeeze=False).T
    for axis, example in zip(first, examples, strict=True):
        places = judged.positions[example - 1, -1]
        drawing.draw_edges(axis, places, true[example - 1], color=drawing.INK, linewidth=2)
        drawing.draw_nodes(axis, places)
        axis.set_title(f"test graph {example}:\nhidden edges", fontsize=11)
    for column, (name, (recipe, model)) in zip(columns, runs.items(), strict=True):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(fold_in(recipe.run_seed, "pictures"))
            graphs = model.eval().evaluate(judged.to(next(model.parameters()).device))["graphs"].cpu()
        flipped = edge_scores(graphs, judged.edges)["complemented"] == 1
        found = edge_sets(~graphs if flipped else graphs)
        told = name if not flipped or "flipped" in name else f"{name}, flipped: complement"
        for axis, example in zip(column, examples, strict=True):
            edges, mine = true[example - 1], found[example - 1]
            drawing.draw_recovered_graph(axis, judged.positions[example - 1, -1], edges, mine)
            share = f"precision {len(mine & edges) / max(1, len(mine)):.0%} ({len(mine & edges)} of {len(mine)})"
            axis.set_title("\n".join([*textwrap.wrap(told, 30), share]), fontsize=11)
    drawing.explain_edges(figure)
    return drawing.save_figure(figure, path)


if __name__ == "__main__":
    main(GraphLayout)

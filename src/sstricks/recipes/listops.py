"""ListOps: parse arithmetic expressions without ever seeing a parse tree (Sec. 8.2, App. D.5 of the paper).

An expression such as `[MAX 3 [MIN 8 2 ] ]` has a value from 0 to 9, and a gold parse tree whose edges go from operators
to their operands. An encoder gives every pair of tokens a utility; a stochastic softmax trick makes a relaxed graph of
them; a network passes messages along the graph and predicts the value, on which alone both are trained. The question is
how much of the gold tree the graph recovers: with `--edges arborescence` (every token but the first has one head),
`spanning-tree` or independent edges, beside the gold edges themselves and an LSTM. Evaluation is on hard graphs.

    sst train listops --out runs/parser          # minutes; --preset cpu takes about an hour on two cores
    cp listops.py mine.py && python mine.py --help
"""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

import sstricks as sst
from sstricks.recipes.expressions import CLOSING, TOKENS, Expressions, Specification, make_splits
from sstricks.recipes.harness import recipe as harness
from sstricks.recipes.harness.commands import main
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.recipe import Data, Model, Recipe, check_finite, draw_hard, draw_soft, fold_in, lowered


@dataclass(frozen=True, kw_only=True)
class ListOps(Recipe):
    """Parse arithmetic expressions without ever seeing a parse tree: only their values are given (Sec. 8.2)."""

    name: ClassVar = "listops"
    monitor: ClassVar = "valid/accuracy"
    shown: ClassVar = {"valid/accuracy": "accuracy {:.3f}", "valid/edge_precision": "edge precision {:.2f}"}

    network: Annotated[Literal["gnn", "lstm"], tyro.conf.arg(name="model")] = "gnn"
    """A network that passes messages over a graph of the tokens, or an LSTM over the tokens."""
    edges: (
        Literal["arborescence", "spanning-tree", "independent-directed", "independent-undirected", "ground-truth"]
        | None
    ) = None
    """Distribution over graphs; by default arborescence, and none for the LSTM."""
    utility: Literal["gumbel", "normal", "negative-exponential"] | None = None
    """Law of the utilities; by default gumbel, and none where no edges are learnt."""
    estimator: Literal["sst", "straight-through", "i-mle", "identity", "spigot", "simple"] = "sst"
    """How the encoder gets its gradient: through relaxed samples (sst), or as in docs/estimators.md."""
    preset: Literal["quick", "cpu", "paper"] = "quick"
    """quick: minutes on 2 cores. cpu: at most about an hour. paper: the paper's procedure to the letter."""
    data_seed: int = 0
    """Chooses the data set."""
    train_examples: int = 100_000
    """Size of the training split."""
    valid_examples: int = 10_000
    """Size of the validation split."""
    test_examples: int = 10_000
    """Size of the test split."""
    train_share: float = 1.0
    """Share of the training split that is used."""
    valid_share: float = 1.0
    """Share of the validation split that is used."""
    hidden: int = 60
    """Size of embeddings and of all layers."""
    message_steps: int = 5
    """Rounds of messages."""
    dropout: float = 0.1
    """Share of hidden units that are set to zero in training."""
    temperature: float = 1.0
    """Temperature of the relaxation, at the start; the step of i-mle and spigot."""
    final_temperature: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Temperature at the end, reached by a constant factor a step; by default that of the start."""
    negligible: float = 0.0
    """Edges of at most this weight in a relaxed graph count as absent."""

    def with_preset(self) -> Self:
        """The paper names what it tuned (App. D.5.3), but not the values that were found.

        Here short runs decided: with arborescences and Gumbel utilities t = 1 learns the values faster than t = 0.3 and
        recovers as much structure, and a learning rate of 4e-3 is worse than 2e-3. What `cpu` and `quick` have and the
        paper has not: the rate falls at the end, messages of weight below 1e-4 are left out, and hidden products are in
        bfloat16; `cpu` is 9.6 of the paper's 50 epochs, over all training expressions.
        """
        edges = self.edges or ("arborescence" if self.network == "gnn" else None)
        utility = self.utility or (None if edges in (None, "ground-truth") else "gumbel")
        paper = replace(self, edges=edges, utility=utility, batch_size=100, lr=1e-3, weight_decay=1e-2, clip=1.0)
        paper = replace(paper, steps=50_400, valid_every=800, restart_steps=800)  # 50 epochs, and a multiple of 800
        if self.preset == "paper":
            return paper
        cpu = replace(paper, steps=9_600, valid_share=0.2, lr=2e-3, lr_decay=0.2, precision="bfloat16", negligible=1e-4)
        if self.preset == "cpu":
            return cpu
        return replace(cpu, steps=1_600, valid_every=200, train_share=0.2, valid_share=0.1)

    def check(self) -> None:
        super().check()
        learnt = self.edges not in (None, "ground-truth")
        if (self.network == "lstm") != (self.edges is None) or learnt != (self.utility is not None):
            found = f"model is {self.network!r}, utility is {self.utility!r} and edges is {self.edges!r}"
            wanted = "edges for the network that passes messages and none for the LSTM, a utility where edges are"
            raise ValueError(f"{found}, expected {wanted} learnt and none elsewhere: change one of them.")
        if self.estimator != "sst" and not learnt:
            raise ValueError(f"estimator is {self.estimator!r}, but no edges are learnt: pass --estimator sst.")
        if self.utility == "negative-exponential" and self.edges in ("independent-directed", "independent-undirected"):
            known = "'gumbel' or 'normal' for independent edges, which are present where their utility is positive"
            raise ValueError(f"utility is {self.utility!r}, expected {known}: choose one, or edges that form a tree.")
        self.check_positive("train_examples", "valid_examples", "test_examples", "train_share", "valid_share")
        final = [] if self.final_temperature is None else ["final_temperature"]
        self.check_positive("temperature", *final, "hidden", "message_steps")
        self.check_range("data_seed", least=0)
        self.check_range("train_share", "valid_share", least=0, most=1)
        self.check_range("dropout", least=0, below=1)
        self.check_range("negligible", least=0, below=0.5)
        self.specification.check()

    @property
    def title(self) -> str:
        estimator = None if self.estimator == "sst" else self.estimator
        return " ".join(filter(None, (self.edges or self.network, self.utility, estimator)))

    @property
    def specification(self) -> Specification:
        sizes = {"train": self.train_examples, "valid": self.valid_examples, "test": self.test_examples}
        return Specification(**sizes, seed=self.data_seed)

    def temperature_at(self, step: int) -> float:
        """The temperature of a training step: it falls by the same factor at each."""
        final = self.temperature if self.final_temperature is None else self.final_temperature
        return self.temperature * (final / self.temperature) ** (step / self.steps)

    def space(self) -> dict[str, Any]:
        """What the paper varied (App. D.5.3); it does not print the bounds. These have the presets inside."""
        from ray import tune

        space = {"lr": tune.loguniform(3e-4, 5e-3), "weight_decay": tune.loguniform(1e-4, 1e-1)}
        return {**space, "temperature": tune.loguniform(0.1, 3.0)} if self.utility else space

    def model(self) -> "ListOpsModel":
        return ListOpsModel(self)

    def data(self) -> Data:
        """Generated expressions. The depths take turns, so that a share has all of them in equal parts."""
        (train, valid, test), _ = make_splits(self.specification)
        used, checked = math.ceil(self.train_share * len(train)), math.ceil(self.valid_share * len(valid))
        return Data(train[:used], valid[:checked], test)

    def facts(self) -> dict[str, Any]:
        """How often the training saw an expression."""
        epoch = math.ceil(math.ceil(self.train_share * self.train_examples) / self.batch_size)
        return {"epochs": round(self.steps / epoch, 2)}

    def draw(self, model: Any, folder: Path) -> list[Path]:
        from sstricks.recipes.drawing import draw_curves

        relaxed, hard = (", relaxed graphs", ", hard graphs") if self.edges else ("", "")
        panels = {"Task accuracy": {"train/accuracy": f"training{relaxed}", "valid/accuracy": f"validation{hard}"}}
        parses = []
        if self.edges:
            recovered = {"valid/edge_precision": "precision", "valid/edge_recall": "recall"}
            panels["Edges recovered in validation"] = recovered
            parses = [draw_parses({f"{self.title} ({self.preset})": (self, model)}, folder / "parses.png")]
        return [draw_curves({"": folder}, panels, folder / "curves.png"), *parses]

    @classmethod
    def layout(cls) -> harness.Layout:
        """Table 2, in percent. Utilities are named where the paper has several, or if they are not the usual ones."""
        rows = {
            None: ("LSTM", "–"),
            "independent-undirected": ("GNN on latent graph", "Indep. Undirected Edges"),
            "spanning-tree": ("GNN on latent graph", "Spanning Tree"),
            "independent-directed": ("GNN on latent digraph", "Indep. Directed Edges"),
            "arborescence": ("GNN on latent digraph", "Arborescence"),
            "ground-truth": ("GNN", "Ground Truth Edges"),
        }
        utilities = {None: "", "negative-exponential": "Neg. Exp.", "normal": "Gaussian", "gumbel": "Gumbel"}
        order = list(itertools.product(rows, utilities, harness.ESTIMATORS))

        def place(facts: harness.Facts) -> harness.Place:
            edges, utility, estimator = facts["edges"], facts["utility"], facts["estimator"]
            model, text = rows[edges]
            named = edges == "arborescence" or utility not in (None, "gumbel")
            parts = text, utilities[utility] if named else "", harness.ESTIMATORS[estimator]
            row = harness.Label(order.index((edges, utility, estimator)), ", ".join(filter(None, parts)))
            rank = [name for name, _ in rows.values()].index(model)
            return harness.Place(harness.Label(0, "ListOps"), (harness.Label(rank, model), row), harness.Label(0, ""))

        shares = (("accuracy", "Task Acc."), ("edge_precision", "Edge Precision"), ("edge_recall", "Edge Recall"))
        return harness.Layout(
            subject="ListOps",
            selected_by="task accuracy",
            validation=harness.Metric("valid/accuracy", "validation task accuracy (%)", 1, 100),
            falls=False,
            metrics=tuple(harness.Metric(f"test/{name}", heading, 1, 100) for name, heading in shares),
            rows=("Model", "Edge Distribution"),
            place=place,
            placing=frozenset({"network", "edges", "utility", "estimator"}),
            tuned=frozenset({"lr", "lr_decay", "weight_decay", "clip", "temperature", "final_temperature", "dropout"})
            | {"negligible"},
            setup=(
                "preset {preset}, {steps:,} steps of batch {batch_size}, {hidden} hidden units, {train_share:.0%} of "
                "{train_examples:,} training, {valid_share:.0%} of {valid_examples:,} validation and {test_examples:,} "
                "test expressions"
            ).format_map,
            caution=lambda _: "20 runs of 50 epochs a cell; its edges other than arborescences have Gumbel utilities",
        )


def edge_trick(
    edges: str, utility: str, theta: Tensor, mask: Tensor, temperature: float
) -> tuple[sst.StochasticSoftmaxTrick, Tensor]:
    """A trick over the edges between the tokens of sentences of different lengths (App. D.5.2).

    Given theta, (B, L, L), entry ij about the edge i -> j, it returns theta as a vector over the edges as well. Pairs
    with padding are absent.
    """
    graph, single = graph_over(edges, theta.shape[-1]), edges.startswith("independent")
    if isinstance(graph, sst.SpanningTree):
        theta = (theta + theta.mT) / 2
    theta, there = graph.from_adjacency(theta), graph.edge_mask(mask)
    structure = sst.Subset(theta.shape[-1]) if single else graph
    law = sst.Masked((sst.Logistic if single and utility == "gumbel" else UTILITIES[utility])(theta), there)
    trick = sst.StochasticSoftmaxTrick(structure, law, temperature, sst.ExponentialFamilyEntropy())
    return trick, theta.masked_fill(~there, -torch.inf)


@functools.lru_cache(maxsize=256)
def graph_over(edges: str, length: int) -> sst.Arborescence | sst.SpanningTree:
    """The graph on the tokens of whose edges some are chosen: its `to_adjacency` has them as matrices (B, L, L)."""
    if edges == "independent-directed":
        return sst.Arborescence((~torch.eye(length, dtype=torch.bool)).nonzero().T, length)
    return (sst.Arborescence if edges == "arborescence" else sst.SpanningTree).complete(length)


UTILITIES: Mapping[str, Any] = {
    "gumbel": sst.Gumbel,
    "normal": lambda theta: torch.distributions.Normal(theta, 1.0, validate_args=False),
    # Rates are the softplus of theta: a small rate is a low utility. Below -40 an edge is absent anyway, and the
    # gradient of its utility, E / rate², would leave float32's range.
    "negative-exponential": lambda theta: sst.NegativeExponential(
        F.softplus(theta.clamp(min=-40.0)), validate_args=False
    ),
}
"""Laws with location theta. An edge on its own is present if its utility is positive: with Gumbel utilities, if its
own exceeds that of its absence, and the difference of the two is logistic."""


def gold_graphs(sentences: Expressions) -> Tensor:
    """The edges from operators to operands: bool (B, L, L), entry ij for i -> j."""
    places = torch.arange(sentences.tokens.shape[1], device=sentences.heads.device)
    return sentences.heads.unsqueeze(-2) == places.unsqueeze(-1)


def edge_scores(graphs: Tensor, sentences: Expressions) -> tuple[Tensor, Tensor]:
    """Precision and recall of each graph's edges, float64 (B,), leaving out edges from and to closing brackets.

    A graph of undirected edges has both directions of each, so its precision is at most 1/2. One without edges has 0.
    """
    counted = sentences.mask & (sentences.tokens != CLOSING)
    found, gold = graphs & counted.unsqueeze(-1) & counted.unsqueeze(-2), gold_graphs(sentences)
    hits, predicted, true = (edges.sum((-2, -1)).double() for edges in (found & gold, found, gold))
    return hits / predicted.clamp(min=1), hits / true.clamp(min=1)


Links = tuple[Tensor, Tensor, Tensor]
"""Senders, receivers and weights of the messages of B graphs over L tokens; token i of sentence b is node b·L + i. They
are sorted by receiver, and run against the edges, from operand to operator: the answer is read at the root."""


def links_of(graph: Tensor, negligible: float = 0.0) -> Links:
    """The messages along edges of graphs (B, L, L) that are not absent; what is absent costs nothing.

    A weight w ≤ ε that is left out changes no sum of messages by more than ε times its message; and since no entry in
    the row ∂w / ∂U exceeds w / t, the gradient of the utilities changes as little.
    """
    length, flat = graph.shape[-1], graph.flatten()
    present = (flat.detach() > negligible).nonzero().squeeze(-1)
    receivers = present // length
    senders = receivers // length * length + present % length
    return senders, receivers, flat.index_select(0, present)


# ------------------------------------------------------------------------------------------------------------ model


class TokenLSTM(nn.Module):
    """A vector for each token by an LSTM from left to right; padding is to the right, so no token sees it."""

    def __init__(self, embedding: nn.Embedding, dropout: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.lstm = nn.LSTM(embedding.embedding_dim, embedding.embedding_dim, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.lstm(self.embedding(tokens.int()))[0])


def token_embedding(hidden: int) -> nn.Embedding:
    """A trainable vector for each token; padding's stays zero."""
    return nn.Embedding(len(TOKENS), hidden, padding_idx=0)


class EdgeEncoder(nn.Module):
    """One LSTM sees the tokens as heads, the other as modifiers: theta_ij = v_i^head · v_j^mod."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        embedding = token_embedding(hidden)
        self.heads, self.modifiers = TokenLSTM(embedding, dropout), TokenLSTM(embedding, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.heads(tokens) @ self.modifiers(tokens).mT


def readout(hidden: int, dropout: float) -> nn.Sequential:
    """From one vector of an expression to the logits of its value, by one hidden layer."""
    return nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10))


class SequenceNetwork(nn.Module):
    """The baseline that knows nothing of trees: an LSTM whose outputs at all positions go through a linear layer."""

    def __init__(self, hidden: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.tokens = TokenLSTM(token_embedding(hidden), dropout)
        self.positions = nn.Linear(max_length * hidden, hidden)
        self.readout = readout(hidden, dropout)

    def forward(self, tokens: Tensor, graphs: None = None) -> Tensor:
        outputs = (self.tokens(tokens) * (tokens != 0).unsqueeze(-1)).flatten(1)
        return self.readout(F.linear(outputs, self.positions.weight[:, : outputs.shape[1]], self.positions.bias))


class MessageNetwork(nn.Module):
    """Messages y_r = Σ_{s → r} w_sr relu(W relu(a_s + b_r) + c), with W's product in `precision`.

    The first layer is linear in both nodes, so each node's shares a and b are computed once.
    Dropout after the first layer takes the same hidden units from all messages of a sentence: one mask for each message
    would be more random numbers than all else together.
    """

    def __init__(self, hidden: int, dropout: float, precision: harness.Precision) -> None:
        super().__init__()
        self.ends = nn.Linear(hidden, 2 * hidden)
        self.message = nn.Linear(hidden, hidden)
        self.dropout = dropout
        self.precision: harness.Precision = precision

    def forward(self, nodes: Tensor, links: Links, length: int) -> Tensor:
        """What each node receives: (N, h) -> (N, h)."""
        ends = self.ends(nodes)
        if self.training and self.dropout > 0:
            kept = F.dropout(ends.new_ones(len(nodes) // length, 1, 1, nodes.shape[-1]), self.dropout)
            parted = ends.unflatten(0, (-1, length)).unflatten(-1, (2, -1))
            ends = (parted * kept).view_as(ends)  # relu(m x) = m relu(x)
        (sent, received), (senders, receivers, weights) = ends.chunk(2, -1), links
        hidden = sent.index_select(0, senders).add_(received.index_select(0, receivers)).relu_()
        factors = (hidden, self.message.weight, self.message.bias)
        out = F.linear(*(lowered(part, self.precision) for part in factors)).relu_()
        return torch.zeros_like(sent).index_add(0, receivers, weights.unsqueeze(-1) * out)


class GraphNetwork(nn.Module):
    """Message passing with a gated recurrent unit at the nodes; the first token's node knows the answer."""

    def __init__(
        self, hidden: int, steps: int, dropout: float, precision: harness.Precision = "float32", negligible: float = 0.0
    ) -> None:
        super().__init__()
        self.steps, self.negligible = steps, negligible
        self.embedding = token_embedding(hidden)
        self.messages = MessageNetwork(hidden, dropout, precision)
        self.unit = nn.GRUCell(hidden, hidden)
        self.readout = readout(hidden, dropout)

    def forward(self, tokens: Tensor, graphs: Tensor) -> Tensor:
        """Logits of the values, (B, 10)."""
        length, links = tokens.shape[1], links_of(graphs, self.negligible)
        nodes = self.embedding(tokens.int()).flatten(0, 1)
        for _ in range(self.steps - 1):
            nodes = self.unit(self.messages(nodes, links, length), nodes)
        # Only the first tokens are read, so in the last round only the messages to them matter.
        last = (links[1] % length == 0).nonzero().squeeze(-1)
        senders, receivers, weights = (column.index_select(0, last) for column in links)
        received = self.messages(nodes, (senders, receivers, weights), length)
        return self.readout(self.unit(received[::length], nodes[::length]))


class ListOpsModel(Model):
    """A network that evaluates expressions over graphs that are drawn, given, or none."""

    def __init__(self, recipe: ListOps) -> None:
        super().__init__()
        self.recipe = r = recipe
        self.encoder = EdgeEncoder(r.hidden, r.dropout) if r.utility else None
        if r.network == "lstm":
            self.network = SequenceNetwork(r.hidden, r.specification.max_length, r.dropout)
        else:
            self.network = GraphNetwork(r.hidden, r.message_steps, r.dropout, r.precision, r.negligible)

    def graphs(self, batch: Expressions, step: int | None = None) -> Tensor | None:
        """Graphs (B, L, L), entry ij for an edge i -> j: relaxed at a step of the training, else hard.

        They are the gold ones if these are given, and none for the LSTM.
        """
        r = self.recipe
        if self.encoder is None or r.edges is None or r.utility is None:
            return None if r.network == "lstm" else gold_graphs(batch).float()
        theta = self.encoder(batch.tokens)
        check_finite("the encoder's outputs are", theta)
        trick, theta = edge_trick(r.edges, r.utility, theta, batch.mask, r.temperature_at(step or 0))
        if step is None:
            sample = draw_hard(r.estimator, trick.structure, trick.utility, theta)
        else:
            sample = draw_soft(r.estimator, trick, theta)
        return graph_over(r.edges, batch.tokens.shape[1]).to_adjacency(sample)

    def loss(self, batch: Expressions, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross-entropy over relaxed graphs."""
        logits = self.network(batch.tokens, self.graphs(batch, step))
        loss = F.cross_entropy(logits, batch.answers)
        check_finite("its loss is", loss)
        return loss, {"loss": loss, "accuracy": (logits.argmax(-1) == batch.answers).float().mean()}

    def evaluate(self, batch: Expressions) -> dict[str, Tensor]:
        """Accuracy on hard graphs, and how much of the gold trees these recover, NaN if there are none."""
        graphs = self.graphs(batch)
        logits = self.network(batch.tokens, graphs)
        loss = F.cross_entropy(logits, batch.answers, reduction="none")
        found = {"accuracy": logits.argmax(-1) == batch.answers, "loss": loss}
        nothing = torch.full_like(loss, math.nan)
        precision, recall = (nothing, nothing) if graphs is None else edge_scores(graphs > 0.5, batch)
        return {**found, "edge_precision": precision, "edge_recall": recall}

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW (App. D.5.3)."""
        r = self.recipe
        return torch.optim.AdamW(self.parameters(), r.lr, weight_decay=r.weight_decay, fused=True)


def draw_parses(models: Mapping[str, tuple[ListOps, "ListOpsModel"]], path: Path, example: int | None = None) -> Path:
    """Draw test expressions with gold edges above and each model's hard sample below.

    The models have edges and are of the same data; `example` is which expression, from 1, by default all.
    """
    from sstricks.recipes import drawing

    # The first expression of each depth that is not too long to be read; of depth 1 only if there is no other.
    test: Any = next(iter(models.values()))[0].data().test
    short = test.lengths <= 26
    depths = test.depths[short].unique().tolist()
    chosen = [int((short & (test.depths == d)).nonzero()[0]) for d in [d for d in depths if d > 1] or depths]
    sentences = test[torch.tensor(chosen[:4])]
    if example is not None and not 1 <= example <= len(sentences):
        raise RunError(f"--example {example}: there are {len(sentences)}, numbered from 1. Choose one of them.")
    parses = []
    for name, (recipe, model) in models.items():
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(fold_in(recipe.run_seed, "pictures"))
            batch = sentences.to(next(model.parameters()).device)
            graphs = model.eval().graphs(batch)
            assert graphs is not None
            answers = model.network(batch.tokens, graphs).argmax(-1).tolist()
        precision, recall = (scores.tolist() for scores in edge_scores(graphs > 0.5, batch))
        for row in range(len(sentences)) if example is None else [example - 1]:
            words = [TOKENS[token] for token in sentences.tokens[row].tolist() if token]
            scores = f"edge precision {precision[row]:.0%}, recall {recall[row]:.0%}"
            title = f"{name}: value {int(sentences.answers[row])}, predicted {answers[row]}; {scores}"
            parses.append((title, words, gold_graphs(sentences)[row], graphs[row]))
    heading = "Parses of test expressions: gold above, found below"
    longest = max(16, *(len(words) for _, words, *_ in parses))
    return drawing.draw_parses(parses, heading, path, longest, {"]": "of a closing bracket, not counted"})


if __name__ == "__main__":
    main(ListOps)

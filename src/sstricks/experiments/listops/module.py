import math
from dataclasses import dataclass, field

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

import sstricks as sst
from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.listops.encoder import EdgeEncoder
from sstricks.experiments.listops.links import gold_graph, links_of
from sstricks.experiments.listops.network import GraphNetwork
from sstricks.experiments.listops.scores import edge_scores
from sstricks.experiments.listops.sentences import Sentences
from sstricks.experiments.listops.sequence import SequenceNetwork
from sstricks.experiments.runs.evaluated import EvaluatedModule, mean_of
from sstricks.experiments.runs.seeds import fold_in


@dataclass
class Evaluation:
    """What the batches of one evaluation have come to so far."""

    loss: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    precision: list[Tensor] = field(default_factory=list)
    recall: list[Tensor] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """The means over all sentences, by name; those of edges are NaN if there are no graphs."""
        return {
            "accuracy": mean_of(self.correct),
            "loss": mean_of(self.loss),
            "edge_precision": mean_of(self.precision) if self.precision else math.nan,
            "edge_recall": mean_of(self.recall) if self.recall else math.nan,
        }


class ListOpsModel(EvaluatedModule[Sentences]):
    """A network that evaluates expressions, over graphs that are drawn, given, or none (8.2, App. D.5).

    Graphs are relaxed in training and hard in evaluation.

    Args:
        config: the run's configuration.
    """

    def __init__(self, config: ListOpsConfig) -> None:
        super().__init__()
        self.config = c = config
        self.edges = EDGE_DISTRIBUTIONS[c.edges](c.utility) if c.edges and c.utility else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(c.run_seed, "weights"))
            self.encoder = EdgeEncoder(c.hidden, c.dropout) if self.edges else None
            if c.model == "lstm":
                self.network = SequenceNetwork(c.hidden, c.specification.max_length, c.dropout)
            else:
                precision = torch.bfloat16 if c.precision == "bfloat16" else None
                self.network = GraphNetwork(c.hidden, c.message_steps, c.dropout, precision)
        self._evaluation = Evaluation()

    def training_step(self, batch: Sentences, batch_idx: int) -> Tensor:
        """The cross-entropy of a batch over relaxed graphs.

        Args:
            batch: B sentences.
            batch_idx: not used.

        Returns:
            A scalar.
        """
        graphs = self._relaxed_graphs(batch)
        logits = self._logits(batch, graphs)
        loss = F.cross_entropy(logits, batch.answer)
        self.check_finite("its loss is", loss)
        correct = (logits.detach().argmax(-1) == batch.answer).float().mean()
        self.log_split("train", {"loss": loss.detach(), "accuracy": correct}, len(batch))
        return loss

    def begin_evaluation(self) -> None:
        """Forget the last evaluation."""
        self._evaluation = Evaluation()

    def evaluate(self, batch: Sentences) -> None:
        """Take a batch into the evaluation.

        Args:
            batch: B sentences.
        """
        graphs, logits = self.predict(batch)
        found = self._evaluation
        found.loss.append(F.cross_entropy(logits, batch.answer, reduction="none"))
        found.correct.append(logits.argmax(-1) == batch.answer)
        if graphs is not None:
            precision, recall = edge_scores(graphs > 0.5, batch)
            found.precision.append(precision)
            found.recall.append(recall)

    def summary(self) -> dict[str, float]:
        """The means over all sentences, by name."""
        return self._evaluation.summary()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW (App. D.5.3).

        Returns:
            The optimizer and the schedule of its learning rate.
        """
        c = self.config
        optimizer = torch.optim.AdamW(self.parameters(), lr=c.lr, weight_decay=c.weight_decay, fused=True)
        schedule = LambdaLR(optimizer, c.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def sample_graphs(self, batch: Sentences) -> Tensor | None:
        """Hard graphs, as evaluation takes them.

        Args:
            batch: B sentences.

        Returns:
            (B, L, L) of 0 and 1, entry ij for an edge i -> j; the gold ones if they are given, none for the LSTM.
        """
        if self.edges is None:
            return None if self.config.model == "lstm" else gold_graph(batch).float()
        trick = self.edges.trick(self._theta(batch), batch.mask, self.config.final_temperature)
        return self.edges.adjacency(
            sst.StochasticArgmaxTrick(trick.structure, trick.utility).sample(), batch.max_length
        )

    def predict(self, batch: Sentences) -> tuple[Tensor | None, Tensor]:
        """Evaluate expressions over hard graphs.

        Args:
            batch: B sentences.

        Returns:
            The graphs, (B, L, L) as of `sample_graphs`, and the logits of the values, (B, 10).
        """
        graphs = self.sample_graphs(batch)
        return graphs, self._logits(batch, graphs)

    def _relaxed_graphs(self, batch: Sentences) -> Tensor | None:
        if self.edges is None:
            return self.sample_graphs(batch)
        trick = self.edges.trick(self._theta(batch), batch.mask, self.config.temperature_at(self.global_step))
        return self.edges.adjacency(trick.rsample(), batch.max_length)

    def _theta(self, batch: Sentences) -> Tensor:
        assert self.encoder is not None
        theta = self.encoder(batch.tokens)
        self.check_finite("the encoder's outputs are", theta)
        return theta

    def _logits(self, batch: Sentences, graphs: Tensor | None) -> Tensor:
        if isinstance(self.network, SequenceNetwork):
            return self.network(batch.tokens, batch.mask)
        assert graphs is not None
        return self.network(batch.tokens, links_of(graphs, self.config.negligible))

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

import sstricks as sst
from sstricks.estimators import NVIL, Reinforce
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.data import Layouts
from sstricks.experiments.nri.decoder import Decoder
from sstricks.experiments.nri.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.nri.encoder import Encoder
from sstricks.experiments.nri.objective import EdgeScores, edge_scores, elbo, gaussian_nll
from sstricks.experiments.runs.evaluated import EvaluatedModule, mean_of
from sstricks.experiments.runs.seeds import fold_in


class InputBaseline(nn.Module):
    """NVIL's guess of the loss from the encoder's last features: their mean, then one hidden layer (App. C.1).

    Args:
        hidden: h, the features' width and the hidden layer's.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, n(n-1), h) -> (B, 1)."""
        return self.layers(features.mean(1))


@dataclass
class Evaluation:
    """What the batches of one evaluation have come to so far."""

    elbo: list[Tensor] = field(default_factory=list)
    nll: list[Tensor] = field(default_factory=list)
    kl: list[Tensor] = field(default_factory=list)
    graphs: list[Tensor] = field(default_factory=list)
    edges: list[Tensor] = field(default_factory=list)

    def scores(self) -> EdgeScores:
        """Precision and recall over all examples, with one decision about the complement."""
        return edge_scores(torch.cat(self.graphs), torch.cat(self.edges))

    def summary(self) -> dict[str, float]:
        """The means over all examples, by name."""
        scores = self.scores()
        return {
            **{name: mean_of(getattr(self, name)) for name in ("elbo", "nll", "kl")},
            "edge_precision": scores.precision,
            "edge_recall": scores.recall,
            "complemented": float(scores.complemented),
        }


class GraphLayoutModel(EvaluatedModule[Layouts]):
    """Encoder, edge distribution and decoder, trained on relaxed samples and evaluated on hard ones (8.1, App. D.4).

    Args:
        config: the run's configuration.
    """

    def __init__(self, config: NRIConfig) -> None:
        super().__init__()
        self.config = config
        self.edges = EDGE_DISTRIBUTIONS[config.edges](config.num_nodes)
        precision = torch.bfloat16 if config.precision == "bfloat16" else None
        outputs = self.edges.num_outputs_per_edge
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(config.run_seed, "weights"))
            self.encoder = Encoder(config.num_nodes, config.num_frames, config.hidden, outputs, precision=precision)
            self.decoder = Decoder(config.num_nodes, config.hidden, precision=precision)
            self.estimator = _estimator(config)
        self._evaluation = Evaluation()

    def training_step(self, batch: Layouts, batch_idx: int) -> Tensor:
        """The loss, or the surrogate whose gradient estimates that of the loss, of a batch.

        Args:
            batch: B examples.
            batch_idx: not used.

        Returns:
            A scalar.
        """
        self.decoder.no_edge.fill_(self.config.no_edge(self.global_step))
        features = self.encoder.features(batch.positions)
        theta = self._utilities(self.encoder.readout(features))
        trick = self.edges.trick(theta, self.config.temperature)
        if self.estimator is None:
            nll = self._nll(batch.positions, self.edges.adjacency(trick.rsample()), self.config.horizon)
            kl = self.edges.kl(theta)
            loss = -elbo(nll, kl, self.config.num_nodes)
            surrogate = loss.mean()
        else:
            draw = trick.draw()
            nll = self._nll(batch.positions, self.edges.adjacency(draw.discrete), self.config.horizon)
            kl = self.edges.action_kl(theta)
            loss = -elbo(nll, kl, self.config.num_nodes)
            log_prob = self.edges.log_prob(theta, draw)
            if isinstance(self.estimator, NVIL):
                surrogate = self.estimator(log_prob, loss, features.detach())
            else:
                surrogate = self.estimator(log_prob, loss)
        self.log_split("train", {"elbo": -loss.detach().mean(), "kl": kl.detach().mean()}, len(batch))
        return surrogate

    def begin_evaluation(self) -> None:
        """Forget the last evaluation."""
        self._evaluation = Evaluation()

    def evaluate(self, batch: Layouts) -> None:
        """Take a batch into the evaluation.

        Args:
            batch: B examples.
        """
        graph, theta = self.sample_graphs(batch.positions)
        nll = self._nll(batch.positions, graph, 1)
        kl = self.edges.kl(theta) if self.estimator is None else self.edges.action_kl(theta)
        found = self._evaluation
        found.nll.append(nll)
        found.kl.append(kl)
        found.elbo.append(elbo(nll, kl, self.config.num_nodes))
        found.graphs.append(graph > 0.5)
        found.edges.append(batch.edges)

    def summary(self) -> dict[str, float]:
        """The means over all examples, by name."""
        return self._evaluation.summary()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam; weight decay on the encoder and the baseline alone (App. C.1, D.4.3).

        Returns:
            The optimizer and the schedule of its learning rate.
        """
        inference = [*self.encoder.parameters(), *(self.estimator.parameters() if self.estimator else ())]
        groups: list[dict[str, Any]] = [
            {"params": inference, "weight_decay": self.config.weight_decay},
            {"params": list(self.decoder.parameters()), "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam(groups, lr=self.config.lr, fused=True)
        schedule = LambdaLR(optimizer, self.config.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def sample_graphs(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Hard graphs for trajectories, as evaluation takes them.

        Args:
            positions: (B, T, n, 2).

        Returns:
            The graphs, (B, n, n) of 0 and 1, and the locations of the utilities that they were drawn from.
        """
        theta = self._utilities(self.encoder(positions))
        trick = self.edges.trick(theta, self.config.temperature)
        return self.edges.adjacency(sst.StochasticArgmaxTrick(trick.structure, trick.utility).sample()), theta

    def _utilities(self, outputs: Tensor) -> Tensor:
        theta = self.edges.utilities(outputs)
        self.check_finite("the encoder's outputs are", theta)
        return theta

    def _nll(self, positions: Tensor, graph: Tensor, horizon: int) -> Tensor:
        return gaussian_nll(self.decoder(positions, graph, horizon), positions[:, 1:])


def _estimator(config: NRIConfig) -> NVIL | Reinforce | None:
    if config.estimator == "reinforce":
        return Reinforce(config.baseline_decay)
    if config.estimator == "nvil":
        return NVIL(InputBaseline(config.hidden), config.baseline_decay)
    return None

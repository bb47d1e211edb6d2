import math
from collections import defaultdict

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

import sstricks as sst
from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.decoder import Decoder
from sstricks.experiments.l2x.encoder import Encoder, Theta
from sstricks.experiments.l2x.reviews import Batch
from sstricks.experiments.l2x.scores import run_length, subset_precision
from sstricks.experiments.l2x.subsets import SUBSETS, candidates_of, only_words
from sstricks.experiments.l2x.text import PAD
from sstricks.experiments.runs.evaluated import EvaluatedModule, mean_of
from sstricks.experiments.runs.seeds import fold_in


class L2XModel(EvaluatedModule[Batch]):
    """Selects k words of a review and predicts a rating from them alone (8.3, App. D.6).

    The mask on the words is soft in training, where it is a relaxed sample, and hard in evaluation. The metrics without
    a prefix are those of the most preferred subset, that is, of the utilities without their noise, as the authors of
    L2X and SoftSub evaluate theirs; those with the prefix `sampled_` are of subsets that are drawn.

    Args:
        config: the run's configuration.
        vectors: of the words, where training starts, (V, d).
    """

    def __init__(self, config: L2XConfig, vectors: Tensor) -> None:
        super().__init__()
        self.config = c = config
        solver = sst.FiniteDifference(eps=c.finite_difference_eps) if c.gradient == "finite-difference" else None
        self.subsets = SUBSETS[c.relaxation](c.k, solver)
        self.embedding = nn.Embedding.from_pretrained(vectors.clone(), freeze=not c.train_embeddings, padding_idx=PAD)
        precision = torch.bfloat16 if c.precision == "bfloat16" else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(c.run_seed, "weights"))
            dimension = vectors.shape[-1]
            self.decoder = Decoder(dimension, dropout=c.dropout, precision=precision)
            pairs = self.subsets.has_pairs
            self.encoder = Encoder(dimension, c.encoder, pairs=pairs, dropout=c.dropout, precision=precision)
        self._measured: dict[str, list[Tensor]] = defaultdict(list)
        self._ratings: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The squared error of a batch from softly masked words.

        Args:
            batch: B reviews.
            batch_idx: not used.

        Returns:
            A scalar.
        """
        vectors, present = self.embedding(batch.words), batch.present
        candidates = candidates_of(present, self.config.k)
        relaxed = self.subsets.relaxed(self._theta(vectors, present), candidates, self.config.temperature)
        selected = only_words(relaxed, present, self.config.k)
        loss = F.mse_loss(self.decoder(vectors, selected, present), batch.ratings)
        self.log_split("train", {"mse": loss.detach(), "mse_x100": 100 * loss.detach()}, len(batch))
        return loss

    def begin_evaluation(self) -> None:
        """Forget the last evaluation."""
        self._measured.clear()
        self._ratings.clear()

    def evaluate(self, batch: Batch) -> None:
        """Measure the errors and the subsets of a batch.

        Args:
            batch: B reviews.
        """
        vectors, present = self.embedding(batch.words), batch.present
        theta, candidates = self._theta(vectors, present), candidates_of(present, self.config.k)
        rated, annotated = ~batch.ratings.isnan(), batch.annotated
        for prefix, choose in (("", self.subsets.mode), ("sampled_", self.subsets.sample)):
            selected = only_words(choose(theta, candidates), present, self.config.k)
            error = (self.decoder(vectors, selected, present) - batch.ratings).square()
            hard, measured = selected > 0, self._measured
            measured[f"{prefix}mse"].append(error[rated])
            measured[f"{prefix}run_length"].append(run_length(hard))
            measured[f"{prefix}subset_precision"].append(subset_precision(hard[annotated], batch.relevant[annotated]))
        self._ratings.append(batch.ratings[rated])

    def summary(self) -> dict[str, float]:
        """The means over all reviews, and the share of the variance of the ratings that is explained.

        Returns:
            Metrics by name; the precision is NaN if no review is annotated, the share if all ratings are the same.
        """
        means = {name: mean_of(values) for name, values in self._measured.items()}
        variance = float(torch.cat(self._ratings).double().var(correction=0))
        explained = 1 - means["mse"] / variance if variance > 0 else math.nan
        return {**means, "mse_x100": 100 * means["mse"], "explained_variance": explained}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam, with a learning rate that falls in a straight line (App. D.6).

        Returns:
            The optimizer and the schedule of its learning rate.
        """
        c = self.config
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=c.lr, weight_decay=c.weight_decay, fused=True)
        schedule = LambdaLR(optimizer, c.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def explain(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The words that explain the ratings of reviews best, and the ratings that they lead to.

        Args:
            batch: B reviews.

        Returns:
            The words, bool (B, L), and the ratings, (B,).
        """
        vectors, present = self.embedding(batch.words), batch.present
        theta, candidates = self._theta(vectors, present), candidates_of(present, self.config.k)
        selected = only_words(self.subsets.mode(theta, candidates), present, self.config.k)
        return selected > 0, self.decoder(vectors, selected, present)

    def _theta(self, vectors: Tensor, present: Tensor) -> Theta:
        theta = self.encoder(vectors, present)
        self.check_finite(
            "the encoder's outputs are", *(part for part in (theta.words, theta.pairs) if part is not None)
        )
        return theta

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.datamodule import AspectReviews
from sstricks.experiments.l2x.embeddings import initial_vectors
from sstricks.experiments.l2x.module import L2XModel
from sstricks.experiments.l2x.reference import chance
from sstricks.experiments.runs.configured import ConfiguredRun
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.seeds import fold_in
from sstricks.experiments.runs.training import load_best


@dataclass(frozen=True)
class L2XRun(ConfiguredRun[L2XConfig]):
    """Learning to explain as an experiment that can be run; its best checkpoint is as App. D.6 has it."""

    monitor = "valid/explained_variance"
    shown: ClassVar = {"valid/mse_x100": "MSE×100 {:.2f}", "valid/run_length": "runs of {:.1f}"}

    @property
    def title(self) -> str:
        """The relaxation, k and the aspect."""
        return f"{self.config.relaxation} {self.config.k} {self.config.aspect}"

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats, and what chance would score."""
        c = self.config
        splits = self.data().splits
        by_chance = chance(splits.test, c.k, c.max_words)
        return {
            **{name: value for name, value in super().summary().items() if name != "data"},
            "train_reviews": len(splits.train),
            "valid_reviews": len(splits.valid),
            "test_reviews": len(splits.test),
            "chance/subset_precision": by_chance.subset_precision,
            "chance/run_length": by_chance.run_length,
        }

    def module(self) -> L2XModel:
        """The model with its initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(self.config.run_seed, "vectors"))
            vectors = initial_vectors(self.data().vocabulary, self.config.embeddings)
        return L2XModel(self.config, vectors)

    def data(self) -> AspectReviews:
        """The three splits."""
        return AspectReviews(self.config)

    def illustrate(self, folder: Path) -> list[Path]:
        """Draw the learning curves.

        Args:
            folder: of the run.

        Returns:
            The picture.
        """
        from sstricks.experiments.l2x.pictures import draw_curves  # matplotlib takes a second to load

        return [draw_curves(folder, folder / "curves.png")]


def trained(run: L2XRun, folder: Path) -> L2XModel:
    """The best model of a run so far, ready to be evaluated.

    Args:
        run: the one that the folder's configuration describes.
        folder: of the run.

    Returns:
        The model.

    Raises:
        RunError: if there is no checkpoint yet.
    """
    vocabulary = run.data().vocabulary
    model = L2XModel(run.config, initial_vectors(vocabulary, "random"))  # whatever they are, the checkpoint has its own
    load_best(model, RunFolder(folder))
    return model.eval()

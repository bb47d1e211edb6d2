from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.datamodule import GraphLayouts
from sstricks.experiments.nri.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.nri.objective import chance_scores
from sstricks.experiments.runs.configured import ConfiguredRun
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.training import load_best


@dataclass(frozen=True)
class GraphLayoutRun(ConfiguredRun[NRIConfig]):
    """Graph layout as an experiment that can be run; its best checkpoint is as App. D.4.3 has it."""

    monitor = "valid/elbo"
    shown: ClassVar = {"valid/elbo": "ELBO {:.0f}", "valid/edge_precision": "precision {:.2f}"}

    @property
    def title(self) -> str:
        """The edge distribution, and the estimator if it is not the paper's own."""
        return self.config.edges if self.config.estimator == "sst" else f"{self.config.edges} {self.config.estimator}"

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats, and what chance would score."""
        chance = chance_scores(EDGE_DISTRIBUTIONS[self.config.edges](self.config.num_nodes))
        return {
            **super().summary(),
            "chance/edge_precision": chance.precision,
            "chance/edge_recall": chance.recall,
        }

    def module(self) -> GraphLayoutModel:
        """The model with its initial weights."""
        return GraphLayoutModel(self.config)

    def data(self) -> GraphLayouts:
        """The three splits."""
        return GraphLayouts(self.config)

    def illustrate(self, folder: Path) -> list[Path]:
        """Draw three test graphs beside what was recovered, and the learning curves.

        Args:
            folder: of the run, with its best checkpoint.

        Returns:
            The two pictures.
        """
        from sstricks.experiments.nri.pictures import draw_curves, draw_graphs  # matplotlib takes a second to load

        module = self.module()
        load_best(module, RunFolder(folder))
        return [draw_graphs(module, self.data(), folder / "graphs.png"), draw_curves(folder, folder / "curves.png")]

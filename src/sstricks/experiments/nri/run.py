from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.datamodule import GraphLayouts
from sstricks.experiments.nri.edges import EDGE_DISTRIBUTIONS
from sstricks.experiments.nri.module import GraphLayoutModel
from sstricks.experiments.nri.objective import chance_scores
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import Schedule, load_best

SHOWN = {"valid/elbo": "ELBO {:.0f}", "valid/edge_precision": "precision {:.2f}"}
"""What a run on graph layout shows while it trains."""

_NOT_REPEATED = {"steps", "valid_every", "trials", "trial_steps", "trial_factor", "trial_temperatures"}


@dataclass(frozen=True)
class GraphLayoutRun:
    """Graph layout as an experiment that can be run (an `Experiment`).

    Attributes:
        config: the run's configuration.
    """

    config: NRIConfig

    @property
    def title(self) -> str:
        """The edge distribution, and the estimator if it is not the paper's own."""
        return self.config.edges if self.config.estimator == "sst" else f"{self.config.edges} {self.config.estimator}"

    @property
    def schedule(self) -> Schedule:
        """As App. D.4.3 has it: the best checkpoint is the one with the highest validation ELBO."""
        c = self.config
        return Schedule(c.run_seed, c.steps, c.valid_every, c.clip, monitor="valid/elbo", shown=SHOWN)

    @property
    def search(self) -> Search:
        """The trials to choose from."""
        return self.config.search

    def trial(self, index: int, interval: int) -> Self:
        """The same run with other random numbers, and the next of the temperatures.

        Args:
            index: from 0.
            interval: steps between two validations.

        Returns:
            A run without trials.
        """
        temperatures = self.config.trial_temperatures or (self.config.temperature,)
        temperature = temperatures[index % len(temperatures)]
        changes = {"trial": index, "temperature": temperature, "valid_every": interval}
        config = replace(self.config, **changes, trials=1, trial_temperatures=())
        return replace(self, config=config)

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types."""
        return self.config.to_json()

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats, and what chance would score."""
        chance = chance_scores(EDGE_DISTRIBUTIONS[self.config.edges](self.config.num_nodes))
        return {
            "experiment": "nri",
            **{name: value for name, value in asdict(self.config).items() if name not in _NOT_REPEATED},
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

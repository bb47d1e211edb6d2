from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.datamodule import ListOpsData
from sstricks.experiments.listops.module import ListOpsModel
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.training import Schedule, load_best

SHOWN = {"valid/accuracy": "accuracy {:.3f}", "valid/edge_precision": "edge precision {:.2f}"}
"""What a run on ListOps shows while it trains."""

_NOT_REPEATED = {"steps", "valid_every", "trials", "trial_steps", "trial_factor"}


@dataclass(frozen=True)
class ListOpsRun:
    """ListOps as an experiment that can be run (an `Experiment`).

    Attributes:
        config: the run's configuration.
    """

    config: ListOpsConfig

    @property
    def title(self) -> str:
        """The model, or its edges and their utilities."""
        c = self.config
        return " ".join(filter(None, (c.edges or c.model, c.utility)))

    @property
    def schedule(self) -> Schedule:
        """As App. D.5.3 has it: the best checkpoint is the one with the highest validation accuracy."""
        c = self.config
        return Schedule(c.run_seed, c.steps, c.valid_every, c.clip, monitor="valid/accuracy", shown=SHOWN)

    @property
    def search(self) -> Search:
        """The trials to choose from."""
        return self.config.search

    def trial(self, index: int, interval: int) -> Self:
        """The same run with other random numbers.

        Args:
            index: from 0.
            interval: steps between two validations.

        Returns:
            A run without trials.
        """
        return replace(self, config=replace(self.config, trial=index, valid_every=interval, trials=1))

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types."""
        return self.config.to_json()

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats, and how often an expression was seen."""
        c = self.config
        seen = c.steps * c.batch_size / (c.train_share * c.train_examples)
        repeated = {name: value for name, value in asdict(c).items() if name not in _NOT_REPEATED}
        return {"experiment": "listops", **repeated, "epochs": round(seen, 2)}

    def module(self) -> ListOpsModel:
        """The model with its initial weights."""
        return ListOpsModel(self.config)

    def data(self) -> ListOpsData:
        """The three splits."""
        return ListOpsData(self.config.specification, self.config.batching)

    def illustrate(self, folder: Path) -> list[Path]:
        """Draw the parses of some test expressions, if the model has any, and the learning curves.

        Args:
            folder: of the run, with its best checkpoint.

        Returns:
            The pictures.
        """
        from sstricks.experiments.listops.pictures import draw_curves, draw_parses  # matplotlib takes a second to load

        pictures = [draw_curves(folder, folder / "curves.png")]
        if self.config.edges is not None:
            module = self.module()
            load_best(module, RunFolder(folder))
            pictures.append(draw_parses(module, self.data(), folder / "parses.png"))
        return pictures

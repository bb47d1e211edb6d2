import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.datamodule import ListOpsData
from sstricks.experiments.listops.module import ListOpsModel
from sstricks.experiments.runs.configured import ConfiguredRun
from sstricks.experiments.runs.folder import RunFolder
from sstricks.experiments.runs.training import Schedule, load_best


@dataclass(frozen=True)
class ListOpsRun(ConfiguredRun[ListOpsConfig]):
    """ListOps as an experiment that can be run; its best checkpoint is as App. D.5.3 has it."""

    monitor = "valid/accuracy"
    shown: ClassVar = {"valid/accuracy": "accuracy {:.3f}", "valid/edge_precision": "edge precision {:.2f}"}

    @property
    def schedule(self) -> Schedule:
        """How its training proceeds; without edges, none are shown."""
        schedule = super().schedule
        shown = {name: text for name, text in self.shown.items() if self.config.edges or "edge" not in name}
        return replace(schedule, shown=shown)

    @property
    def title(self) -> str:
        """The model, or its edges and their utilities."""
        c = self.config
        return " ".join(filter(None, (c.edges or c.model, c.utility)))

    def summary(self) -> dict[str, Any]:
        """The part of the configuration that the result repeats, and how often an expression was seen."""
        c = self.config
        used = math.ceil(c.train_share * c.train_examples)
        return {**super().summary(), "epochs": round(c.steps / math.ceil(used / c.batch_size), 2)}

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
        from sstricks.experiments.listops import pictures  # matplotlib takes a second to load

        if self.config.edges is None:
            return [pictures.draw_curves_without_edges(folder, folder / "curves.png")]
        module = self.module()
        load_best(module, RunFolder(folder))
        return [
            pictures.draw_curves(folder, folder / "curves.png"),
            pictures.draw_parses(module, self.data(), folder / "parses.png"),
        ]

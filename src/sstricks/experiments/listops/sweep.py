from dataclasses import dataclass, field
from typing import ClassVar

from sstricks.experiments.listops.command import TrainListOps
from sstricks.experiments.listops.overrides import ListOpsOverrides
from sstricks.experiments.listops.ranges import ranges_of
from sstricks.experiments.sweep.command import SweepCommand
from sstricks.experiments.sweep.overrides import StartOverrides
from sstricks.experiments.sweep.report import Columns


@dataclass(frozen=True)
class ListOpsSweepOverrides(StartOverrides, ListOpsOverrides):
    """Values that replace the preset's in all trials; what is given here is not searched."""


@dataclass(frozen=True, kw_only=True)
class SweepListOps(SweepCommand, TrainListOps):
    """Search learning rate, weight decay and temperature for one model on ListOps (8.2, App. D.5.3).

    Validation accuracy selects. The same command continues a sweep that was interrupted.
    """

    ranges = staticmethod(ranges_of)
    columns: ClassVar[Columns] = {
        "valid/accuracy": "valid. accuracy {:.1%}",
        "test/accuracy": "test accuracy {:.1%}",
        "test/edge_precision": "precision {:.1%}",
        "test/edge_recall": "recall {:.1%}",
    }

    preset_overrides: ListOpsSweepOverrides = field(default_factory=ListOpsSweepOverrides)

from dataclasses import dataclass, field
from typing import ClassVar

from sstricks.experiments.l2x.command import TrainL2X
from sstricks.experiments.l2x.overrides import L2XOverrides
from sstricks.experiments.l2x.ranges import ranges_of
from sstricks.experiments.sweep.command import SweepCommand
from sstricks.experiments.sweep.overrides import StartOverrides
from sstricks.experiments.sweep.report import Columns


@dataclass(frozen=True)
class L2XSweepOverrides(StartOverrides, L2XOverrides):
    """Values that replace the preset's in all trials; what is given here is not searched."""


@dataclass(frozen=True, kw_only=True)
class SweepL2X(SweepCommand, TrainL2X):
    """Search learning rate, its decline, weight decay and temperature for one relaxation and aspect (8.3, App. D.6).

    Validation error selects. The same command continues a sweep that was interrupted.
    """

    ranges = staticmethod(ranges_of)
    columns: ClassVar[Columns] = {
        "valid/mse_x100": "valid. MSE×100 {:.2f}",
        "test/mse_x100": "test MSE×100 {:.2f}",
        "test/subset_precision": "precision {:.1%}",
        "test/run_length": "runs {:.2f}",
    }

    preset_overrides: L2XSweepOverrides = field(default_factory=L2XSweepOverrides)

from dataclasses import dataclass, field
from typing import ClassVar

from sstricks.experiments.nri.command import TrainNRI
from sstricks.experiments.nri.overrides import NRIOverrides
from sstricks.experiments.nri.ranges import ranges_of
from sstricks.experiments.sweep.command import SweepCommand
from sstricks.experiments.sweep.overrides import StartOverrides
from sstricks.experiments.sweep.report import Columns


@dataclass(frozen=True)
class NRISweepOverrides(StartOverrides, NRIOverrides):
    """Values that replace the preset's in all trials; what is given here is not searched."""


@dataclass(frozen=True, kw_only=True)
class SweepNRI(SweepCommand, TrainNRI):
    """Search learning rate and temperature for one edge distribution on graph layout (8.1, App. D.4.3).

    For the score-function estimators: learning rate, weight decay and the constant of the moving average (App. C.1).
    Validation ELBO selects. The same command continues a sweep that was interrupted.
    """

    ranges = staticmethod(ranges_of)
    columns: ClassVar[Columns] = {
        "valid/elbo": "valid. ELBO {:.0f}",
        "test/elbo": "test ELBO {:.0f}",
        "test/edge_precision": "precision {:.1%}",
        "test/edge_recall": "recall {:.1%}",
    }

    preset_overrides: NRISweepOverrides = field(default_factory=NRISweepOverrides)

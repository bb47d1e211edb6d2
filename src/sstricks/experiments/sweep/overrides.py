from dataclasses import dataclass
from typing import Annotated

import tyro

from sstricks.experiments.runs.overrides import Integer, RunOverrides


@dataclass(frozen=True)
class StartOverrides(RunOverrides):
    """Values that replace the preset's, under names that leave `--trials` to the sweep."""

    trials: Annotated[Integer, tyro.conf.arg(name="starts")] = None
    """Short trainings within each trial, of which the best in validation goes on; 1 for none."""
    trial_steps: Annotated[Integer, tyro.conf.arg(name="start-steps")] = None
    """Length of their first round."""
    trial_factor: Annotated[Integer, tyro.conf.arg(name="start-factor")] = None
    """By which the steps grow and their number shrinks from round to round."""

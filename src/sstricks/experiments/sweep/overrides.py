from dataclasses import dataclass
from typing import Annotated

import tyro

from sstricks.experiments.runs.overrides import RunOverrides

_HINT = "(the preset's)"
_Integer = int | None


@dataclass(frozen=True)
class StartOverrides(RunOverrides):
    """Values that replace the preset's, under names that leave `--trials` to the sweep."""

    trials: Annotated[_Integer, tyro.conf.arg(name="starts", metavar="INT", help_behavior_hint=_HINT)] = None
    """Short trainings within each trial, of which the best in validation goes on; 1 for none."""
    trial_steps: Annotated[_Integer, tyro.conf.arg(name="start-steps", metavar="INT", help_behavior_hint=_HINT)] = None
    """Length of their first round."""
    trial_factor: Annotated[_Integer, tyro.conf.arg(name="start-factor", metavar="INT", help_behavior_hint=_HINT)] = (
        None
    )
    """By which the steps grow and their number shrinks from round to round."""

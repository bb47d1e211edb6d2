"""Values on the command line that replace a preset's, in fields that are none unless they are given."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from sstricks.experiments.runs.config import Precision

HINT = "(the preset's)"
"""What the help says instead of a default."""
Integer = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=HINT)]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=HINT)]
Products = Annotated[Precision | None, tyro.conf.arg(metavar="{float32,bfloat16}", help_behavior_hint=HINT)]


@dataclass(frozen=True)
class RunOverrides:
    """Values that replace the preset's."""

    steps: Integer = None
    """Optimizer steps, a multiple of --valid-every."""
    valid_every: Integer = None
    """Steps between two validations, each with a checkpoint."""
    batch_size: Integer = None
    """Examples a step, over all devices together."""
    clip: Number = None
    """Largest gradient norm."""
    trials: Integer = None
    """Short trainings of which the best in validation goes on; 1 for none."""
    trial_steps: Integer = None
    """Length of the trials' first round."""
    trial_factor: Integer = None
    """By which the steps grow and the trials shrink from round to round."""

    def given(self) -> dict[str, Any]:
        """Those that the user gave.

        Returns:
            Fields of the experiment's configuration by name.
        """
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class TemperedOverrides(RunOverrides):
    """Values that replace the preset's."""

    temperature: Number = None
    """Temperature of the relaxation, the same in all trials."""

    def given(self) -> dict[str, Any]:
        """Those that the user gave; a temperature replaces those that the trials would go through.

        Returns:
            Fields of the experiment's configuration by name.
        """
        given = super().given()
        return {**given, "trial_temperatures": ()} if "temperature" in given else given

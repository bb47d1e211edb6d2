from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from sstricks.experiments.runs.overrides import Integer, Number, Products, given_values

Truth = Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="(the preset's)")]


@dataclass(frozen=True)
class L2XOverrides:
    """Values that replace the preset's."""

    max_words: Integer = None
    """Words after which a review is cut."""
    batch_size: Integer = None
    """Reviews a step."""
    steps: Integer = None
    """Optimizer steps, a multiple of --valid-every."""
    valid_every: Integer = None
    """Steps between two validations, each with a checkpoint."""
    lr: Number = None
    """Adam's learning rate, at the start."""
    lr_final: Number = None
    """What it falls to, as a share of that."""
    lr_share: Number = None
    """Share of the steps, at the start, over which it falls."""
    weight_decay: Number = None
    """Adam's."""
    dropout: Number = None
    """Share of features that is set to zero in training."""
    temperature: Number = None
    """Temperature of the relaxation, the same in all trials."""
    train_embeddings: Truth = None
    """Whether the word vectors change in training."""
    finite_difference_eps: Number = None
    """The ε of eq. 56, for --gradient finite-difference; by default one that adapts to the gradient."""
    precision: Products = None
    """Of the convolutions of size three."""
    clip: Number = None
    """Largest gradient norm."""
    trials: Integer = None
    """Short trainings of which the best by validation error goes on; 1 for none."""
    trial_steps: Integer = None
    """Length of the trials' first round."""
    trial_factor: Integer = None
    """By which the steps grow and the trials shrink from round to round."""

    def given(self) -> dict[str, Any]:
        """Those that the user gave.

        Returns:
            Fields of `L2XConfig` by name.
        """
        given = given_values(self)
        if "temperature" in given:
            given["trial_temperatures"] = ()
        return given

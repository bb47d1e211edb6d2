from dataclasses import dataclass
from typing import Annotated

import tyro

from sstricks.experiments.runs.overrides import HINT, Integer, Number, Products, TemperedOverrides

Truth = Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint=HINT)]


@dataclass(frozen=True)
class L2XOverrides(TemperedOverrides):
    """Values that replace the preset's."""

    max_words: Integer = None
    """Words after which a review is cut."""
    batch_size: Integer = None
    """Reviews a step, over all devices together."""
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
    train_embeddings: Truth = None
    """Whether the word vectors change in training."""
    finite_difference_eps: Number = None
    """The ε of eq. 56, for --gradient finite-difference; by default one that adapts to the gradient."""
    precision: Products = None
    """Of the convolutions of size three."""
    trials: Integer = None
    """Short trainings of which the best by validation error goes on; 1 for none."""

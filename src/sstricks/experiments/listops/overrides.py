from dataclasses import dataclass
from typing import Any

from sstricks.experiments.runs.overrides import Integer, Number, Products, RunOverrides


@dataclass(frozen=True)
class ListOpsOverrides(RunOverrides):
    """Values that replace the preset's."""

    train_examples: Integer = None
    """Size of the training split."""
    valid_examples: Integer = None
    """Size of the validation split."""
    test_examples: Integer = None
    """Size of the test split."""
    train_share: Number = None
    """Share of the training split that is used."""
    valid_share: Number = None
    """Share of the validation split that is used."""
    data_seed: Integer = None
    """Chooses the data set."""
    hidden: Integer = None
    """Size of embeddings and of all layers."""
    message_steps: Integer = None
    """Rounds of messages."""
    dropout: Number = None
    """Share of hidden units that are set to zero in training."""
    lr: Number = None
    """AdamW's learning rate, at its highest."""
    lr_decay: Number = None
    """Share of the steps, at the end, over which it falls to 0; 0 for a constant rate."""
    weight_decay: Number = None
    """AdamW's."""
    temperature: Number = None
    """Temperature of the relaxation, at the start."""
    final_temperature: Number = None
    """Temperature at the end; without it, what --temperature says, or the preset's."""
    negligible: Number = None
    """Edges of at most this weight in a relaxed graph count as absent."""
    precision: Products = None
    """Of the products with a message's hidden layer."""
    trials: Integer = None
    """Short trainings of which the best by validation accuracy goes on; 1 for none."""

    def given(self) -> dict[str, Any]:
        """Those that the user gave.

        Returns:
            Fields of `ListOpsConfig` by name.
        """
        given = super().given()
        if "temperature" in given:
            given.setdefault("final_temperature", given["temperature"])
        return given

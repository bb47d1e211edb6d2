from dataclasses import dataclass

from sstricks.experiments.runs.overrides import Integer, Number, Products, TemperedOverrides


@dataclass(frozen=True)
class NRIOverrides(TemperedOverrides):
    """Values that replace the preset's."""

    num_nodes: Integer = None
    """Nodes of a tree."""
    num_frames: Integer = None
    """Frames of a trajectory; the paper has 10 and 20."""
    train_examples: Integer = None
    """Size of the training split."""
    valid_examples: Integer = None
    """Size of the validation split."""
    test_examples: Integer = None
    """Size of the test split."""
    data_seed: Integer = None
    """Chooses the data set."""
    hidden: Integer = None
    """Width of all layers."""
    lr: Number = None
    """Adam's learning rate, at its highest."""
    lr_decay: Number = None
    """Share of the steps, at the end, over which it falls to 0; 0 for a constant rate."""
    horizon: Integer = None
    """Frames predicted in training before a true one is seen again."""
    no_edge_hold: Integer = None
    """Steps before messages pass between nodes that no edge connects."""
    no_edge_ramp: Integer = None
    """Steps over which those messages then gain their full weight."""
    weight_decay: Number = None
    """On the encoder, and on NVIL's baseline."""
    baseline_decay: Number = None
    """Of REINFORCE's and NVIL's moving average."""
    precision: Products = None
    """Of the hidden matrix products; positions are always float32."""
    trials: Integer = None
    """Short trainings of which the best by validation ELBO goes on; 1 for none."""

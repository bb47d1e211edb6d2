from dataclasses import dataclass
from typing import ClassVar, Literal

from sstricks.experiments.nri.ramp import Ramp
from sstricks.experiments.runs.config import Precision, TemperedConfig, check_positive, check_steps
from sstricks.experiments.runs.decay import Decay

Edges = Literal["spanning-tree", "top-k", "independent"]
Estimator = Literal["sst", "reinforce", "nvil"]
Preset = Literal["paper", "cpu", "quick"]


@dataclass(frozen=True)
class NRIConfig(TemperedConfig):
    """Everything that makes a training run on graph layout what it is (8.1, App. D.4).

    Attributes:
        edges: the distribution over edges.
        estimator: of the gradient with respect to the encoder.
        preset: which preset the values come from.
        seed: of the initial weights, the order of the examples and the noise.
        data_seed: of the data, the same for all runs that are to be compared.
        num_nodes: n, nodes of a tree.
        num_frames: T, frames of a trajectory.
        train_examples: size of the training split.
        valid_examples: size of the validation split.
        test_examples: size of the test split.
        hidden: width of all layers.
        batch_size: examples a step.
        steps: optimizer steps.
        valid_every: steps between two validations, each with a checkpoint.
        lr: Adam's learning rate, at its highest.
        lr_decay: the share of the steps, at the end, over which it falls to 0; 0 for a constant rate.
        temperature: t, of the relaxation.
        horizon: frames that the decoder predicts in training before it sees a true one again; 1 in evaluation.
        no_edge_hold: steps before the decoder sends messages between nodes that no edge connects.
        no_edge_ramp: steps over which those messages then gain their full weight.
        clip: the largest gradient norm.
        weight_decay: on the encoder and an input-dependent baseline.
        baseline_decay: of the score-function estimators' moving average.
        precision: of the hidden matrix products; what touches positions is always float32.
        trials: short trainings of which the best by validation ELBO goes on; 1 for none.
        trial_steps: the length of their first round, and the steps between their validations.
        trial_factor: by which the steps grow and the trials shrink from round to round.
        trial: which of several trials this is; each has its own initial weights, order and noise.
        trial_temperatures: the temperatures that the trials go through; empty for `temperature` in all of them.
    """

    experiment: ClassVar[str] = "nri"

    edges: Edges
    estimator: Estimator
    preset: Preset
    seed: int = 0
    data_seed: int = 0
    num_nodes: int = 10
    num_frames: int = 10
    train_examples: int = 50_000
    valid_examples: int = 10_000
    test_examples: int = 10_000
    hidden: int = 256
    batch_size: int = 128
    steps: int = 50_000
    valid_every: int = 500
    lr: float = 5e-4
    lr_decay: float = 0.0
    temperature: float = 2.5
    horizon: int = 1
    no_edge_hold: int = 0
    no_edge_ramp: int = 0
    clip: float = 1000.0
    weight_decay: float = 0.0
    baseline_decay: float = 0.99
    precision: Precision = "float32"
    trials: int = 1
    trial_steps: int = 500
    trial_factor: int = 2
    trial_temperatures: tuple[float, ...] = ()
    trial: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_data()
        names = (
            *("train_examples", "valid_examples", "test_examples", "hidden", "batch_size"),
            *("steps", "valid_every", "lr", "temperature", "horizon", "clip"),
        )
        check_positive(self, names)
        if self.horizon > self.num_frames:
            raise ValueError(
                f"horizon is {self.horizon}, expected at most num_frames={self.num_frames}: change either."
            )
        if not self.weight_decay >= 0 or not 0 <= self.baseline_decay < 1:
            raise ValueError(
                f"weight_decay is {self.weight_decay} and baseline_decay is {self.baseline_decay}, expected a number "
                "of at least 0 and a share below 1: change either."
            )
        _ = self.no_edge, self.lr_factor, self.search  # which check their own
        if self.batch_size > self.train_examples:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected at most train_examples={self.train_examples}: "
                "make the batch smaller or the training split larger."
            )
        check_steps(self.steps, self.valid_every, self.search)

    def _check_data(self) -> None:
        # The options are named too, for --num-nodes is another one.
        for name, option, least in (
            ("num_nodes", "--graph-nodes", 2),
            ("num_frames", "--num-frames", 2),
            ("data_seed", "--data-seed", 0),
        ):
            found = getattr(self, name)
            if found < least:
                raise ValueError(f"{name} is {found}, expected at least {least}: pass a larger {option}.")

    @property
    def no_edge(self) -> Ramp:
        """The weight of messages between nodes that no edge connects, by step."""
        return Ramp(hold=self.no_edge_hold, length=self.no_edge_ramp)

    @property
    def lr_factor(self) -> Decay:
        """The learning rate as a share of the highest, by step."""
        return Decay(steps=self.steps, share=self.lr_decay)

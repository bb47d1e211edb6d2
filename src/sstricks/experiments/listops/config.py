import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from sstricks.experiments.listops.data import Specification
from sstricks.experiments.listops.datamodule import Batching
from sstricks.experiments.runs.config import Precision, RunConfig, check_positive, check_steps
from sstricks.experiments.runs.decay import Decay

Model = Literal["lstm", "gnn"]
Edges = Literal["arborescence", "spanning-tree", "independent-directed", "independent-undirected", "ground-truth"]
Utility = Literal["gumbel", "normal", "negative-exponential"]
Preset = Literal["paper", "cpu", "quick"]


@dataclass(frozen=True)
class ListOpsConfig(RunConfig):
    """Everything that makes a training run on ListOps what it is (8.2, App. D.5).

    Attributes:
        model: an LSTM over the tokens, or a network that passes messages over a graph of them.
        edges: the distribution over graphs; none for the LSTM.
        utility: the law of the utilities; none where there is no distribution to learn.
        preset: which preset the values come from.
        seed: of the initial weights, the order of the examples and the noise.
        data_seed: of the data, the same for all runs that are to be compared.
        train_examples: size of the training split.
        valid_examples: size of the validation split.
        test_examples: size of the test split.
        train_share: the share of the training split that is used.
        valid_share: the share of the validation split that is used.
        hidden: the size of embeddings and of all layers.
        message_steps: rounds of messages.
        dropout: the share of hidden units that are set to zero in training.
        batch_size: examples a step.
        steps: optimizer steps.
        valid_every: steps between two validations, each with a checkpoint.
        lr: AdamW's learning rate, at its highest.
        lr_decay: the share of the steps, at the end, over which it falls to 0; 0 for a constant rate.
        weight_decay: AdamW's.
        temperature: t, of the relaxation, at the start.
        final_temperature: t at the last step, reached at a constant rate of decline.
        negligible: edges of at most this weight in a relaxed graph count as absent.
        clip: the largest gradient norm.
        precision: of the products with a message's hidden layer.
        trials: short trainings of which the best by validation accuracy goes on; 1 for none.
        trial_steps: the length of their first round, and the steps between their validations.
        trial_factor: by which the steps grow and the trials shrink from round to round.
        trial: which of several trials this is; each has its own initial weights, order and noise.
    """

    experiment: ClassVar[str] = "listops"

    model: Model
    edges: Edges | None
    utility: Utility | None
    preset: Preset
    seed: int = 0
    data_seed: int = 0
    train_examples: int = 100_000
    valid_examples: int = 10_000
    test_examples: int = 10_000
    train_share: float = 1.0
    valid_share: float = 1.0
    hidden: int = 60
    message_steps: int = 5
    dropout: float = 0.1
    batch_size: int = 100
    steps: int = 50_400
    valid_every: int = 800
    lr: float = 1e-3
    lr_decay: float = 0.0
    weight_decay: float = 1e-2
    temperature: float = 1.0
    final_temperature: float = 1.0
    negligible: float = 0.0
    clip: float = 1.0
    precision: Precision = "float32"
    trials: int = 1
    trial_steps: int = 800
    trial_factor: int = 2
    trial: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_model()
        names = (
            *("hidden", "message_steps", "batch_size", "steps", "valid_every", "lr", "clip"),
            *("temperature", "final_temperature", "train_examples", "valid_examples", "test_examples"),
        )
        check_positive(self, names)
        for name, below in (("dropout", 1.0), ("negligible", 0.5), ("weight_decay", math.inf)):
            if not 0 <= getattr(self, name) < below:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected a number from 0 to below {below}: pass such a one."
                )
        for name in ("train_share", "valid_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected a share above 0 and at most 1: pass such a one."
                )
        if self.data_seed < 0:
            raise ValueError(f"data_seed is {self.data_seed}, expected at least 0: pass a larger data_seed.")
        _ = self.specification, self.batching, self.lr_factor  # which check their own
        check_steps(self.steps, self.valid_every, self.search)

    def _check_model(self) -> None:
        if (self.model == "lstm") != (self.edges is None):
            raise ValueError(
                f"model is {self.model!r} and edges is {self.edges!r}, expected edges for the network that passes "
                "messages and none for the LSTM: change either."
            )
        learnt = self.edges not in (None, "ground-truth")
        if learnt != (self.utility is not None):
            raise ValueError(
                f"edges is {self.edges!r} and utility is {self.utility!r}, expected a utility where edges are learnt, "
                "and none elsewhere: change either."
            )

    @property
    def specification(self) -> Specification:
        """What makes the data what it is."""
        return Specification(self.train_examples, self.valid_examples, self.test_examples, seed=self.data_seed)

    @property
    def batching(self) -> Batching:
        """How the run goes through the data."""
        return Batching(
            self.run_seed, self.valid_every, self.batch_size, subset=self.train_share, valid_subset=self.valid_share
        )

    @property
    def lr_factor(self) -> Decay:
        """The learning rate as a share of the highest, by step."""
        return Decay(steps=self.steps, share=self.lr_decay)

    def temperature_at(self, step: int) -> float:
        """The temperature of a training step: it falls by the same factor at each.

        Args:
            step: from 0.

        Returns:
            t.
        """
        return self.temperature * (self.final_temperature / self.temperature) ** (step / self.steps)

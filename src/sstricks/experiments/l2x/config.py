from dataclasses import dataclass
from typing import ClassVar, Literal

from sstricks.experiments.l2x.embeddings import Embeddings
from sstricks.experiments.l2x.encoder import EncoderKind
from sstricks.experiments.l2x.rate import LinearRate
from sstricks.experiments.l2x.subsets import BESPOKE, Relaxation
from sstricks.experiments.runs.config import Precision, TemperedConfig, check_positive, check_steps

Preset = Literal["paper", "cpu", "quick"]
Gradient = Literal["exact", "finite-difference"]


@dataclass(frozen=True)
class L2XConfig(TemperedConfig):
    """Everything that makes a training run on aspect ratings what it is (8.3, App. D.6).

    Attributes:
        data: the folder of prepared reviews.
        data_digest: checksum of the reviews in it, so that a run is not continued on others.
        source: where the reviews come from.
        aspect: the one whose rating is predicted.
        relaxation: of the distribution over subsets of words.
        k: words of a subset.
        encoder: simple or complex.
        preset: which preset the values come from.
        seed: of the initial weights, the order of the reviews and the noise.
        embeddings: where the word vectors start from.
        train_embeddings: whether they change in training.
        gradient: of the relaxation, with respect to its utilities.
        finite_difference_eps: the ε of eq. 56; none for one that adapts to the gradient.
        max_words: words after which a review is cut.
        dropout: the share of features that is set to zero in training.
        batch_size: reviews a step.
        steps: optimizer steps.
        valid_every: steps between two validations, each with a checkpoint.
        lr: Adam's learning rate, at the start.
        lr_final: what it falls to, as a share of that.
        lr_share: the share of the steps, at the start, over which it falls.
        weight_decay: Adam's.
        temperature: t, of the relaxation.
        precision: of the convolutions of the decoder and of the complex encoder.
        clip: the largest gradient norm.
        trials: short trainings of which the best by validation error goes on; 1 for none.
        trial_steps: the length of their first round, and the steps between their validations.
        trial_factor: by which the steps grow and the trials shrink from round to round.
        trial: which of several trials this is; each has its own initial weights, order and noise.
        trial_temperatures: the temperatures that the trials go through; empty for `temperature` in all of them.
    """

    experiment: ClassVar[str] = "l2x"

    data: str
    data_digest: str
    source: str
    aspect: str
    relaxation: Relaxation
    k: int
    encoder: EncoderKind
    preset: Preset
    seed: int = 0
    embeddings: Embeddings = "random"
    train_embeddings: bool = True
    gradient: Gradient = "exact"
    finite_difference_eps: float | None = None
    max_words: int = 350
    dropout: float = 0.1
    batch_size: int = 100
    steps: int = 3_000
    valid_every: int = 300
    lr: float = 3e-3
    lr_final: float = 0.1
    lr_share: float = 1.0
    weight_decay: float = 0.0
    temperature: float = 0.5
    precision: Precision = "float32"
    clip: float = 1.0
    trials: int = 1
    trial_steps: int = 300
    trial_factor: int = 2
    trial: int = 0
    trial_temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = ("k", "max_words", "batch_size", "steps", "valid_every", "lr", "temperature", "clip")
        check_positive(self, positive)
        if not 0 <= self.dropout < 1 or not self.weight_decay >= 0:
            raise ValueError(
                f"dropout is {self.dropout} and weight_decay is {self.weight_decay}, expected a share below 1 and a "
                "number of at least 0: change either."
            )
        if self.k > self.max_words:
            raise ValueError(f"k is {self.k}, expected at most max_words={self.max_words}: change either.")
        if self.gradient == "finite-difference" and self.relaxation in BESPOKE:
            raise ValueError(
                f"gradient is finite-difference and relaxation is {self.relaxation!r}, which is no stochastic softmax "
                "trick and is differentiated as it is computed: change either."
            )
        if self.finite_difference_eps is not None and self.gradient == "exact":
            raise ValueError(
                f"finite_difference_eps is {self.finite_difference_eps} and gradient is exact, expected no ε: "
                "choose the gradient finite-difference."
            )
        _ = self.lr_factor  # which checks its own
        check_steps(self.steps, self.valid_every, self.search)

    @property
    def lr_factor(self) -> LinearRate:
        """The learning rate as a share of the first, by step."""
        return LinearRate(round(self.lr_share * self.steps), self.lr_final)

"""What an experiment is: a frozen dataclass whose fields are its options, with a model, data and pictures.

A recipe is one file with one subclass of `Recipe`. The command line reads its fields, `config.json` stores them, and
`run.train` trains what they describe. Everything random is a function of `(seed, restart, purpose, step)`, never of
what happened before, so that a run that was killed continues as if it had not been.
"""

import dataclasses
import functools
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import llvmlite.binding
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Distribution

import sstricks as sst
from sstricks.recipes.harness.files import RunError

Precision = Literal["float32", "bfloat16"]
OTHER_VERSION = ": use the version of sstricks that started the run, or restore the file."


class DivergedError(RunError):
    """A training has reached numbers that are not finite."""


def fold_in(seed: int, *parts: int | str) -> int:
    """A seed in [0, 2⁶³) that depends on all arguments and on nothing else."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Split(Protocol):
    """Examples: `split[indices]` is a batch of them, with `len` and `.to(device)`.

    A split whose examples have several lengths has `lengths`, int64 (N,): its batches are of about equal length.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: Tensor, /) -> Any: ...


@dataclass(frozen=True)
class Data:
    """The three splits of an experiment."""

    train: Split
    valid: Split
    test: Split


class Model(nn.Module, ABC):
    """What a recipe trains."""

    @abstractmethod
    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar whose gradient trains the model, and what to log: scalars by name."""

    @abstractmethod
    def evaluate(self, batch: Any) -> dict[str, Tensor]:
        """What an evaluation keeps of a batch, one row for each example."""

    def summarize(self, found: dict[str, Tensor]) -> dict[str, float]:
        """The metrics of all examples, whose order may differ from the split's; by default means."""
        return {name: values.double().mean().item() for name, values in found.items()}

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimizer; `Recipe.lr_factor` scales its rates."""


def check_finite(what: str, *values: Tensor) -> None:
    """Raise `DivergedError` unless all numbers are finite."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise DivergedError(f"{what} no longer finite. Lower --lr or --clip, or change --temperature or --seed.")


Facts = Mapping[str, Any]
"""What a result says: configuration and more, by name."""


class Label(NamedTuple):
    """A heading and its place among its like: `Label(10, "k = 10")` comes before `Label(15, "k = 15")`."""

    rank: int
    text: str


@dataclass(frozen=True)
class Metric:
    """A metric as tables show it: times `scale`, with so many `digits`; and whether results have that of chance."""

    name: str
    heading: str
    digits: int
    scale: float = 1.0
    chance: bool = False

    def show(self, value: float | None) -> str:
        """A value, with a minus sign instead of a hyphen; a dash if it was not measured or not finite."""
        return "–" if value is None else f"{self.scale * value:.{self.digits}f}".replace("-", "−")


class Place(NamedTuple):
    """Where a run belongs: the table's title, the labels of its row from the outermost, and the block of columns."""

    table: Label
    row: tuple[Label, ...]
    block: Label


@dataclass(frozen=True)
class Layout:
    """How the tables of an experiment are made."""

    subject: str  # what titles of pictures call the experiment
    selected_by: str  # what a caption calls the metric that selects runs
    validation: Metric  # what learning curves show
    falls: bool  # whether that is better the smaller it is
    metrics: tuple[Metric, ...]  # the columns of a block
    rows: tuple[str, ...]  # headings of the columns with row labels
    place: Callable[[Facts], Place]  # given facts and metrics; KeyError if a value is not known to this version
    placing: frozenset[str]  # the fields that `place` reads
    tuned: frozenset[str]  # what a search may vary; runs that differ in any other field are not comparable
    setup: Callable[[Facts], str]  # what a caption says of runs that are
    caution: Callable[[Facts], str | None]  # and beside the paper's figures; None if they are not comparable at all
    counterpart: Callable[[Facts], Facts] = lambda facts: facts  # by which a run is looked up in `paper/*.csv`
    other_data: Callable[[Facts], bool] = lambda facts: False  # whether the paper's figures are of other data


@functools.cache
def has_bfloat16(device_type: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than of float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


def lowered(tensor: Tensor, precision: Precision) -> Tensor:
    """A factor of a large matrix product: in bfloat16 if that is asked for and the device is fast at it."""
    return tensor.bfloat16() if precision == "bfloat16" and has_bfloat16(tensor.device.type) else tensor


ESTIMATORS = {"sst": "", "straight-through": "Straight-Through"}
ESTIMATORS |= {"i-mle": "I-MLE", "identity": "Identity", "spigot": "SPIGOT", "simple": "SIMPLE"}
"""What `--estimator` may be, by the names that tables add to those of rows."""


def draw_soft(estimator: str, trick: sst.StochasticSoftmaxTrick, theta: Tensor) -> Tensor:
    """A sample of a trick with the gradient of one of `ESTIMATORS`.

    Where there is no relaxation, the temperature is its step. SIMPLE is of the exponential family, whose parameters
    theta are; the others are of the trick's utility.
    """
    if estimator in ("sst", "straight-through"):
        return (trick if estimator == "sst" else sst.StraightThrough(trick)).rsample()
    structure, step = trick.structure, float(trick.temperature)

    def law(_: Tensor) -> Distribution:
        return trick.utility

    layers: dict[str, Callable[[], sst.estimators.Sampler]] = {
        "i-mle": lambda: sst.estimators.IMLE(structure, step, law),
        "identity": lambda: sst.estimators.Identity(structure, utility=law),
        "spigot": lambda: sst.estimators.SPIGOT(structure, step, utility=law),
        "simple": lambda: sst.estimators.MarginalStraightThrough(structure),
    }
    return layers[estimator]().sample(theta, torch.Size(), None)


def draw_hard(estimator: str, structure: sst.Structure, utility: Distribution, theta: Tensor) -> Tensor:
    """A vertex, from the law that an estimator is of."""
    return structure.sample(theta) if estimator == "simple" else sst.StochasticArgmaxTrick(structure, utility).sample()


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """An experiment. Subclasses add fields and say what is trained."""

    name: ClassVar[str]
    """What `sst train` and `config.json` call it."""
    monitor: ClassVar[str]
    """The metric of which the best checkpoint has the largest value."""
    shown: ClassVar[Mapping[str, str]]
    """A format for each metric that progress shows, such as "ELBO {:.0f}"."""

    seed: int = 0
    """Random seed for weights, data order and noise."""
    steps: int = 1000
    """Optimizer steps, a multiple of --valid-every."""
    valid_every: int = 100
    """Steps between two validations, each with a checkpoint."""
    batch_size: int = 100
    """Examples a step, over all devices together."""
    lr: float = 1e-3
    """Highest learning rate of Adam."""
    lr_decay: float = 0.0
    """Share of the steps, at the end, over which the learning rate falls in a straight line to 0."""
    clip: float = 1000.0
    """Largest gradient norm."""
    weight_decay: float = 0.0
    """Adam's weight decay."""
    precision: Precision = "float32"
    """Of large hidden matrix products. bfloat16 is used on devices with instructions for it; others keep float32."""
    restarts: int = 1
    """Short trainings from different initial weights, of which the best in validation goes on; 1 for none."""
    restart_steps: int = 100
    """Steps of their first round."""
    restart_factor: int = 2
    """By which steps grow, and restarts become fewer, from round to round."""
    restart: Annotated[int, tyro.conf.Suppress] = 0
    """Which of the restarts this is."""

    @property
    def title(self) -> str:
        """What progress and pictures call it."""
        return self.name

    @abstractmethod
    def model(self) -> Model:
        """The model; its initial weights come from torch's global generator."""

    @abstractmethod
    def data(self) -> Data:
        """The three splits; cache what is expensive."""

    @abstractmethod
    def with_preset(self) -> Self:
        """This recipe with the values of its preset."""

    @abstractmethod
    def draw(self, model: Model, folder: Path) -> list[Path]:
        """Draw the pictures of a finished run, given its best model, and return their paths."""

    def facts(self) -> dict[str, Any]:
        """What results say besides configuration and metrics: chance levels, sizes of the data."""
        return {}

    def space(self) -> dict[str, Any]:
        """What `sst sweep` searches: Ray Tune's distributions by field."""
        raise RunError(f"{self.name} has no search space.")

    @classmethod
    @abstractmethod
    def layout(cls) -> Layout:
        """How the command line and `sst table` arrange results."""

    def check(self) -> None:
        """Raise ValueError for values that make no sense; subclasses add theirs."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                remedy = "pass a very large one, such as 1e30, for no limit" if field.name == "clip" else "pass one"
                raise ValueError(f"{field.name} is {value}, expected a finite number: {remedy}.")
        self.check_positive("steps", "valid_every", "batch_size", "lr", "clip", "restarts", "restart_steps")
        self.check_range("weight_decay", least=0)
        self.check_range("lr_decay", least=0, most=1)
        self.check_range("restart_factor", least=2)
        decided = self.rounds[-1][0] if self.rounds else 0
        if decided > self.steps:
            why = f"which is what {self.restarts} restarts take to tell apart"
            raise ValueError(f"steps is {self.steps}, expected at least {decided}, {why}: use more, or fewer restarts.")
        for what, found in (("steps", self.steps), ("the length of the last restart", decided)):
            if found % self.valid_every:
                expected = f"a multiple of valid_every={self.valid_every}, since checkpoints are written at validations"
                raise ValueError(f"{what} is {found}, expected {expected}: change either.")

    def check_positive(self, *names: str) -> None:
        """Raise unless these fields are above 0."""
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number above 0: pass a larger {name}.")

    def check_range(self, *names: str, least: float, most: float | str = math.inf, below: float = math.inf) -> None:
        """Raise unless these fields are from `least` to `most`, a number or another field, and smaller than `below`."""
        limit, told = (getattr(self, most), f"{most}={getattr(self, most)}") if isinstance(most, str) else (most, most)
        for name in names:
            found = getattr(self, name)
            bounds = {f"at least {least}": found >= least, f"at most {told}": found <= limit}
            bounds[f"below {below}"] = found < below
            for expected in (bound for bound, holds in bounds.items() if not holds):
                raise ValueError(f"{name} is {found}, expected {expected}: change --{name.replace('_', '-')}.")

    def lr_factor(self, step: int) -> float:
        """The learning rate at a step as a share of `lr`."""
        return min(1.0, (self.steps - step) / (self.lr_decay * self.steps)) if self.lr_decay else 1.0

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """Successive halving: the steps that the restarts of each round reach, and how many they are."""
        rounds, steps, count = [], self.restart_steps, self.restarts
        while count > 1:
            rounds.append((steps, count))
            steps, count = steps * self.restart_factor, -(-count // self.restart_factor)
        return rounds

    @property
    def run_seed(self) -> int:
        """Seed of everything random in this restart, except for the data."""
        return fold_in(self.seed, "restart", self.restart)

    def of_restart(self, index: int, **changed: Any) -> Self:
        """One of the restarts, as a recipe without restarts."""
        return replace(self, restart=index, restarts=1, **changed)

    def to_json(self) -> dict[str, Any]:
        """The content of `config.json`."""
        return {"experiment": self.name, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The recipe of a `config.json`; ValueError if it does not fit this version."""
        from pydantic import TypeAdapter, ValidationError

        given = {name: value for name, value in content.items() if name != "experiment"}
        unknown = given.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"the configuration has unknown fields {sorted(unknown)}{OTHER_VERSION}")
        try:
            recipe = TypeAdapter(cls).validate_json(json.dumps(given), strict=True)
        except ValidationError as error:
            told = "; ".join(f"{one['loc'][-1]} is {one['input']!r}: {one['msg']}" for one in error.errors())
            raise ValueError(f"{told}{OTHER_VERSION}") from None
        recipe.check()
        return recipe


def describe(metrics: Mapping[str, float | None], shown: Mapping[str, str]) -> str:
    """The metrics that progress shows, in words, as far as they are numbers."""
    known = {name: value for name, value in metrics.items() if value is not None and not math.isnan(value)}
    return "  ".join(text.format(known[name]) for name, text in shown.items() if name in known)


def clock(seconds: float) -> str:
    """A duration: 65 s is 1:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def number(value: float | None, form: str) -> str:
    """A number of a result as a table shows it; a dash if it was not measured or not finite."""
    return "–" if value is None else format(value, form)

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar, get_type_hints

from sstricks.experiments.runs.halving import Search
from sstricks.experiments.runs.seeds import fold_in
from sstricks.experiments.runs.typed import has_type, type_name

Config = TypeVar("Config")
Precision = Literal["float32", "bfloat16"]
"""Of hidden matrix products."""
NOT_REPEATED = frozenset({"valid_every", "trial_steps", "trial_factor", "trial_temperatures"})
"""The fields of a configuration that the result leaves out: they are about how a run proceeds."""


def config_from_json(kind: type[Config], experiment: str, content: Mapping[str, Any]) -> Config:
    """A configuration from what its run folder says.

    Args:
        kind: the experiment's dataclass.
        experiment: its name, which the content must have too.
        content: the fields by name and `experiment`, perhaps by way of a file; a field that was introduced since has
            its default.

    Returns:
        The configuration.

    Raises:
        ValueError: if the content is that of another experiment, has a field that is not known here, or lacks one, or
            has a value of another type.
    """
    given = dict(content)
    found = given.pop("experiment", None)
    if found != experiment:
        raise ValueError(f"the run is of experiment {found!r}, expected {experiment!r}: name such a run.")
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]  # a dataclass
    known = {field.name for field in fields}
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    for what, names in (("unknown fields", given.keys() - known), ("no value for the fields", required - given.keys())):
        if names:
            raise ValueError(
                f"the configuration has {what} {sorted(names)}, expected those of this version: use the "
                "version of sstricks that started the run, or restore the file."
            )
    types = get_type_hints(kind)
    for name, value in given.items():
        if not has_type(value, types[name]):
            raise ValueError(
                f"{name} is {value!r} in the configuration, expected {type_name(types[name])}: use the version of "
                "sstricks that started the run, or restore the file."
            )
    return kind(**given)


def check_finite(config: object) -> None:
    """Refuse a configuration with a number that JSON does not have, and with which no training could go on.

    Args:
        config: a dataclass.

    Raises:
        ValueError: if a number in it is infinite or NaN.
    """
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]  # a dataclass
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            remedy = "pass a very large one, such as 1e30, for no limit" if field.name == "clip" else "pass such a one"
            raise ValueError(f"{field.name} is {value}, expected a finite number: {remedy}.")


def check_positive(config: object, names: Iterable[str]) -> None:
    """Refuse a configuration with a number that has to be above 0 and is not.

    Args:
        config: has the fields.
        names: of the fields.

    Raises:
        ValueError: if one is 0, negative or NaN.
    """
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} is {getattr(config, name)}, expected a number above 0: pass a larger {name}.")


def check_steps(steps: int, valid_every: int, search: Search) -> None:
    """Refuse a number of steps at which no checkpoint is written, or that is not enough for the trials.

    Args:
        steps: where the training ends.
        valid_every: steps between two validations.
        search: the trials.

    Raises:
        ValueError: if they do not fit together.
    """
    decided = search.decided
    if decided > steps:
        raise ValueError(
            f"steps is {steps}, expected at least {decided}, which is what {search.num_trials} trials take "
            "to tell apart: use more steps, fewer trials or fewer trial_steps."
        )
    for name, found in (("steps", steps), ("the length of the last trial", decided)):
        if found % valid_every:
            raise ValueError(
                f"{name} is {found}, expected a multiple of valid_every={valid_every}: "
                "checkpoints are written at validations. Change either."
            )


class RunConfig:
    """What the configurations of all experiments, frozen dataclasses with these fields, derive from them."""

    experiment: ClassVar[str]
    seed: int
    batch_size: int
    steps: int
    valid_every: int
    clip: float
    trials: int
    trial_steps: int
    trial_factor: int
    trial: int

    def __post_init__(self) -> None:
        check_finite(self)

    @property
    def search(self) -> Search:
        """The trials to choose from."""
        return Search(self.trials, self.trial_steps, self.trial_factor)

    @property
    def run_seed(self) -> int:
        """The seed of everything random in this trial but the data."""
        return fold_in(self.seed, "trial", self.trial)

    def of_trial(self, index: int, interval: int) -> Self:
        """The configuration of one of the trials: the same with other random numbers.

        Args:
            index: of the trial, from 0.
            interval: steps between two validations.

        Returns:
            A configuration without trials.
        """
        return dataclasses.replace(self, trial=index, valid_every=interval, trials=1)  # pyright: ignore[reportArgumentType]  # a dataclass

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types.

        Returns:
            The fields by name, and the experiment's.
        """
        return {"experiment": self.experiment, **dataclasses.asdict(self)}  # pyright: ignore[reportArgumentType]  # a dataclass

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Args:
            content: what `to_json` returned, perhaps by way of a file; a field that was introduced since has its
                default.

        Returns:
            The configuration.

        Raises:
            ValueError: if the content is that of another experiment, or does not fit the fields that are known here.
        """
        return config_from_json(cls, cls.experiment, content)


class TemperedConfig(RunConfig):
    """What the configurations derive from whose trials may differ in their temperature too."""

    temperature: float
    trial_temperatures: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "trial_temperatures", tuple(self.trial_temperatures))  # JSON has lists

    def of_trial(self, index: int, interval: int) -> Self:
        """The configuration of one of the trials: other random numbers, and the next of the temperatures.

        Args:
            index: of the trial, from 0.
            interval: steps between two validations.

        Returns:
            A configuration without trials.
        """
        temperatures = self.trial_temperatures or (self.temperature,)
        temperature = temperatures[index % len(temperatures)]
        changed = super().of_trial(index, interval)
        return dataclasses.replace(changed, temperature=temperature, trial_temperatures=())  # pyright: ignore[reportArgumentType]  # a dataclass

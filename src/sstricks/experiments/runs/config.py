import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


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
        ValueError: if the content is that of another experiment, or has a field that is not known here.
    """
    fields = dict(content)
    found = fields.pop("experiment", None)
    unknown = sorted(fields.keys() - {field.name for field in dataclasses.fields(kind)})  # pyright: ignore[reportArgumentType]  # a dataclass
    if found != experiment or unknown:
        raise ValueError(
            f"the configuration is of experiment {found!r} and has the unknown fields {unknown}; expected "
            f"{experiment!r} and none: use the version of sstricks that started the run."
        )
    return kind(**fields)

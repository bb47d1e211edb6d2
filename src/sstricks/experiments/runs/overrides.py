"""Values on the command line that replace a preset's, in fields that are none unless they are given."""

import dataclasses
from typing import Annotated, Any

import tyro

from sstricks.experiments.runs.config import Precision

_HINT = "(the preset's)"
Integer = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_HINT)]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=_HINT)]
Products = Annotated[Precision | None, tyro.conf.arg(metavar="{float32,bfloat16}", help_behavior_hint=_HINT)]


def given_values(overrides: Any) -> dict[str, Any]:
    """Those that the user gave.

    Args:
        overrides: a dataclass all of whose fields are none by default.

    Returns:
        The others by name.
    """
    return {name: value for name, value in dataclasses.asdict(overrides).items() if value is not None}

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DIVERGED = "diverged"
_DIFFERS = frozenset({_DIVERGED, "seconds", "version", "data"})  # when a run is repeated; `data` is a path


@dataclass(frozen=True)
class Record:
    """What is known of a run, whether from its folder or from a file of results.

    Attributes:
        facts: its configuration by field, as far as it was recorded, and how it went (`seconds`, `version`, …).
        metrics: what it measured at its end, by names such as `test/elbo`; none if it is not finished.
        config: the content of its `config.json`; none if it has no folder.
        folder: where it is; none if it comes from a file of results.
    """

    facts: Mapping[str, Any]
    metrics: Mapping[str, float | None] | None
    config: Mapping[str, Any] | None = None
    folder: Path | None = None

    @classmethod
    def of(
        cls,
        content: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        *,
        diverged: bool = False,
    ) -> "Record":
        """Tell facts from metrics.

        Args:
            content: of a `result.json`; of a `config.json` for a run that is not finished.
            config: the content of the run's `config.json`, if it has a folder.
            folder: where it is, if it has one.
            diverged: whether it is known that it never will be finished.

        Returns:
            The record.
        """
        metrics = {name: value for name, value in content.items() if "/" in name}
        facts = {name: value for name, value in content.items() if "/" not in name} | (
            {_DIVERGED: True} if diverged else {}
        )
        return cls(facts, metrics or None, config, folder)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, at whatever numbers."""
        return self.metrics is not None

    @property
    def diverged(self) -> bool:
        """Whether the training was given up because it reached numbers that are not finite."""
        return not self.finished and bool(self.facts.get(_DIVERGED))

    def score(self, monitor: str) -> float | None:
        """What the run is selected by.

        Args:
            monitor: the name of the metric.

        Returns:
            Its value, none if there is none or it is not finite.
        """
        value = None if self.metrics is None else self.metrics.get(monitor)
        return value if value is not None and math.isfinite(value) else None

    @property
    def identities(self) -> frozenset[str]:
        """Two records that share one of these are the same run: copied, repeated with the same seed, or read twice."""
        return frozenset(_text(content) for content in (self.config, {**self.facts, **(self.metrics or {})}) if content)

    def to_json(self) -> dict[str, Any]:
        """What `of` takes, with which a file of results is made.

        Returns:
            Metrics and facts by name.
        """
        return {**(self.metrics or {}), **{name: value for name, value in self.facts.items() if name != "data"}}


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in content.items() if name not in _DIFFERS}, sort_keys=True)

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sstricks
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.files import read_object, remove_partial_files, write_json
from sstricks.experiments.runs.folder import HeldFolder, differences, refuse_foreign_files, writing_to
from sstricks.experiments.sweep.ranges import Ranges, Values, describe_range, draw


@dataclass(frozen=True)
class Plan:
    """What makes a random search what it is; how many trials it has does not.

    Attributes:
        configuration: of the runs, in JSON's types, without what is searched; its seed is that of the search.
        ranges: of what is searched.
    """

    configuration: Mapping[str, Any]
    ranges: Ranges

    @property
    def seed(self) -> int:
        """From which the hyperparameters are drawn."""
        return self.configuration["seed"]

    def to_json(self) -> dict[str, Any]:
        """The plan in JSON's types."""
        ranges = {name: describe_range(range_) for name, range_ in self.ranges.items()}
        return json.loads(json.dumps({"configuration": dict(self.configuration), "ranges": ranges}))


class SweepFolder(HeldFolder):
    """A sweep on disk: `sweep.json` with its plan and the hyperparameters of all trials, and a folder for each trial.

    Which trials are finished is told by their folders, and by nothing else.

    Args:
        path: the directory; nothing is created before `open`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = path / "sweep.json"

    def trial(self, index: int) -> Path:
        """The folder of a trial.

        Args:
            index: from 0.

        Returns:
            A path in this folder.
        """
        return self.path / f"trial-{index:03d}"

    def open(self, plan: Plan, num_trials: int) -> list[Values]:
        """Take possession of the folder until `close`, and draw the hyperparameters that are not drawn yet.

        Args:
            plan: the search.
            num_trials: how many trials there have to be; there may be more.

        Returns:
            The hyperparameters of all trials that the folder has, by their index.

        Raises:
            RunError: if the folder cannot be written, is in use, holds something else or another sweep, or its
                `sweep.json` is damaged.
        """
        with writing_to(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._hold()
        try:
            remove_partial_files(self.path)
            drawn = self._drawn(plan)
            missing = [draw(plan.ranges, plan.seed, index) for index in range(len(drawn), num_trials)]
            if missing:
                content = {"version": sstricks.__version__, **plan.to_json(), "trials": [*drawn, *missing]}
                with writing_to(self.path):
                    write_json(self.file, content)
        except BaseException:
            self.close()
            raise
        return [*drawn, *missing]

    def _drawn(self, plan: Plan) -> list[Values]:
        if not self.file.exists():
            refuse_foreign_files(self.path, {".lock"}, "sweep")
            return []
        remedy = "Restore the file, or choose another --out."
        content = read_object(self.file, remedy, {"configuration": dict, "ranges": dict, "trials": list})
        different = differences(_flat(content), _flat(plan.to_json()))
        if different:
            raise RunError(
                f"--out {self.path}: the sweep in the folder is another one: {'; '.join(different)}. "
                "Nothing in it was touched. Repeat the command that started it, or choose another --out."
            )
        expected = {"seed", *plan.ranges}
        for index, values in enumerate(content["trials"]):
            if not isinstance(values, dict) or values.keys() != expected:
                raise RunError(
                    f"{self.file}: found {values!r} for trial {index}, expected values of {expected}. {remedy}"
                )
        return content["trials"]


def _flat(content: Mapping[str, Any]) -> dict[str, object]:
    ranges = {f"the range of {name}": range_ for name, range_ in content["ranges"].items()}
    return {**content["configuration"], **ranges}

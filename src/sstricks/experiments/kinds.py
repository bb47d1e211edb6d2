from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.report import print_results as print_l2x
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.listops.report import print_results as print_listops
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.report import print_results as print_nri
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.experiment import Experiment


@dataclass(frozen=True)
class Kind:
    """What there is to know of an experiment whose run is found on disk.

    Attributes:
        restore: makes the experiment of what `config.json` says; raises ValueError if it cannot.
        report: prints results.
    """

    restore: Callable[[Mapping[str, Any]], Experiment]
    report: Callable[[Console, Sequence[Mapping[str, Any]]], None]


KINDS = {
    "l2x": Kind(lambda content: L2XRun(L2XConfig.from_json(content)), print_l2x),
    "listops": Kind(lambda content: ListOpsRun(ListOpsConfig.from_json(content)), print_listops),
    "nri": Kind(lambda content: GraphLayoutRun(NRIConfig.from_json(content)), print_nri),
}
"""By the name that `config.json` has for `experiment`."""


def kind_of(content: Mapping[str, Any]) -> Kind:
    """The experiment of a run.

    Args:
        content: of its `config.json`.

    Returns:
        What there is to know of it.

    Raises:
        ValueError: if no experiment has that name.
    """
    name = content.get("experiment")
    if name not in KINDS:
        raise ValueError(
            f"the configuration is of experiment {name!r}, expected one of {sorted(KINDS)}: "
            "use the version of sstricks that started the run."
        )
    return KINDS[str(name)]

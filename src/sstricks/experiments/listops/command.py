from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from sstricks.experiments.listops.config import Edges, ListOpsConfig, Model, Preset, Utility
from sstricks.experiments.listops.data import check_sizes
from sstricks.experiments.listops.overrides import ListOpsOverrides
from sstricks.experiments.listops.presets import preset_config
from sstricks.experiments.listops.report import print_results
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.runs.command import TrainCommand


@dataclass(frozen=True, kw_only=True)
class TrainListOps(TrainCommand):
    """Parse arithmetic expressions without ever seeing a parse tree: only their values are given (8.2)."""

    report = staticmethod(print_results)

    model: Model = "gnn"
    """A network that passes messages over a graph of the tokens, or an LSTM over the tokens."""
    edges: Annotated[Edges | None, tyro.conf.arg(help_behavior_hint="(arborescence, for gnn)")] = None
    """Distribution over graphs."""
    utility: Annotated[Utility | None, tyro.conf.arg(help_behavior_hint="(gumbel, where edges are learnt)")] = None
    """Law of the utilities of the edges."""
    preset: Preset = "quick"
    """paper: the paper's sizes. cpu: at most about an hour on 2 cores. quick: minutes."""
    preset_overrides: ListOpsOverrides = field(default_factory=ListOpsOverrides)

    def experiment(self) -> ListOpsRun:
        """What to train.

        Returns:
            The preset with the values that were given.

        Raises:
            ValueError: if the values do not fit together.
        """
        run = ListOpsRun(self._config())
        check_sizes(run.config.specification)
        run.module()  # which refuses independent edges with utilities that are never positive
        return run

    def _config(self) -> ListOpsConfig:
        edges = "arborescence" if self.edges is None and self.model == "gnn" else self.edges
        learnt = edges not in (None, "ground-truth")
        utility = "gumbel" if self.utility is None and learnt else self.utility
        config = preset_config(self.preset, self.model, edges, utility, self.seed)
        return replace(config, **self.preset_overrides.given())

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from sstricks.experiments.listops.config import Edges, ListOpsConfig, Model, Preset, Utility
from sstricks.experiments.listops.overrides import ListOpsOverrides
from sstricks.experiments.listops.presets import preset_config
from sstricks.experiments.listops.report import print_results
from sstricks.experiments.listops.run import ListOpsRun
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.progress import display_on
from sstricks.experiments.runs.run import train


@dataclass(frozen=True)
class TrainListOps:
    """Parse arithmetic expressions without ever seeing a parse tree: only their values are given (8.2)."""

    out: Path
    """Folder of the run: configuration, checkpoints, metrics, pictures, result."""
    model: Model = "gnn"
    """A network that passes messages over a graph of the tokens, or an LSTM over the tokens."""
    edges: Annotated[Edges | None, tyro.conf.arg(help_behavior_hint="(arborescence, for gnn)")] = None
    """Distribution over graphs."""
    utility: Annotated[Utility | None, tyro.conf.arg(help_behavior_hint="(gumbel, where edges are learnt)")] = None
    """Law of the utilities of the edges."""
    preset: Preset = "quick"
    """paper: the paper's sizes. cpu: at most about an hour on 2 cores. quick: minutes."""
    seed: int = 0
    """Of the initial weights, the order of the examples and the noise."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Continue the run that is in the folder; if there is none, start it."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")] = None
    """Trials to train at the same time, sharing the cores."""
    preset_overrides: ListOpsOverrides = field(default_factory=ListOpsOverrides)

    def run(self, console: Console) -> None:
        """Train, and print the result.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, or the folder cannot be used.
        """
        try:
            run = ListOpsRun(self._config())
            run.module()  # which refuses independent edges with utilities that are never positive
        except ValueError as error:
            raise RunError(str(error)) from None
        jobs = torch.get_num_threads() if self.jobs is None else max(1, self.jobs)
        result = train(run, self.out, resume=self.resume, jobs=jobs, display=display_on(console))
        print_results(console, [result])
        console.print(f"Result, pictures, curves and checkpoints are in {self.out}", soft_wrap=True, highlight=False)

    def _config(self) -> ListOpsConfig:
        edges = "arborescence" if self.edges is None and self.model == "gnn" else self.edges
        learnt = edges not in (None, "ground-truth")
        utility = "gumbel" if self.utility is None and learnt else self.utility
        config = preset_config(self.preset, self.model, edges, utility, self.seed)
        return replace(config, **self.preset_overrides.given())

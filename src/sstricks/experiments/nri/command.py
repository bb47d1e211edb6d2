from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from sstricks.experiments.nri.config import Edges, Estimator, Preset
from sstricks.experiments.nri.overrides import NRIOverrides
from sstricks.experiments.nri.presets import preset_config
from sstricks.experiments.nri.report import print_results
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.progress import display_on
from sstricks.experiments.runs.run import train


@dataclass(frozen=True)
class TrainNRI:
    """Discover the latent graphs behind moving points: neural relational inference on graph layout (8.1)."""

    out: Path
    """Folder of the run: configuration, checkpoints, metrics, pictures, result."""
    edges: Edges = "spanning-tree"
    """Distribution over graphs."""
    estimator: Estimator = "sst"
    """How the encoder gets its gradient: through relaxed samples (sst), or from a score function."""
    preset: Preset = "quick"
    """paper: the paper's sizes. cpu: about an hour on 2 cores. quick: minutes."""
    seed: int = 0
    """Of the initial weights, the order of the examples and the noise."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Continue the run that is in the folder; if there is none, start it."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")] = None
    """Trials to train at the same time, sharing the cores."""
    preset_overrides: NRIOverrides = field(default_factory=NRIOverrides)

    def run(self, console: Console) -> None:
        """Train, and print the result.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, or the folder cannot be used.
        """
        try:
            given = self.preset_overrides.given()
            config = preset_config(self.preset, self.edges, self.estimator, self.seed, given.get("num_frames", 10))
            config = replace(config, **given)
        except ValueError as error:
            raise RunError(str(error)) from None
        jobs = torch.get_num_threads() if self.jobs is None else max(1, self.jobs)
        result = train(GraphLayoutRun(config), self.out, resume=self.resume, jobs=jobs, display=display_on(console))
        print_results(console, [result])
        console.print(f"Result, pictures, curves and checkpoints are in {self.out}", soft_wrap=True, highlight=False)

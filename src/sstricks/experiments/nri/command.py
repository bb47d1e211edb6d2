from dataclasses import dataclass, field, replace

from sstricks.experiments.nri.config import Edges, Estimator, Preset
from sstricks.experiments.nri.overrides import NRIOverrides
from sstricks.experiments.nri.presets import preset_config
from sstricks.experiments.nri.report import print_results
from sstricks.experiments.nri.run import GraphLayoutRun
from sstricks.experiments.runs.command import TrainCommand


@dataclass(frozen=True, kw_only=True)
class TrainNRI(TrainCommand):
    """Discover the latent graphs behind moving points: neural relational inference on graph layout (8.1)."""

    report = staticmethod(print_results)

    edges: Edges = "spanning-tree"
    """Distribution over graphs."""
    estimator: Estimator = "sst"
    """How the encoder gets its gradient: through relaxed samples (sst), or from a score function."""
    preset: Preset = "quick"
    """paper: the paper's sizes. cpu: about an hour on 2 cores. quick: minutes."""
    preset_overrides: NRIOverrides = field(default_factory=NRIOverrides)

    def experiment(self) -> GraphLayoutRun:
        """What to train.

        Returns:
            The preset with the values that were given.

        Raises:
            ValueError: if the values do not fit together.
        """
        given = self.preset_overrides.given()
        config = preset_config(self.preset, self.edges, self.estimator, self.seed, given.get("num_frames", 10))
        return GraphLayoutRun(replace(config, **given))

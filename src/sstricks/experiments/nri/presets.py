from dataclasses import replace

from sstricks.experiments.nri.config import Edges, Estimator, NRIConfig, Preset


def preset_config(preset: Preset, edges: Edges, estimator: Estimator = "sst", seed: int = 0) -> NRIConfig:
    """The configuration of a preset, tuned for the edge distribution (App. D.4.3).

    Args:
        preset: `paper` has the paper's sizes; `cpu` takes about an hour on two cores; `quick` takes minutes.
        edges: the distribution over edges.
        estimator: of the encoder's gradient.
        seed: of the run.

    Returns:
        The configuration.

    Example:
        >>> preset_config("paper", "spanning-tree").steps
        50000
    """
    paper = NRIConfig(edges, estimator, "paper", seed)
    if preset == "paper":
        return paper
    if preset == "cpu":
        return replace(paper, preset="cpu", hidden=128, steps=10_000, lr=1e-3)
    return replace(
        *(paper,),
        preset="quick",
        hidden=64,
        steps=2_500,
        valid_every=100,
        train_examples=20_000,
        valid_examples=1_000,
        lr=1e-3,
    )

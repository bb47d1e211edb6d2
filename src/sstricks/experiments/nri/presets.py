from dataclasses import replace

from sstricks.experiments.nri.config import Edges, Estimator, NRIConfig, Preset

_TEMPERATURE: dict[Edges, float] = {"spanning-tree": 1.0, "top-k": 0.5, "independent": 0.5}


def preset_config(
    preset: Preset, edges: Edges, estimator: Estimator = "sst", seed: int = 0, num_frames: int = 10
) -> NRIConfig:
    """The configuration of a preset, tuned for the edge distribution (App. D.4.3).

    All presets choose among several initial weights, since up to half of them lead a tree to mark the pairs of nodes
    that are not joined; the validation ELBO tells after 50 to 200 steps. `cpu` and `quick` train on one-step
    predictions, which is faster and no worse; `paper` rolls out over up to ten frames, as the paper does.

    Args:
        preset: `paper` has the paper's sizes; `cpu` takes about an hour on two cores; `quick` takes minutes.
        edges: the distribution over edges.
        estimator: of the encoder's gradient.
        seed: of the run.
        num_frames: T.

    Returns:
        The configuration.

    Example:
        >>> preset_config("paper", "spanning-tree").steps
        50000
    """
    paper = NRIConfig(
        edges,
        estimator,
        "paper",
        seed,
        num_frames=num_frames,
        temperature=_TEMPERATURE[edges],
        horizon=min(10, num_frames - 1),
        no_edge_hold=200,
        no_edge_ramp=200,
        weight_decay=0.0 if estimator == "sst" else 1e-4,
        precision="bfloat16",
        trials=4,
        trial_steps=500,
    )
    if preset == "paper":
        return paper
    cpu = replace(
        paper,
        preset="cpu",
        horizon=1,
        hidden=128,
        steps=3_000,
        valid_every=100,
        valid_examples=2_000,
        lr=2e-3,
        trial_steps=200,
    )
    if preset == "cpu":
        return cpu
    return replace(
        cpu,
        preset="quick",
        hidden=64,
        lr_decay=0.3,
        steps=1_200,
        train_examples=20_000,
        valid_examples=1_000,
        trials=16,
        trial_steps=50,
        trial_factor=4,
    )

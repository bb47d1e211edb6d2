from dataclasses import replace

from sstricks.experiments.l2x.config import L2XConfig, Preset
from sstricks.experiments.runs.config import Precision

_EPOCHS: dict[Preset, int] = {"paper": 10, "cpu": 4, "quick": 1}
_VALIDATIONS_AN_EPOCH: dict[Preset, int] = {"paper": 1, "cpu": 1, "quick": 2}


def with_preset(base: L2XConfig, preset: Preset, steps_an_epoch: int) -> L2XConfig:
    """A configuration with the values of a preset, tuned on validation error.

    The paper chose the learning rate, its decline, weight decay and temperature by random search over 25 runs of ten
    epochs each (App. D.6); its values are not published.

    Args:
        base: has the data, the aspect, the relaxation, k, the encoder and the seed.
        preset: `paper` trains ten epochs and validates after each; `cpu` takes a few minutes on two cores; `quick` is
            to see that it works. The latter two convolve in bfloat16.
        steps_an_epoch: batches in which every training review comes once.

    Returns:
        The configuration.
    """
    interval = max(1, -(-steps_an_epoch // _VALIDATIONS_AN_EPOCH[preset]))
    steps = interval * _VALIDATIONS_AN_EPOCH[preset] * _EPOCHS[preset]
    precision: Precision = "float32" if preset == "paper" else "bfloat16"
    return replace(base, preset=preset, precision=precision, steps=steps, valid_every=interval, trial_steps=interval)

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.sweep.ranges import Choice, LogUniform, Ranges


def ranges_of(config: NRIConfig) -> Ranges:
    """What a random search varies on graph layout, and between which bounds (App. D.4.3, C.1).

    The paper names what it varied and does not print the bounds: these have the presets' values inside. For relaxations
    it varied the learning rate and the temperature, and the ε of finite differences, which an exact backward does not
    have. The score-function estimators have no relaxation; for them it varied weight decay and the constant of the
    moving average instead.

    Args:
        config: says which estimator it is.

    Returns:
        The ranges of fields of the configuration.

    Example:
        >>> from sstricks.experiments.nri.presets import preset_config
        >>> list(ranges_of(preset_config("paper", "top-k", "nvil")))
        ['lr', 'weight_decay', 'baseline_decay']
    """
    lr = LogUniform(3e-4, 5e-3)
    if config.estimator == "sst":
        return {"lr": lr, "temperature": LogUniform(0.3, 3.0)}
    return {"lr": lr, "weight_decay": LogUniform(1e-6, 1e-2), "baseline_decay": Choice((0.9, 0.97, 0.99, 0.997, 0.999))}

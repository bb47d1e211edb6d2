from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.sweep.ranges import LogUniform, Ranges


def ranges_of(config: ListOpsConfig) -> Ranges:
    """What a random search varies on ListOps, and between which bounds (App. D.5.3).

    The paper names the three and does not print the bounds: these have the presets' values inside. Without a
    distribution over edges there is no temperature.

    Args:
        config: says which model it is.

    Returns:
        The ranges of fields of the configuration.

    Example:
        >>> from sstricks.experiments.listops.presets import preset_config
        >>> list(ranges_of(preset_config("paper", "lstm", None, None)))
        ['lr', 'weight_decay']
    """
    ranges = {"lr": LogUniform(3e-4, 5e-3), "weight_decay": LogUniform(1e-4, 1e-1)}
    return ranges if config.utility is None else {**ranges, "temperature": LogUniform(0.1, 3.0)}

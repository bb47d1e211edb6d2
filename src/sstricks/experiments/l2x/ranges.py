from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.sweep.ranges import Choice, Ranges, Uniform


def ranges_of(config: L2XConfig) -> Ranges:
    """What a random search varies on aspect ratings, with the paper's values (App. D.6).

    The learning rate falls over 5 to 10 of the paper's ten epochs, which is half to all of the training here, however
    long that is. The ε of finite differences is only searched where there are any: an exact backward has none.

    Args:
        config: says whether the gradient is by finite differences.

    Returns:
        The ranges of fields of the configuration.
    """
    ranges: Ranges = {
        "lr": Choice((1e-4, 3e-4, 5e-4, 1e-3, 3e-3, 5e-3, 1e-2)),
        "lr_final": Choice((1e-4, 1e-3, 1e-2, 1e-1)),
        "lr_share": Choice((0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        "weight_decay": Choice((0.0, 1e-6, 1e-5, 1e-4)),
        "temperature": Uniform(0.1, 2.0),
    }
    if config.gradient == "exact":
        return ranges
    return {**ranges, "finite_difference_eps": Choice((1e-3, 1e-2, 1e-1, 1.0))}

"""Layers for `torch.nn` models: see `StochasticSoftmax`; every `sst.estimators.Sampler` is one as well."""

from collections.abc import Callable

from torch import nn

from sstricks.errors import check_integer, check_temperature, invalid
from sstricks.estimators.relaxation import Relaxation as StochasticSoftmax

__all__ = ["StochasticSoftmax", "TemperatureSchedule"]


class TemperatureSchedule:
    """Sets the temperature of all layers of a model as a function of the step, as torch's schedulers set rates.

    Args:
        model: What has the layers, at any depth.
        temperature: From the number of steps taken, 0 at first, to t ≥ 0.

    Raises:
        ValueError: The model has no layer with a temperature.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), sst.nn.StochasticSoftmax(sst.OneHot(4)))
        >>> schedule = sst.nn.TemperatureSchedule(model, lambda step: max(0.5, 2.0 * 0.5**step))
        >>> for _ in range(3):
        ...     schedule.step()
        ...     model[1].temperature.item()
        1.0
        0.5
        0.5
    """

    def __init__(self, model: nn.Module, temperature: Callable[[int], float]) -> None:
        self.layers = [layer for layer in model.modules() if isinstance(layer, StochasticSoftmax)]
        if not self.layers:
            raise invalid(
                "model",
                f"a {type(model).__name__} without a layer that has a temperature",
                "one with an sst.nn.StochasticSoftmax",
                "Pass the model that has it as an attribute.",
            )
        self.temperature = temperature
        self.steps = 0
        self._set()

    def step(self) -> None:
        """Count one step, and set the temperature that belongs to it."""
        self.steps += 1
        self._set()

    def state_dict(self) -> dict[str, int]:
        """How many steps were taken."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.steps = check_integer("steps", state["steps"], "Load what `state_dict` gave.", low=0)
        self._set()

    def _set(self) -> None:
        for layer in self.layers:
            layer.temperature.fill_(check_temperature(self.temperature(self.steps)))

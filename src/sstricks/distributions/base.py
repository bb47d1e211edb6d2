from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.types import _size as Shape

from sstricks.distributions.parts import portable
from sstricks.errors import check_floating, expanded_shape


class BaseDistribution(Distribution):
    """What all distributions of the library share: how they are checked and expanded, and that they have no order."""

    def __init__(
        self, batch_shape: torch.Size, event_shape: torch.Size = torch.Size(), *, validate_args: bool | None = None
    ) -> None:
        for name in self.arg_constraints:
            check_floating(name, getattr(self, name))
        if torch.compiler.is_compiling():
            validate_args = False  # a graph that is traced has no values to look at
        Distribution.__init__(self, batch_shape, event_shape, validate_args=validate_args)

    def __getstate__(self) -> dict[str, Any]:
        return vars(portable(self))

    def _expanded(self, cls: type[Distribution], batch_shape: Shape, instance: Self | None) -> Self:
        """The instance that `expand` fills: of the class of this one, with everything that this one has.

        Args:
            cls: The class that defines `expand`. A subclass of it with another `__init__` has to define its own.
            batch_shape: What to expand to.
            instance: What a subclass that defines its own hands over.

        Raises:
            ValueError: It is not larger than the batch shape of this one.
        """
        new: Self = self._get_checked_instance(cls, instance)  # pyright: ignore[reportAssignmentType]
        vars(new).update({**vars(self), **vars(new)})
        new._batch_shape = expanded_shape(batch_shape, self.batch_shape)
        return new

    def cdf(self, value: Tensor) -> Tensor:
        """Not defined: a sample is more than one number.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(self._without_order("cdf"))

    def icdf(self, value: Tensor) -> Tensor:
        """Not defined: a sample is more than one number.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(self._without_order("icdf"))

    def _without_order(self, name: str) -> str:
        return f"{name}: a sample of {type(self).__name__} is more than one number. Use {name} of its coordinates."

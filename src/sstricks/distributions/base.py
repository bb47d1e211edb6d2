from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.types import _size as Shape

from sstricks.distributions.parts import portable
from sstricks.errors import check_floating, expanded_shape
from sstricks.ops.operator import checking
from sstricks.randomness import waits_for

_P = ParamSpec("_P")
_T = TypeVar("_T")


def as_asked(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T]:
    """The method of a distribution, within which values are looked at as its `validate_args` says.

    Args:
        method: What calls the structure.
    """

    @wraps(method)
    def checking_as_asked(self: BaseDistribution, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._checking():
            return method(self, *args, **kwargs)

    return checking_as_asked


class BaseDistribution(Distribution):
    """What all distributions of the library share: how they are checked and expanded, and that they have no order."""

    def __init__(
        self, batch_shape: torch.Size, event_shape: torch.Size = torch.Size(), *, validate_args: bool | None = None
    ) -> None:
        for name in self.arg_constraints:
            check_floating(name, getattr(self, name))
        self._asked = validate_args
        if torch.compiler.is_compiling() or (validate_args is None and waits_for(self)):
            validate_args = False  # a graph that is traced has no values to look at, and a device would be waited for
        Distribution.__init__(self, batch_shape, event_shape, validate_args=validate_args)

    def _checking(self) -> AbstractContextManager[None]:
        """Within, values are looked at as `validate_args` says; unsaid, as torch's default and the device do."""
        asked = False if self._asked is None and not Distribution._validate_args else self._asked
        return nullcontext() if asked is None or torch.compiler.is_compiling() else checking(asked)

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

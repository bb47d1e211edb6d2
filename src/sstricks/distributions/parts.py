"""A distribution as the tree of its attributes: its base, its parts, its transforms, and the tensors in them."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import _InverseTransform


class _Inverse(_InverseTransform):
    """The inverse of a transform. A copy of torch's own forgets what it is the inverse of."""

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)


def tensors(item: Any) -> Iterator[Tensor]:
    """The tensors in an attribute.

    Args:
        item: A distribution, or anything else that is an attribute of one.
    """
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, list):
        for part in item:
            yield from tensors(part)
    elif isinstance(item, Distribution | Transform):
        for name, part in vars(item).items():
            if name != "_inv" or isinstance(item, _InverseTransform):
                yield from tensors(part)


def rebuilt(item: Any, change: Callable[[Any], Any]) -> Any:
    """A distribution of the same classes with changed parts. Transforms that are an `nn.Module` stay as they are.

    Args:
        item: A distribution, or anything else that is an attribute of one.
        change: What is made of each part, before what it consists of is looked at.
    """
    item = change(item)
    if isinstance(item, list):
        return [rebuilt(part, change) for part in item]
    if isinstance(item, _InverseTransform):
        return _Inverse(rebuilt(item.inv, change))
    if not isinstance(item, Distribution | Transform):
        return item
    attributes = vars(item)
    if any(isinstance(part, nn.Module) for part in (item, *attributes.get("transforms", ()))):
        return item
    new = type(item).__new__(type(item))
    for name, value in attributes.items():
        vars(new)[name] = None if name == "_inv" else rebuilt(value, change)  # a transform makes its inverse anew
    return new


def portable(distribution: Distribution) -> Distribution:
    """The same distribution, as one whose copies and pickles can be sampled, as those of torch's `Gumbel` cannot.

    Args:
        distribution: Any distribution. Its parameters are shared, not copied.

    Example:
        >>> from copy import deepcopy
        >>> from sstricks.distributions.parts import portable
        >>> deepcopy(portable(torch.distributions.Gumbel(torch.zeros(2), 1.0))).sample().shape
        torch.Size([2])
    """
    return rebuilt(distribution, lambda part: part)

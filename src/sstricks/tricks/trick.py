from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence, register_kl
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions import VertexDistribution
from sstricks.distributions.base import BaseDistribution, as_asked
from sstricks.errors import check_distribution, check_sizes, invalid, joint_shape
from sstricks.randomness import drawing_from
from sstricks.structures.structure import Structure
from sstricks.tricks.known_law import coordinates
from sstricks.utilities.precision import in_full_precision, parameter_dtype
from sstricks.utilities.utility import reparameterised


def fitted(utility: Distribution, structure: Structure) -> Distribution:
    """The utility with the structure's event shape and at least its batch shape."""
    if not isinstance(structure, Structure):
        raise invalid("structure", repr(structure), "a structure such as sst.KSubset(n, k)", "It comes first.")
    event, batch = structure.event_shape, check_distribution("utility", utility).batch_shape
    if not utility.event_shape and batch[len(batch) - len(event) :] == event and len(batch) >= len(event):
        utility = Independent(utility, len(event))
    if utility.event_shape != event:
        raise invalid(
            "utility",
            f"batch_shape {tuple(batch)} and event_shape {tuple(utility.event_shape)}",
            f"event_shape {tuple(event)}, or event_shape () and a batch_shape that ends in {tuple(event)}",
            f"Give one utility for each coordinate of {structure!r}; Independent(utility, k) makes the last k batch "
            "dimensions the event.",
        )
    return utility


class Trick(BaseDistribution):
    """What stochastic argmax and softmax tricks share: a structure and a random utility.

    A utility with parameters in half precision is drawn in float32: half precision has not the tails, and not the
    digits, for the argmax to follow its law. What is made of the utility has the dtype of the parameters.
    """

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None: what goes in is checked by structure and utility."""
        return {}

    def __init__(
        self,
        structure: Structure,
        utility: Distribution,
        shapes: Mapping[str, torch.Size] = {},
        *,
        validate_args: bool | None = None,
    ) -> None:
        utility = fitted(utility, structure)
        batch = joint_shape("structure", structure.batch_shape, utility.batch_shape, "utility")
        for argument, shape in shapes.items():
            batch = joint_shape(argument, shape, batch, "utility and structure")
        self.structure = structure
        wide = in_full_precision(utility)
        self._dtype = None if wide is utility else parameter_dtype(utility)
        # Every example of the batch gets noise of its own, also where one utility serves them all.
        self.utility = wide if wide.batch_shape == batch else wide.expand(batch)
        super().__init__(batch, structure.event_shape, validate_args=validate_args)

    def _present(self) -> Structure:
        """The structure without the coordinates that the utility masks."""
        mask = coordinates(self.utility)[1]
        return self.structure if mask is None else self.structure.masked(mask)

    @abstractmethod
    def _law(self) -> VertexDistribution:
        """The law of the samples, if its probabilities are known."""

    def _in_dtype(self, x: Tensor, value: Tensor | None = None) -> Tensor:
        """In the dtype of the utility's parameters, if it is narrower than that of its samples.

        Args:
            x: What was computed from the samples, or from parameters in full precision.
            value: What else it was computed from.
        """
        if self._dtype is None:
            return x
        return x.to(self._dtype if value is None else torch.promote_types(self._dtype, value.dtype))

    @as_asked
    def vertex(self, u: Tensor) -> Tensor:
        """The argmax of samples of the utility, in the dtype of its parameters.

        Args:
            u: Shape (*batch, *event_shape).
        """
        return self._in_dtype(self.structure.argmax(u))

    def sample_utility(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        """Samples of the utility, with a gradient where it has one, shape (*sample_shape, *batch_shape, *event_shape).

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.
        """
        sample = self.utility.rsample if self.utility.has_rsample else self.utility.sample
        with drawing_from(generator, self.utility):
            return sample(check_sizes("sample_shape", sample_shape))

    def _rsample_utility(self, sample_shape: Shape, generator: torch.Generator | None) -> Tensor:
        with drawing_from(generator, self.utility):
            return reparameterised(self.utility, check_sizes("sample_shape", sample_shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._words())})"

    def _words(self) -> list[str]:
        return [repr(self.structure), repr(self.utility)]


@register_kl(Trick, Trick)
@register_kl(Trick, VertexDistribution)
@register_kl(VertexDistribution, Trick)
def _(p: Trick | VertexDistribution, q: Trick | VertexDistribution) -> Tensor:
    """That of the vertices, where both their laws are known."""
    value = kl_divergence(*(d._law() if isinstance(d, Trick) else d for d in (p, q)))
    dtypes = (d._dtype or value.dtype if isinstance(d, Trick) else d.dtype for d in (p, q))
    return value.to(torch.promote_types(*dtypes))

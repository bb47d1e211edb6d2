import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from sstricks.regularizers import Euclidean
from sstricks.solvers.registry import NoSolverError
from sstricks.structures.structure import Structure


class _InStructure(Constraint):
    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self._event_dim = len(structure.event_shape)
        super().__init__()

    @property
    def event_dim(self) -> int:
        """How many dimensions a point has."""
        return self._event_dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.structure!r})"


class Vertices(_InStructure):
    """Membership in 𝒳.

    Args:
        structure: 𝒳.
    """

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        """Whether each is a vertex, shape (*batch)."""
        return self.structure.contains(value)


class Hull(_InStructure):
    """Membership in conv 𝒳, up to the square root of the precision of the dtype.

    A point is inside if its Euclidean projection on conv 𝒳 is the point itself. Where no solver is registered for
    that, as for `LinearOracle`, it is the unit cube that is checked, of which conv 𝒳 is a part if 𝒳 is of zeros and
    ones; if not, nothing but whether the point is finite.

    Args:
        structure: 𝒳.
    """

    def check(self, value: Tensor) -> Tensor:
        """Whether each is a point of conv 𝒳, shape (*batch)."""
        if not value.is_floating_point():
            value = value.to(torch.get_default_dtype())
        depth = len(self.structure.event_shape)
        finite = value.isfinite().flatten(-depth).all(-1)
        point = torch.where(value.isfinite(), value, 0.0)
        try:
            nearest = self.structure.softmax(point, 1.0, Euclidean())
        except NoSolverError:
            nearest = point.clamp(0, 1) if self.structure.is_binary else point
        distance = (nearest - point).abs().flatten(-depth).amax(-1)
        return finite & (distance <= torch.finfo(value.dtype).eps ** 0.5)


def all_vertices(
    structure: Structure, present: Structure, batch_shape: torch.Size, device: torch.device | None, expand: bool
) -> Tensor:
    """The elements of 𝒳, shape (|𝒳|, *batch_shape, *event_shape), or with 1s for the batch if not `expand`.

    Args:
        structure: 𝒳.
        present: It without the coordinates that a law masks, which counts if it is one for all examples.
        batch_shape: That of the law.
        device: Where to put them.
        expand: Whether to repeat them for every example.
    """
    if present is not structure and present.mask is not None:
        masks = present.mask.reshape(-1, *structure.event_shape)
        if len(masks) and (masks == masks[0]).all():
            structure = structure.masked(masks[0])
    support = structure.enumerate_support().to(device)
    support = support.reshape(-1, *[1] * len(batch_shape), *structure.event_shape)
    return support.expand(-1, *batch_shape, *structure.event_shape) if expand else support

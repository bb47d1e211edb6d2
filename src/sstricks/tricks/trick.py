import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.errors import check_distribution, check_sizes, invalid, joint_shape
from sstricks.randomness import drawing_from
from sstricks.structures.structure import Structure


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


class Trick(Distribution):
    """What stochastic argmax and softmax tricks share: a structure and a random utility."""

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None: what goes in is checked by structure and utility."""
        return {}

    def __init__(self, structure: Structure, utility: Distribution, temperature: torch.Size = torch.Size()) -> None:
        utility = fitted(utility, structure)
        batch = joint_shape("structure", structure.batch_shape, utility.batch_shape, "utility")
        batch = joint_shape("temperature", temperature, batch, "utility and structure")
        self.structure = structure
        # Every example of the batch gets noise of its own, also where one utility serves them all.
        self.utility = utility if utility.batch_shape == batch else utility.expand(batch)
        super().__init__(batch, structure.event_shape, validate_args=False)

    def _detached_utility(self, shape: Shape, generator: torch.Generator | None) -> Tensor:
        with torch.no_grad(), drawing_from(generator, self.utility):
            sample = self.utility.rsample if self.utility.has_rsample else self.utility.sample
            return sample(check_sizes("sample_shape", shape))

    def _utility_sample(self, shape: Shape, generator: torch.Generator | None) -> Tensor:
        if not self.utility.has_rsample:
            raise NotImplementedError(
                f"rsample: found {self.utility!r}, which is not reparameterised: its samples have no gradient. Use "
                "sample(), or a score-function estimator (sst.estimators), or another utility."
            )
        with drawing_from(generator, self.utility):
            return self.utility.rsample(check_sizes("sample_shape", shape))

    def _expanded_utility(self, batch_shape: Shape) -> Distribution:
        batch = check_sizes("batch_shape", batch_shape)
        if joint_shape("batch_shape", batch, self.batch_shape, "trick") != batch:
            raise invalid(
                "batch_shape",
                tuple(batch),
                f"one that {tuple(self.batch_shape)}, that of the trick, can be expanded to",
                "Expanding makes a batch larger: new dimensions come first, and those of size 1 may grow.",
            )
        return self.utility.expand(batch)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.structure!r}, {self.utility!r})"

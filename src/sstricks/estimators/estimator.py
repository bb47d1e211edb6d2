from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sstricks.errors import check_floating, check_sizes, invalid
from sstricks.ops.operator import is_readable
from sstricks.structures.structure import Structure
from sstricks.tricks import StochasticArgmaxTrick
from sstricks.utilities import Masked

Loss = Callable[[Tensor], Tensor]
"""L: from samples (*sample, *batch, *event) to their losses, (*sample, *batch)."""
Law = Callable[[Tensor], Distribution]
"""The random utility as a function of θ, such as `sst.Gumbel`."""


def check_law(utility: Law) -> Law:
    """The same random utility, if it can be called with θ."""
    if callable(utility):
        return utility
    raise invalid(
        "utility",
        f"a {type(utility).__name__}",
        "a function from θ to a distribution, such as sst.Gumbel",
        "Pass the class itself, or functools.partial(torch.distributions.Normal, scale=1.0).",
    )


def evaluated(loss: Loss, x: Tensor, structure: Structure) -> Tensor:
    """L(x), if it is one number for each sample of each example."""
    value, shape = check_floating("loss", loss(x)), x.shape[: x.dim() - len(structure.event_shape)]
    if value.shape == shape:
        return value
    found = f"shape {tuple(value.shape)} for samples of shape {tuple(x.shape)}"
    raise invalid("loss", found, f"{tuple(shape)}, one loss for each sample", "Sum over the event only.")


def perturbed(structure: Structure, utility: Law, theta: Tensor) -> StochasticArgmaxTrick:
    """The trick of a random utility with a density, of which absent coordinates, as those at −∞, are no part."""
    if is_readable(theta) and (theta == torch.inf).any():
        raise invalid("theta", "+inf", "numbers below it", "A utility there has no density. Take a large number.")
    depth = len(structure.event_shape)
    if theta.shape[theta.dim() - depth :] != structure.event_shape:  # as for `Sorting`, whose θ is of items
        return StochasticArgmaxTrick(structure, utility(theta))
    present = theta > -torch.inf
    if structure.mask is not None:
        present = present & structure.placed("mask", theta.device)
    law = utility(torch.where(present, theta, 0.0))
    return StochasticArgmaxTrick(structure, law if law.event_shape else Masked(law, present))


class Estimator(nn.Module, ABC):
    r"""A way to train the parameters θ of a law on a structure: an estimate of :math:`\nabla_\theta E[L(X)]`.

    Args:
        structure: 𝒳.

    Raises:
        ValueError: It is none.
    """

    law: Literal["argmax", "family", "sparse"] = "argmax"
    """Of which law of X the gradient is: that of the argmax of a random utility, the exponential family on 𝒳, or a
    mixture of few vertices."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        if not isinstance(structure, Structure):
            raise invalid("structure", repr(structure), "a structure such as sst.KSubset(n, k)", "It comes first.")
        self.structure = structure

    @abstractmethod
    def surrogate(self, theta: Tensor, loss: Loss, *, generator: torch.Generator | None = None) -> Tensor:
        """A scalar whose gradient is the estimate, in θ and in what else the loss depends on: for a batch, the mean.

        Args:
            theta: θ, shape (*batch, *event_shape).
            loss: L, from samples (*sample, *batch, *event) to (*sample, *batch).
            generator: Where the randomness comes from, if not from torch's default generator.
        """

    def extra_repr(self) -> str:
        """The structure, and what else is in use."""
        return repr(self.structure)


class Sampler(Estimator):
    """An estimator by samples that carry a gradient: a layer from θ to samples, which any loss can be taken of.

    In evaluation mode (`eval()`) the layer returns the argmax of θ, without noise and without gradient.

    Args:
        structure: 𝒳.
    """

    def forward(
        self, theta: Tensor, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Samples with the estimator's gradient, shape (*sample_shape, *batch, *event_shape).

        Args:
            theta: θ, shape (*batch, *event_shape).
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            ValueError: θ does not fit the structure.
        """
        shape = check_sizes("sample_shape", sample_shape)
        batch = self.structure.check_shape("theta", check_floating("theta", theta))
        theta = theta.expand(*batch, *self.structure.event_shape)
        if not self.training:
            return self.structure.argmax(theta).expand(*shape, *theta.shape)
        if self.structure.mask is not None:  # an absent coordinate has no gradient
            theta = torch.where(self.structure.placed("mask", theta.device), theta, theta.detach())
        return self.sample(theta, shape, generator).to(theta.dtype)  # half precision is drawn in float32

    def surrogate(self, theta: Tensor, loss: Loss, *, generator: torch.Generator | None = None) -> Tensor:
        """The loss of one sample of each example."""
        return evaluated(loss, self(theta, generator=generator), self.structure).mean()

    @abstractmethod
    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """What `forward` returns in training."""


class UtilitySampler(Sampler):
    """A sampler that draws a utility and then decides.

    Args:
        structure: 𝒳.
        utility: The random utility as a function of θ, such as `sst.Gumbel`; none for θ itself, without noise.
    """

    def __init__(self, structure: Structure, utility: Law | None) -> None:
        super().__init__(structure)
        self.utility = None if utility is None else check_law(utility)

    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """What a drawn utility leads to."""
        if self.utility is None:
            return self.through(theta.expand(*shape, *theta.shape))
        trick = StochasticArgmaxTrick(self.structure, self.utility(theta))
        return self.through(trick.sample_utility(shape, generator))

    @abstractmethod
    def through(self, u: Tensor) -> Tensor:
        """The sample that a utility leads to, with the estimator's gradient in u, shape of u."""

from typing import Self

import torch
from torch import Tensor, distributions
from torch.types import _size as Shape

from sstricks.distributions.base import BaseDistribution
from sstricks.ops.noise import standard_exponential
from sstricks.utilities.utility import location_and_scale


class Gumbel(BaseDistribution, distributions.Gumbel):
    r"""The Gumbel distribution: the utility of the Gumbel-max trick (App. B.2).

    .. math:: U = \mu - \beta \log(-\log V), \quad V \sim \mathrm{uniform}(0, 1)

    It is torch's, drawn so that its upper tail is right in every dtype: V has 53 bits, and only U is rounded to the
    dtype of the parameters. It can also be copied, pickled and exported.

    Args:
        loc: μ, any shape.
        scale: β > 0, broadcasts with `loc`.

    Raises:
        ValueError: A parameter is NaN or an integer, a scale is not positive, or the shapes do not broadcast.

    Example:
        >>> sst.Gumbel(torch.zeros(3)).mean
        tensor([0.5772, 0.5772, 0.5772])
    """

    has_rsample = True  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def __init__(self, loc: Tensor | float, scale: Tensor | float = 1.0, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = location_and_scale(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def base_dist(self) -> distributions.Distribution:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Uniform numbers, from which torch's `transforms` make this law; samples are drawn without them."""
        return distributions.Gumbel(self.loc, self.scale, validate_args=False).base_dist

    @property
    def transforms(self) -> list[distributions.Transform]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What makes this law of `base_dist`."""
        return distributions.Gumbel(self.loc, self.scale, validate_args=False).transforms

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same law with a larger batch shape."""
        new = self._expanded(Gumbel, batch_shape, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return new

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:
        """Samples, differentiable in μ and β."""
        noise = standard_exponential(self.loc, self._extended_shape(sample_shape)).log_()
        return torch.addcmul(self.loc.to(noise.dtype), self.scale.to(noise.dtype), noise, value=-1).to(self.loc.dtype)

    sample = distributions.Distribution.sample

    def cdf(self, value: Tensor) -> Tensor:
        """exp(−exp(−z)), with z = (value − μ)/β."""
        z = (value - self.loc) / self.scale
        # Beyond 10 the result is 0 in every dtype; so is its gradient, which would be 0·∞.
        return (-(-z).clamp(max=10).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """μ − β log(−log value)."""
        return self.loc - self.scale * (-value.log()).log()

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """How good one estimator is at one temperature. Norms are Euclidean, over all parameters.

    Attributes:
        estimator: Its name.
        temperature: t, or None if it has none.
        evaluations: How many losses one estimate costs.
        bias: How far the mean of the estimates is from the truth.
        bias_error: The standard error of the bias: below about twice this, it may be zero.
        variance: The sum of the variances of all parameters' estimates.
        cosine: The mean cosine between an estimate and the truth.
        rmse: The root mean square distance between an estimate and the truth.
    """

    estimator: str
    temperature: float | None
    evaluations: int
    bias: float
    bias_error: float
    variance: float
    cosine: float
    rmse: float

    def rmse_of_mean(self, estimates: int) -> float:
        """The RMSE of the mean of so many estimates: averaging takes away variance, never bias.

        Of the square of the bias, what its standard error explains is taken off, since that is not bias.
        """
        return math.sqrt(max(0.0, self.bias**2 - self.bias_error**2) + self.variance / estimates)

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of the table."""
        t = "" if self.temperature is None else f"{self.temperature:g}"
        bias = f"{self.bias:.3g} ± {self.bias_error:.1g}"
        numbers = (f"{math.sqrt(self.variance):.3g}", f"{self.cosine:.3f}", f"{self.rmse:.3g}")
        return (self.estimator, t, str(self.evaluations), bias, *numbers)

import math
from dataclasses import dataclass, field


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
        milliseconds: What one estimate takes here, forward and backward, in a batch of 250.
        law: Of which law of X the gradient is: "argmax", the trick's own, or "family", held against that of the
            exponential family, or "sparse", of a mixture of few vertices, held against the trick's all the same.
    """

    estimator: str
    temperature: float | None
    evaluations: int
    bias: float
    bias_error: float
    variance: float
    cosine: float
    rmse: float
    milliseconds: float = field(compare=False)
    law: str = "argmax"

    def rmse_of_mean(self, estimates: int) -> float:
        """The RMSE of the mean of so many estimates: averaging takes away variance, never bias.

        Of the square of the bias, what its standard error explains is taken off, since that is not bias.
        """
        return math.sqrt(max(0.0, self.bias**2 - self.bias_error**2) + self.variance / estimates)

    def measures(self) -> tuple[float, float, float, float]:
        """Bias, standard deviation, cosine and RMSE of one estimate."""
        return self.bias, math.sqrt(self.variance), self.cosine, self.rmse

    def cells(self) -> dict[str, str]:
        """As text, by the table's heading."""
        return {
            "estimator": self.estimator if self.law == "argmax" else f"{self.estimator} ({self.law})",
            "t": "" if self.temperature is None else f"{self.temperature:g}",
            "losses": str(self.evaluations),
            "ms": f"{self.milliseconds:.2g}" if self.milliseconds < 10 else f"{self.milliseconds:.0f}",
            "bias": f"{self.bias:.3g} ± {self.bias_error:.1g}",
            "std": f"{math.sqrt(self.variance):.3g}",
            "cosine": f"{self.cosine:.3f}",
            "RMSE": f"{self.rmse:.3g}",
        }

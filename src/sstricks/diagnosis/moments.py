import torch
from torch import Tensor


class Moments:
    """What is left of many estimates of a vector: their mean and spread about the truth.

    Args:
        truth: (parameters,).
    """

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth
        self.count = 0
        self._error = torch.zeros_like(truth)
        self._square = torch.zeros_like(truth)
        self._cosine = 0.0

    def add(self, estimates: Tensor) -> None:
        """Take in estimates, (count, parameters)."""
        self.count += len(estimates)
        error = estimates - self.truth
        self._error += error.sum(0)
        self._square += error.square().sum(0)
        self._cosine += float(torch.cosine_similarity(estimates, self.truth, dim=-1).sum())

    @property
    def bias(self) -> float:
        """The distance between the mean of the estimates and the truth."""
        return float((self._error / self.count).norm())

    @property
    def variance(self) -> float:
        """The sum over the parameters of the variance of the estimates."""
        return float((self._square - self._error.square() / self.count).clamp(min=0).sum()) / (self.count - 1)

    @property
    def cosine(self) -> float:
        """The mean cosine between an estimate and the truth, 0 for an estimate of zero."""
        return self._cosine / self.count

    @property
    def rmse(self) -> float:
        """The root mean square distance between an estimate and the truth."""
        return float((self._square.sum() / self.count).sqrt())

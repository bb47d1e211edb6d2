import torch
from torch import Tensor

from sstricks.estimators.estimator import Sampler
from sstricks.regularizers import ExponentialFamilyEntropy
from sstricks.solvers.registry import solver_for
from sstricks.structures.structure import Structure


class MarginalStraightThrough(Sampler):
    r"""Exact samples of the exponential family with the gradient of its marginals (Ahmed et al. 2023, "SIMPLE").

    .. math:: y = x + \mu - \operatorname{stopgrad}(\mu), \qquad x \sim p(x) \propto \exp(\theta^\top x), \quad
        \mu = \nabla A(\theta)

    It was published for subsets of size k, and is here for every structure with marginals and exact samples. It is
    exact for linear losses. The law is the exponential family, not that of a perturbed argmax.

    Args:
        structure: 𝒳.

    Raises:
        NoSolverError: Its marginals are intractable.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(4, requires_grad=True)
        >>> x = sst.estimators.MarginalStraightThrough(sst.KSubset(4, 2))(theta)
        >>> (x @ torch.tensor([1.0, 0.0, 0.0, 0.0])).backward()
        >>> theta.grad
        tensor([ 0.2500, -0.0833, -0.0833, -0.0833])
    """

    law = "family"

    def __init__(self, structure: Structure) -> None:
        super().__init__(structure)
        solver_for(structure, ExponentialFamilyEntropy(), None)

    def sample(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Exact samples, with the gradient of the marginals."""
        x = self.structure.sample(theta, shape, generator=generator)
        marginals = self.structure.softmax(theta, 1.0, ExponentialFamilyEntropy())
        return x + (marginals - marginals.detach())

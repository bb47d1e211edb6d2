import torch
from torch import Tensor

from sstricks.errors import check_temperature
from sstricks.estimators.estimator import Law, UtilitySampler
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers import Solver
from sstricks.solvers.registry import solver_for
from sstricks.structures.structure import Structure
from sstricks.utilities import Gumbel


class Relaxation(UtilitySampler):
    r"""The stochastic softmax trick as a layer: relaxed samples in training, or straight-through ones (Def. 2, eq. 7).

    .. math:: X_t = \operatorname{argmax}_{x \in \operatorname{conv} \mathcal{X}} U^\top x - t f(x)

    The temperature is a buffer: it moves and is saved with the module, and may be assigned,
    ``layer.temperature.fill_(0.5)``, or follow a `sst.nn.TemperatureSchedule`.

    Args:
        structure: 𝒳.
        regularizer: f.
        temperature: t > 0.
        hard: Whether samples have the value of the argmax of the same U, with the gradient of X_t (`StraightThrough`).
        utility: The random utility as a function of θ; none for θ itself, whose softmax is then taken without noise.
        solver: What to use instead of the solver registered for the pair (𝒳, f).

    Raises:
        NoSolverError: No solver is registered for the pair, and none was given.
        ValueError: t is negative or no number.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> subsets = sst.nn.StochasticSoftmax(sst.KSubset(5, 2), temperature=0.5)
        >>> theta = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0], requires_grad=True)
        >>> subsets(theta).sum().round(decimals=4)
        tensor(2., grad_fn=<RoundBackward1>)
        >>> subsets.eval()(theta)
        tensor([0., 1., 1., 0., 0.])
    """

    temperature: Tensor

    def __init__(
        self,
        structure: Structure,
        regularizer: Regularizer = ExponentialFamilyEntropy(),  # noqa: B008  # it has no state
        temperature: float = 1.0,
        *,
        hard: bool = False,
        utility: Law | None = Gumbel,
        solver: Solver | None = None,
    ) -> None:
        super().__init__(structure, utility)
        solver_for(structure, regularizer, solver)
        self.regularizer, self.hard, self.solver = regularizer, hard, solver
        self.register_buffer("temperature", torch.tensor(check_temperature(temperature)))

    def through(self, u: Tensor) -> Tensor:
        """The soft argmax of u, or the argmax with its gradient."""
        x = self.structure.softmax(u, self.temperature.to(u.dtype), self.regularizer, solver=self.solver)
        return self.structure.argmax(u) + (x - x.detach()) if self.hard else x

    def extra_repr(self) -> str:
        """Structure, regularizer, temperature."""
        hard = ", hard=True" if self.hard else ""
        return f"{super().extra_repr()}, {self.regularizer!r}, temperature={self.temperature.item():g}{hard}"

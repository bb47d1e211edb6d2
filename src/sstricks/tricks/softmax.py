import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.errors import check_temperature
from sstricks.regularizers import Regularizer
from sstricks.solvers.registry import Solver, solver_for
from sstricks.structures.structure import Structure
from sstricks.tricks.draw import Draw
from sstricks.tricks.trick import Trick


class StochasticSoftmaxTrick(Trick):
    r"""The relaxation of a stochastic argmax trick (Def. 2, eq. 6), as a torch distribution.

    .. math:: X_t = \operatorname{argmax}_{x \in \operatorname{conv} \mathcal{X}} U^\top x - t f(x)

    Reparameterised: `rsample` is differentiable in the parameters of U and in t. As t → 0, X_t goes to the argmax of
    the same U (Prop. 1); t = 0 is legal and is that argmax.

    Args:
        structure: 𝒳.
        utility: U, a distribution with the structure's event shape, or one with event_shape () whose batch shape ends
            in it, which is read as independent coordinates.
        temperature: t ≥ 0, a number, or a tensor that broadcasts with the batch shape.
        regularizer: f.
        solver: What to use instead of the solver registered for the pair (𝒳, f).

    Raises:
        NoSolverError: No solver is registered for the pair, and none was given.
        ValueError: The utility does not fit the structure.

    Example:
        >>> from torch.distributions import Gumbel
        >>> theta = torch.zeros(45, requires_grad=True)
        >>> trick = sst.StochasticSoftmaxTrick(
        ...     sst.SpanningTree.complete(10), Gumbel(theta, 1.0), 0.5, sst.ExponentialFamilyEntropy()
        ... )
        >>> trick.rsample((2,)).sum(-1).round(decimals=4)
        tensor([9., 9.], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        structure: Structure,
        utility: Distribution,
        temperature: Tensor | float,
        regularizer: Regularizer,
        *,
        solver: Solver | None = None,
    ) -> None:
        super().__init__(structure, utility, temperature.shape if isinstance(temperature, Tensor) else torch.Size())
        solver_for(structure, regularizer, solver)
        if not isinstance(temperature, Tensor):
            temperature = check_temperature(temperature)
        self.temperature = temperature
        self.regularizer = regularizer
        self.solver = solver  # as it was given: registered functions have no names to pickle them by

    @property
    def has_rsample(self) -> bool:
        """Whether the utility is reparameterised."""
        return self.utility.has_rsample

    @property
    def support(self) -> Constraint:
        """The unit cube, of which conv 𝒳 is a part."""
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Points of conv 𝒳, shape (*sample_shape, *batch_shape, *event_shape), differentiable (eq. 7).

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            NotImplementedError: The utility is not reparameterised.
        """
        return self._relax(self._utility_sample(sample_shape, generator))

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """As `rsample`, detached. For vertices, sample a `StochasticArgmaxTrick`, or `draw`."""
        with torch.no_grad():
            return self._relax(self._detached_utility(sample_shape, generator))

    def draw(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Draw:
        """One utility, and both its soft and its hard argmax.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            NotImplementedError: The utility is not reparameterised.
        """
        u = self._utility_sample(sample_shape, generator)
        return Draw(u, self._relax(u), self.structure.argmax(u))

    def log_prob(self, value: Tensor) -> Tensor:
        """Not known: raises and says what to use.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "The density of a relaxed sample is not known. Use StochasticArgmaxTrick(structure, utility).log_prob on a "
            "vertex where that is exact, utility.log_prob on the utility of a draw, or kl_divergence between utilities."
        )

    def _relax(self, u: Tensor) -> Tensor:
        return self.structure.softmax(u, self.temperature, self.regularizer, solver=self.solver)

    def expand(self, batch_shape: Shape, _instance: object = None) -> "StochasticSoftmaxTrick":
        """The same trick with a larger batch shape, and independent noise in it."""
        utility = self._expanded_utility(batch_shape)
        return StochasticSoftmaxTrick(self.structure, utility, self.temperature, self.regularizer, solver=self.solver)

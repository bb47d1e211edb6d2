from typing import NoReturn, Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.types import _size as Shape

from sstricks.distributions import Hull
from sstricks.distributions.base import as_asked
from sstricks.errors import check_temperature, invalid, joint_shape
from sstricks.ops.operator import is_eager
from sstricks.regularizers import Regularizer, SeparableRegularizer
from sstricks.solvers.registry import Solver, solver_for
from sstricks.structures.structure import Structure
from sstricks.tricks.draw import Draw
from sstricks.tricks.relaxed_density import relaxed_log_prob
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
        validate_args: Whether an invalid utility (NaN, no vertex) is an error, and `log_prob` of a point that is not in
            conv 𝒳. Otherwise that row comes out as NaN, and the others as they are. By default torch's on the CPU, and
            False on a device, for which one would have to wait.

    Raises:
        NoSolverError: No solver is registered for the pair, and none was given.
        ValueError: The utility does not fit the structure.

    Example:
        >>> theta = torch.zeros(45, requires_grad=True)
        >>> trick = sst.StochasticSoftmaxTrick(
        ...     sst.SpanningTree.complete(10), sst.Gumbel(theta), 0.5, sst.ExponentialFamilyEntropy()
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
        validate_args: bool | None = None,
    ) -> None:
        shapes = {"temperature": temperature.shape} if isinstance(temperature, Tensor) else {}
        if isinstance(regularizer, SeparableRegularizer) and (own := regularizer.batch_shape):
            shapes["regularizer"] = own
        super().__init__(structure, utility, shapes, validate_args=validate_args)
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
        """Conv 𝒳, up to rounding; see `sstricks.distributions.Hull` for how it is checked."""
        return Hull(self._present())

    def rsample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """Points of conv 𝒳, shape (*sample_shape, *batch_shape, *event_shape), differentiable (eq. 7).

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            NotImplementedError: The utility is not reparameterised.
        """
        return self._relax(self._rsample_utility(sample_shape, generator))

    def sample(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Tensor:
        """As `rsample`, detached. For vertices, sample a `StochasticArgmaxTrick`, or `draw`."""
        with torch.no_grad():
            return self._relax(self.sample_utility(sample_shape, generator))

    def draw(self, sample_shape: Shape = torch.Size(), *, generator: torch.Generator | None = None) -> Draw:
        """One utility, and both its soft and its hard argmax.

        Args:
            sample_shape: How many.
            generator: Where the randomness comes from, if not from torch's default generator.

        Raises:
            NotImplementedError: The utility is not reparameterised.
        """
        u = self._rsample_utility(sample_shape, generator)
        return Draw(u, self._relax(u), self.vertex(u))

    def log_prob(self, value: Tensor) -> Tensor:
        r"""The log-density of X_t, shape (*batch), where it is known: the Concrete distributions.

        For OneHot with Gumbel(θ, β) utilities of one scale β, under CategoricalEntropy or ExponentialFamilyEntropy,
        with λ = t/β, with respect to Lebesgue measure on any n − 1 of the coordinates (Maddison, Mnih and Teh, 2017):

        .. math:: p(x) = (n-1)! \, \lambda^{n-1}
            \prod_i \frac{e^{\theta_i/\beta} x_i^{-\lambda-1}}{\sum_j e^{\theta_j/\beta} x_j^{-\lambda}}

        For Subset with Logistic(μ, s) utilities, under BinaryEntropy or ExponentialFamilyEntropy, with λ = t/s, with
        respect to Lebesgue measure on all coordinates:

        .. math:: p(x) = \prod_i \frac{\lambda_i}{x_i (1 - x_i)} \, \sigma(z_i) \, \sigma(-z_i),
            \qquad z_i = \lambda_i \log \frac{x_i}{1 - x_i} - \frac{\mu_i}{s_i}

        Absent coordinates are 0, and count neither in n nor in the measure. On the boundary of conv 𝒳, which samples
        reach by rounding alone, the density is said to be 0.

        Args:
            value: Shape (*batch, *event_shape).

        Raises:
            NotImplementedError: It is not known for this structure, utility and regularizer, or a solver was given.
            ValueError: `value` is not in conv 𝒳, or the temperature is 0.
        """
        batch = self.structure.check_shape("value", value)
        joint_shape("value", value.shape, self.batch_shape, "trick", batch)
        if self.solver is not None:
            raise NotImplementedError(
                f"The density of a relaxed sample is known for registered solvers only; found {self.solver!r}. Leave "
                "solver= out, or use utility.log_prob on the utility of a draw."
            )
        found = relaxed_log_prob(self.structure, self.utility, self.temperature, self.regularizer, value)
        if self._validate_args and is_eager(value) and not self.support.check(value).all():
            raise invalid(
                "value",
                "a point outside of conv X",
                f"mixtures of elements of {self.structure!r}",
                "With validate_args=False this is not checked.",
            )
        return self._in_dtype(found, value)

    @property
    def mean(self) -> NoReturn:
        """Not known.

        Raises:
            NotImplementedError: Always.
        """
        self._unknown("mean", "average samples, trick.rsample((100,)).mean(0), which is differentiable")

    @property
    def variance(self) -> NoReturn:
        """Not known.

        Raises:
            NotImplementedError: Always.
        """
        self._unknown("variance", "take that of samples, trick.rsample((100,)).var(0), which is differentiable")

    @property
    def mode(self) -> NoReturn:
        """Not known.

        Raises:
            NotImplementedError: Always.
        """
        self._unknown("mode", "relax the mode of the utility, structure.softmax(logits, temperature, regularizer)")

    def entropy(self) -> NoReturn:
        """Not known.

        Raises:
            NotImplementedError: Always.
        """
        remedy = "where log_prob is known average -trick.log_prob(x) over x = trick.rsample((100,)), in float64"
        self._unknown("entropy", remedy)

    def _unknown(self, wanted: str, remedy: str) -> NoReturn:
        raise NotImplementedError(
            f"{wanted}: not known of a relaxed sample. Instead {remedy}; that of the vertices, where it is known, is "
            f"StochasticArgmaxTrick(structure, utility).{wanted}."
        )

    def _law(self) -> NoReturn:
        raise NotImplementedError(
            "The divergence of relaxed samples is not known. Take that of StochasticArgmaxTrick(structure, utility) "
            "where the law of the vertices is known, or average p.log_prob(x) - q.log_prob(x) over x = "
            "p.rsample((100,)), in float64, where the densities are. kl_divergence(p.utility, q.utility) is an upper "
            "bound, which also changes with shifts of the logits that X does not see."
        )

    @as_asked
    def _relax(self, u: Tensor) -> Tensor:
        return self._in_dtype(self.structure.softmax(u, self.temperature, self.regularizer, solver=self.solver))

    def expand(self, batch_shape: Shape, _instance: Self | None = None) -> Self:
        """The same trick with a larger batch shape, and independent noise in it."""
        new = self._expanded(StochasticSoftmaxTrick, batch_shape, _instance)
        new.utility = self.utility.expand(batch_shape)
        return new

    def _words(self) -> list[str]:
        t = self.temperature
        shown = f"a tensor of shape {tuple(t.shape)}" if isinstance(t, Tensor) and t.dim() else t
        words = [*super()._words(), f"temperature={shown}", f"regularizer={self.regularizer!r}"]
        return words if self.solver is None else [*words, f"solver={self.solver!r}"]

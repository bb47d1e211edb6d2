from typing import Literal

import torch
from torch import Tensor, nn

from sstricks.distributions import ExponentialFamily
from sstricks.errors import check_floating, check_integer, invalid
from sstricks.estimators.action import draw_action
from sstricks.estimators.estimator import Estimator, Law, Loss, check_law, evaluated, perturbed
from sstricks.estimators.leave_one_out import RLOO
from sstricks.estimators.nvil import NVIL
from sstricks.estimators.trace import check_has_trace, clocks_of
from sstricks.regularizers import ExponentialFamilyEntropy
from sstricks.solvers.registry import solver_for
from sstricks.structures.structure import Structure
from sstricks.tricks import StochasticArgmaxTrick
from sstricks.utilities import Gumbel

_ACTIONS = ("utility", "vertex", "trace", "family")


class ScoreFunction(Estimator):
    r"""A score-function estimator, which needs values of the loss only (App. C.1).

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] = \mathbb{E}[L(X) \, \nabla_\theta \log p_\theta(\text{action})]

    It is unbiased. In evaluation mode nothing changes but the baseline's moving average, which rests.

    Args:
        structure: 𝒳.
        samples: How many actions are drawn for each example.
        score: What makes a surrogate of log-densities and losses: `RLOO`, or `Reinforce` with its moving average.
        action: "utility": the random utility, whose density is always known. "vertex": the argmax itself, where its
            probability is known (`StochasticArgmaxTrick.log_prob`). "trace": the choices by which the argmax is
            found (Struminsky et al. 2021), which have less variance than the utility: the order in which the greedy
            algorithm takes the elements of a `OneHot`, `KSubset` or `SpanningTree` under Gumbel or
            NegativeExponential utilities, the edges that the algorithm of Chu, Liu and Edmonds draws for an
            `Arborescence` under NegativeExponential ones, the ranking of a `Matching` under Sorting ones. "family": a
            sample of the exponential family, whose law is another.
        utility: The random utility as a function of θ. Where θ has another shape than 𝒳, as with `sst.Sorting`, it is
            this function that makes up for it.

    Raises:
        NoSolverError: The exponential family is the action, and that of the structure is intractable.
        ValueError: `samples` is below 1, `action` none of these, or the structure has no trace of a known law.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(6, requires_grad=True)
        >>> trees = sst.estimators.ScoreFunction(sst.SpanningTree.complete(4), samples=1000, action="family")
        >>> trees.surrogate(theta, lambda x: x[..., 0].round()).backward()
        >>> (theta.grad[0] - 0.25).abs() < 0.05
        tensor(True)
    """

    def __init__(
        self,
        structure: Structure,
        samples: int = 8,
        score: nn.Module | None = None,
        *,
        action: Literal["utility", "vertex", "trace", "family"] = "utility",
        utility: Law = Gumbel,
    ) -> None:
        super().__init__(structure)
        self.samples = check_integer("samples", samples, "Leaving one out takes two.", low=1)
        if action not in _ACTIONS:
            raise invalid("action", repr(action), f"one of {', '.join(map(repr, _ACTIONS))}", "Utilities always work.")
        if action == "family":
            solver_for(structure, ExponentialFamilyEntropy(), None)
        if action == "trace":
            check_has_trace("action", structure, utility)
        self.score = RLOO() if score is None else score
        if not isinstance(self.score, nn.Module) or isinstance(self.score, NVIL):
            raise invalid(
                "score",
                repr(score),
                "a module that takes log-densities and losses, such as RLOO() or Reinforce()",
                "NVIL takes the observation of a baseline network as well: call it on what `draw_action` gives.",
            )
        self.action, self.utility = action, check_law(utility)
        self.law = "family" if action == "family" else "argmax"

    def surrogate(self, theta: Tensor, loss: Loss, *, generator: torch.Generator | None = None) -> Tensor:
        """The mean of the losses, with the score's gradient."""
        check_floating("theta", theta)
        log_prob, x = self._drawn(theta, torch.Size((self.samples,)), generator)
        losses = evaluated(loss, x, self.structure)
        surrogate = self.score(log_prob, losses)
        return losses.detach().mean() + (surrogate - surrogate.detach())

    def _drawn(self, theta: Tensor, shape: torch.Size, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The log-densities of actions, and the vertices that these lead to."""
        if self.action == "utility":
            drawn = draw_action(perturbed(self.structure, self.utility, theta), shape, generator=generator)
            return drawn.log_prob, drawn.discrete
        if self.action == "trace":
            trick = StochasticArgmaxTrick(self.structure, self.utility(theta))
            drawn = draw_action(trick, shape, generator=generator)
            return clocks_of(trick).trace(drawn.utility).log_prob, drawn.discrete
        if self.action == "family":
            law = ExponentialFamily(self.structure, theta)
        else:
            law = StochasticArgmaxTrick(self.structure, self.utility(theta))
        x = law.sample(shape, generator=generator)
        return law.log_prob(x), x

    def extra_repr(self) -> str:
        """Structure, samples and action."""
        return f"{super().extra_repr()}, samples={self.samples}, action={self.action!r}"

import torch
from torch import Tensor, nn

from sstricks.errors import check_floating, check_integer, check_positive, invalid
from sstricks.estimators.estimator import Estimator, Law, Loss, check_law, evaluated
from sstricks.estimators.trace import check_has_trace, clocks_of
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.registry import solver_for
from sstricks.structures.structure import Structure
from sstricks.tricks import StochasticArgmaxTrick
from sstricks.utilities import Gumbel


class RELAX(Estimator):
    r"""The score function of the trace with a learnt control variate (Grathwohl et al. 2018; Struminsky et al. 2021).

    .. math:: \nabla_\theta \, \mathbb{E}[L(X)] = \mathbb{E} \big[
        (L(X) - c(\tilde U)) \, \nabla_\theta \log p_\theta(T) - \nabla_\theta c(\tilde U) + \nabla_\theta c(U) \big]

    T is the trace, the choices by which the argmax X of U is found (see `ScoreFunction`), and Ũ another random utility
    with the same trace; both utilities are functions of θ and of noise. It is unbiased whatever c is, and the nearer
    c(U) is to L(X), the less is its variance. Here, with the relaxation :math:`X_t` of U,

    .. math:: c(U) = b + s \, L(X_t(U)) + r(U)

    where b, s, t and the parameters of r, your `control`, are learnt: in training mode the surrogate's gradient in
    *them* is that of the estimate's mean square, which is its variance but for a constant. So one optimizer may train
    everything, ``torch.optim.Adam([*model.parameters(), *relax.parameters()])``. In evaluation mode they get none,
    which saves a second derivative.

    The estimate is for θ and for the parameters of the loss; those of `utility` get no gradient.

    Args:
        structure: A `OneHot`, `KSubset` or `SpanningTree`; an `Arborescence` if the utilities are NegativeExponential,
            a `Matching` if they are Sorting.
        control: r, a module from utilities (*sample, *batch, *event) to (*sample, *batch) or (*sample, *batch, 1).
        samples: How many utilities are drawn for each example. Each costs three losses, or one without regularizer.
        regularizer: f of the relaxation. None for a loss that takes vertices only: then s = 0.
        temperature: t > 0 at the beginning; b begins at 0, s at 1.
        utility: The random utility as a function of θ.

    Raises:
        NoSolverError: No solver is registered for the pair (𝒳, f).
        ValueError: `samples` is below 1, the temperature is not positive, or the structure has no trace of a known law.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> theta = torch.zeros(6, requires_grad=True)
        >>> relax = sst.estimators.RELAX(sst.SpanningTree.complete(4), samples=1000)
        >>> relax.surrogate(theta, lambda x: (x[..., 0] - 0.3).square()).backward()
        >>> theta.grad[0] > 0, relax.scale.grad.shape
        (tensor(True), torch.Size([]))
    """

    def __init__(
        self,
        structure: Structure,
        control: nn.Module | None = None,
        samples: int = 1,
        *,
        regularizer: Regularizer | None = ExponentialFamilyEntropy(),  # noqa: B008  # it has no state
        temperature: float = 1.0,
        utility: Law = Gumbel,
    ) -> None:
        super().__init__(structure)
        check_has_trace("structure", structure, utility)
        self.samples = check_integer("samples", samples, "A mean takes one at least.", low=1)
        temperature = check_positive("temperature", temperature, "1 is a good beginning.")
        if not (control is None or isinstance(control, nn.Module)):
            raise invalid("control", repr(control), "a module from utilities to numbers", "Such as an nn.Sequential.")
        self.constant = nn.Parameter(torch.zeros(()))
        if regularizer is not None:
            solver_for(structure, regularizer, None)
            self.scale = nn.Parameter(torch.ones(()))
            self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.control, self.regularizer, self.utility = control, regularizer, check_law(utility)

    def surrogate(self, theta: Tensor, loss: Loss, *, generator: torch.Generator | None = None) -> Tensor:
        """The mean of the losses, with the estimate as its gradient in θ, and that of its square in the control's."""
        shape = check_floating("theta", theta).shape
        mask = None if self.structure.mask is None else self.structure.placed("mask", theta.device)
        if mask is not None:
            shape = torch.broadcast_shapes(shape, mask.shape)
        # One row for each utility, since it is the squares of their own estimates that the control is to make small.
        rows = theta.detach().expand(self.samples, *shape).clone().requires_grad_()
        trick = StochasticArgmaxTrick(self.structure, self.utility(rows))
        u = trick.sample_utility(torch.Size(), generator)
        value = evaluated(loss, trick.vertex(u), self.structure)
        if not torch.is_grad_enabled():
            return value.mean()
        clocks = clocks_of(trick)
        trace = clocks.trace(u)
        both = torch.stack([u, clocks.utility(trace.sample(generator))])
        if mask is not None:  # an absent coordinate has no gradient
            both = torch.where(mask, both, both.detach())
        free, same = self._variate(both.to(theta.dtype), loss)
        outputs, weights = (trace.log_prob, free - same), (value.detach() - same, torch.ones_like(same))
        (estimates,) = torch.autograd.grad(outputs, rows, weights, create_graph=self.training)
        count = max(1, value.numel())
        terms = [(torch.where(theta.isfinite(), theta, 0.0), estimates.detach() / count)]
        learnt = [p for p in self.parameters() if p.requires_grad]
        if self.training and learnt:
            square = estimates.square().sum() / count
            terms += zip(learnt, torch.autograd.grad(square, learnt, materialize_grads=True), strict=True)
        return value.mean() + torch.stack([((x - x.detach()) * gradient).sum() for x, gradient in terms]).sum()

    def _variate(self, u: Tensor, loss: Loss) -> Tensor:
        """c, shape (*sample, *batch)."""
        shape = u.shape[: u.dim() - len(self.structure.event_shape)]
        found = self.constant + torch.zeros(shape, dtype=u.dtype, device=u.device)
        if self.regularizer is not None:
            x = self.structure.softmax(u, self.log_temperature.exp(), self.regularizer)
            found = found + self.scale * loss(x)
        if self.control is not None:
            own = self.control(u)
            if own.shape not in (shape, (*shape, 1)):
                what = f"shape {tuple(own.shape)} for utilities of shape {tuple(u.shape)}"
                raise invalid("control", what, "one number for each utility", "Its last layer has one output.")
            found = found + own.reshape(shape)
        return found

    def extra_repr(self) -> str:
        """Structure, samples and regularizer."""
        return f"{super().extra_repr()}, samples={self.samples}, regularizer={self.regularizer!r}"

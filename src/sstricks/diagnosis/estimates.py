"""What each estimator makes of the same utilities: one row of gradients for each estimate."""

import math
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from sstricks import estimators
from sstricks.diagnosis.leaves import Loss, gradients, losses
from sstricks.errors import invalid
from sstricks.estimators import MovingAverage, leave_one_out
from sstricks.randomness import drawing_from
from sstricks.tricks import StochasticArgmaxTrick, StochasticSoftmaxTrick
from sstricks.tricks.trick import Trick


class Estimator(NamedTuple):
    """An estimator of the gradient of E[L(X)].

    Attributes:
        name: What it is called.
        temperature: t, or None where there is none.
        evaluations: How many losses one estimate costs.
        law: Of which law of X the gradient is.
    """

    name: str
    temperature: float | None
    evaluations: int
    law: str = "argmax"


class Sampled:
    """Utilities, and what is computed from them once for all estimators.

    Args:
        trick: What to draw from.
        loss: L.
        leaves: What to take the gradient in.
        size: How many.
        generator: Where the randomness comes from, if not from torch's default generator.

    Attributes:
        u: U.
        discrete: X, the argmax of U.
        hard_losses: L(X).
        seconds_u: How long it took to draw U; `seconds_x` and `seconds_loss` are the time until X and L(X) were there.
    """

    def __init__(
        self, trick: Trick, loss: Loss, leaves: tuple[Tensor, ...], size: int, generator: torch.Generator | None
    ) -> None:
        self.trick, self.loss, self.leaves, self.generator = trick, loss, leaves, generator
        begin = perf_counter()
        with torch.enable_grad(), drawing_from(generator, trick.utility):
            shape = torch.Size((size,))
            self.u = trick.utility.rsample(shape) if trick.utility.has_rsample else trick.utility.sample(shape)
        self.seconds_u = perf_counter() - begin
        self.discrete = trick.structure.argmax(self.u)
        self.seconds_x = perf_counter() - begin
        with torch.no_grad():
            self.hard_losses = losses(loss, self.discrete)
        self.seconds_loss = perf_counter() - begin

    def through(self, t: float, trick: StochasticSoftmaxTrick, straight: bool) -> Tensor:
        """The gradients of the relaxed estimator at a temperature, or of the straight-through one."""
        u = self.u.detach().requires_grad_()
        with torch.enable_grad():
            x = trick.structure.softmax(u, t, trick.regularizer, solver=trick.solver)
            if straight:
                x = self.discrete + (x - x.detach())
            value = losses(self.loss, x)
            if not value.requires_grad:
                raise invalid(
                    "loss",
                    "a value without a gradient in x",
                    "a differentiable function, such as the mean of squares",
                    "For any other diagnose the StochasticArgmaxTrick, whose estimators need the value alone.",
                )
            (cotangent,) = torch.autograd.grad(value.sum(), u)
        return gradients(self.u, cotangent, self.leaves)

    def by(self, estimator: estimators.Estimator) -> tuple[Tensor, int, float]:
        """The gradients of an estimator that draws for itself, its losses for each estimate, and the seconds of all."""
        size, events = len(self.u), len(self.trick.structure.event_shape)
        theta = self.leaves[0].detach().expand(size, *self.leaves[0].shape).clone().requires_grad_()
        shown = 0

        def counted(x: Tensor) -> Tensor:
            nonlocal shown
            rows = x.flatten(0, -events - 1)
            shown += len(rows)
            return losses(self.loss, rows).unflatten(0, x.shape[: x.dim() - events])

        begin = perf_counter()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(size * estimator.surrogate(theta, counted, generator=self.generator), theta)
        return found.reshape(size, -1).double(), -(-shown // size), perf_counter() - begin

    def scores(self, known: StochasticArgmaxTrick | None) -> Tensor:
        """∇log p of every vertex under a law that is known, or of every utility."""
        with torch.enable_grad():
            if known is None:
                log_p = self.trick.utility.log_prob(self.u.detach())
                return gradients(log_p, torch.ones_like(log_p), self.leaves)
            # Few vertices, drawn many times each.
            vertices, which = self.discrete.unique(dim=0, return_inverse=True)
            log_p = known.log_prob(vertices)
            return gradients(log_p, torch.ones_like(log_p), self.leaves)[which]


class Estimators:
    """All estimators of one diagnosis; the moving averages go on from call to call.

    Args:
        trick: What is diagnosed.
        temperatures: For the relaxed and the straight-through estimators, if the trick is relaxed.
        group: How many samples RLOO takes.
        known: The argmax trick, if the probabilities of its vertices are known.
        others: Further estimators by name.
    """

    def __init__(
        self,
        trick: Trick,
        temperatures: tuple[float, ...],
        group: int,
        known: StochasticArgmaxTrick | None,
        others: Mapping[str, estimators.Estimator],
    ) -> None:
        self.others = others
        self.milliseconds: dict[Estimator, float] = {}
        self._evaluations: dict[str, int] = {}
        self.relaxed = trick if isinstance(trick, StochasticSoftmaxTrick) else None
        self.temperatures = temperatures
        self.group = group
        self.actions = {"U": None} if known is None else {"X": known, "U": None}
        self.averages = {name: MovingAverage().double() for name in self.actions}

    def __call__(self, sampled: Sampled) -> Iterator[tuple[Estimator, Tensor]]:
        """Each with its estimates, (estimates, parameters)."""
        if self.relaxed is not None:
            for name, straight in (("relaxed", False), ("straight-through", True)):
                for t in self.temperatures:
                    begin = perf_counter() - (sampled.seconds_x if straight else sampled.seconds_u)
                    estimate = sampled.through(t, self.relaxed, straight)
                    yield self._timed(Estimator(name, t, 1), perf_counter() - begin, sampled), estimate
        loss = sampled.hard_losses.double()
        for name, known in self.actions.items():
            begin = perf_counter() - sampled.seconds_loss
            score = sampled.scores(known)
            seconds = perf_counter() - begin  # baselines are not worth timing
            plain = self._timed(Estimator(f"REINFORCE on {name}", None, 1), seconds, sampled)
            yield plain, loss.unsqueeze(-1) * score
            above = loss - _averages_before(loss, self.averages[name])
            average = self._timed(Estimator(f"REINFORCE on {name}, moving average", None, 1), seconds, sampled)
            yield average, above.unsqueeze(-1) * score
            groups = len(loss) // self.group
            kept = (loss[: groups * self.group], score[: groups * self.group])
            grouped, scores = (x.unflatten(0, (groups, self.group)).transpose(0, 1) for x in kept)
            estimate = (leave_one_out(grouped).unsqueeze(-1) * scores).mean(0)
            several = Estimator(f"RLOO on {name}, {self.group} samples", None, self.group)
            yield self._timed(several, seconds * self.group, sampled), estimate
        for name, other in self.others.items():
            estimate, evaluations, seconds = sampled.by(other)
            evaluations = self._evaluations.setdefault(name, evaluations)
            yield self._timed(Estimator(name, None, evaluations, other.law), seconds, sampled), estimate

    def _timed(self, estimator: Estimator, seconds: float, sampled: Sampled) -> Estimator:
        milliseconds = 1e3 * seconds / len(sampled.u)
        self.milliseconds[estimator] = min(
            milliseconds, self.milliseconds.get(estimator, math.inf)
        )  # the first compiles
        return estimator


def _averages_before(loss: Tensor, average: MovingAverage) -> Tensor:
    """What the moving average was when each loss came."""
    values = []
    for one in loss.cpu():
        values.append(average.value)
        average.update(one)
    return torch.stack(values).to(loss.device)

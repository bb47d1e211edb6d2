import torch
from torch import Tensor

from sstricks.errors import check_floating, invalid
from sstricks.estimators.estimator import Estimator, Loss, evaluated
from sstricks.regularizers import Euclidean, SeparableRegularizer
from sstricks.solvers import FrankWolfe
from sstricks.structures.structure import Structure


class SparseMarginalization(Estimator):
    r"""The expectation under a sparse law, without sampling (Correia et al. 2020).

    .. math:: \sum_j \lambda_j L(v_j), \qquad \sum_j \lambda_j v_j =
        \operatorname{argmax}_{x \in \operatorname{conv} \mathcal{X}} \theta^\top x - f(x)

    The active vertices of SparseMAP are few, so that the loss can be evaluated at all of them; the gradient passes
    through their weights, and is exact for this law, which is not that of a perturbed argmax. A vertex that is not
    active has no part in it: where all active ones have the same loss, or only one is active, the gradient is zero and
    a training rests. The time of a call grows with the number of active vertices: seconds for trees of 200 nodes.

    Args:
        structure: 𝒳.
        regularizer: f, separable.
        solver: Finds the vertices.

    Example:
        >>> theta = torch.tensor([1.0, 0.5, -3.0], requires_grad=True)
        >>> expected = sst.estimators.SparseMarginalization(sst.OneHot(3))
        >>> expected.surrogate(theta, lambda x: x @ torch.tensor([0.0, 1.0, 2.0])).backward()
        >>> theta.grad
        tensor([-0.5000,  0.5000,  0.0000])
    """

    law = "sparse"

    def __init__(
        self,
        structure: Structure,
        regularizer: SeparableRegularizer = Euclidean(),  # noqa: B008  # it has no state
        solver: FrankWolfe | None = None,
    ) -> None:
        super().__init__(structure)
        self.regularizer = regularizer
        self.solver = FrankWolfe() if solver is None else solver
        if not isinstance(self.solver, FrankWolfe):
            raise invalid("solver", repr(solver), "a FrankWolfe, which finds vertices", "Write sst.FrankWolfe().")

    def surrogate(self, theta: Tensor, loss: Loss, *, generator: torch.Generator | None = None) -> Tensor:
        """The expected loss itself; nothing is drawn.

        The loss gets the vertices of all examples side by side, (slots, *batch, *event). An example with fewer vertices
        than another repeats its first with weight zero.
        """
        found = self.solver.solve(self.structure, self.regularizer, check_floating("theta", theta))
        slots = len(self.structure.event_shape) + 1
        vertices, weights = found.vertices.movedim(-slots, 0), found.weights.movedim(-1, 0)
        taken = weights.detach() > 0
        shown = taken[(..., *[None] * len(self.structure.event_shape))]
        values = evaluated(loss, torch.where(shown, vertices, vertices[:1]), self.structure)
        return torch.where(taken, weights * values, 0.0).sum(0).mean()

    def extra_repr(self) -> str:
        """Structure and regularizer."""
        return f"{super().extra_repr()}, {self.regularizer!r}"

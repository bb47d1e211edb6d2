import torch
from torch import Tensor

from sstricks.errors import ConvergenceWarning, warn
from sstricks.ops.active_set import mix
from sstricks.ops.mixture import Mixture
from sstricks.ops.operator import Sizes, operator


@operator("sstricks::frank_wolfe", core=(2,), output_core=2, waits=True)
def frank_wolfe(pair: Tensor, oracle: int, code: int, batch: Sizes, max_steps: int, tol: float) -> Tensor:
    """The optimum x and its pull w = u − ∇f(x), shape (*batch, 2, n), by `mix`.

    Args:
        pair: Scaled utilities u, twice, shape (*batch, 2, n): the shape of the result.
        oracle: The handle of an argmax oracle.
        code: Which of `COSTS` f is, or the handle of a regularizer.
        batch: The batch shape.
        max_steps: After how many steps to give up.
        tol: The duality gap to reach.

    Warns:
        ConvergenceWarning: Some row stopped short of the tolerance.
    """
    found = mix(oracle, pair[:, 0], code, batch, max_steps, tol)
    check_convergence(found, tol)
    return torch.stack([found.point, found.pull], -2)


# Its gradient is that of `on_face`.
@frank_wolfe.backward
def _(needs: tuple[bool, ...], grad: Tensor, found: Tensor, pair: Tensor, *settings: object) -> tuple[None]:
    return (None,)


def check_convergence(found: Mixture, tol: float) -> None:
    """Warn of rows that stopped short of the tolerance."""
    short = found.short(tol)
    if short.any():
        warn(
            ConvergenceWarning(
                "FrankWolfe",
                problems=int(short.sum()),
                gap=float(found.gap[short].max()),
                tolerance=tol,
                steps=int(found.steps.max()),
            )
        )

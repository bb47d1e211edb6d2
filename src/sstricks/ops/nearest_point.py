r"""The nearest point of a hull from argmax alone: Wolfe's method (1976), the active-set method of SparseMAP.

The point :math:`x = \sum_j \lambda_j v_j` is a mixture of affinely independent active vertices, the one nearest to u
in their affine hull, so that g = u − x likes all of them equally. The vertex that g likes best joins them. Then x moves
towards the nearest point of the new affine hull; where a weight would become negative on the way it becomes zero, and
its vertex leaves, until there is no such weight. Every step comes nearer to u, so that no set of active vertices comes
back: the method ends, in practice after little more steps than there are active vertices at the end.

With V the matrix of active vertices, what the weights still lack is :math:`(V V^\top + 1 1^\top)^{-1} (V g - \mu 1)`,
for the μ that makes its sum zero. The Cholesky factor of this matrix is brought up to date when a vertex joins or
leaves, in O(k²). Since the step is found anew from g each time, errors in the factor do not last.
"""

import torch
from torch import Tensor

from sstricks.ops.mixture import Mixture
from sstricks.ops.oracles import best_vertices, check_best, checked_vertices, is_binary, is_trusted
from sstricks.ops.threads import over_rows

_ROOM = 16  # for active vertices at first


def nearest_point(oracle: int, u: Tensor, max_steps: int, tol: float) -> Mixture:
    """The mixture of vertices with the least ½‖x − u‖², to a duality gap of `tol`, or as near as rounding allows.

    Args:
        oracle: The handle of an argmax oracle.
        u: Shape (rows, n), −∞ where a coordinate is absent.
        max_steps: After how many steps to give up.
        tol: The duality gap to reach.
    """
    from sstricks.ops.kernels import nearest_point as kernels

    device, u = u.device, u.cpu().contiguous()
    rows, n = u.shape
    vertices = torch.zeros(rows, _ROOM, n, dtype=torch.uint8 if is_binary(oracle) else u.dtype)
    factor, weights = u.new_zeros(rows, _ROOM, _ROOM), u.new_zeros(rows, _ROOM)
    counts, stuck, state, steps = torch.zeros(4, rows, dtype=torch.int64).unbind()
    x, g = torch.zeros_like(u), u.clone()
    gap, floor = u.new_zeros(2, rows).unbind()
    here = torch.arange(rows)
    for step in range(max_steps + 2):
        if not len(here):
            break
        asked = torch.where(u[here] == -torch.inf, -torch.inf, g[here])
        best = (best_vertices if step else checked_vertices)(oracle, asked)
        if not is_trusted(oracle):
            taken = torch.arange(weights.shape[1]) < counts[here, None]
            check_best(oracle, asked, best, torch.where(taken.unsqueeze(-1), vertices[here], best.unsqueeze(-2)))
        if int(counts.max()) == weights.shape[1]:
            grow = weights.shape[1]
            vertices = torch.nn.functional.pad(vertices, (0, 0, 0, grow))
            factor = torch.nn.functional.pad(factor, (0, grow, 0, grow))
            weights = torch.nn.functional.pad(weights, (0, grow))
        arrays = (t.numpy() for t in (vertices, factor, weights, counts, x, g, gap, floor, stuck, state))
        work = 4.0 * n * (int(counts.max()) + 1)
        over_rows(
            kernels.advance, len(here), work, here.numpy(), best.numpy(), u.numpy(), tol, step > max_steps, *arrays
        )
        steps[here] = max(step - 1, 0)  # the first answer is where to begin
        here = here[state[here] == kernels.GOING]
    slots = max(int(counts.max()) if rows else 0, 1)
    taken = torch.arange(slots) < counts.unsqueeze(-1)
    found = Mixture(
        point=x,
        pull=torch.where(u == -torch.inf, -torch.inf, g),
        gap=gap,
        floor=floor,
        steps=steps,
        vertices=torch.where(taken.unsqueeze(-1), vertices[:, :slots], 0).to(u.dtype),
        weights=torch.where(taken, weights[:, :slots], 0.0),
    )
    return Mixture._make(t.to(device) for t in found)

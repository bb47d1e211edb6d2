import torch
from torch import Tensor

from sstricks.ops.active_set import mix
from sstricks.ops.operator import operator
from sstricks.ops.oracles import client


@operator("sstricks::frank_wolfe", core=(2,), output_core=2)
def frank_wolfe(pair: Tensor, oracle: int, asker: int, code: int) -> Tensor:
    """The optimum x and its pull w = u − ∇f(x), shape (*batch, 2, n), by `mix`.

    Args:
        pair: Scaled utilities u, twice, shape (*batch, 2, n): the shape of the result.
        oracle: The number of an argmax oracle.
        asker: The number of its client.
        code: Which of `COSTS` f is.
    """
    ours = client(asker)
    found = mix(oracle, pair[:, 0], code, ours.max_steps, ours.tol)
    ours.heed(found)
    return torch.stack([found.point, found.pull], -2)


# Its gradient is that of `on_face`.
@frank_wolfe.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, found: Tensor, pair: Tensor, oracle: int, asker: int, code: int
) -> tuple[None]:
    return (None,)

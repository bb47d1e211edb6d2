from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.ops.operator import Operator


def attach_gradients(
    marginals: Operator,
    marginals_jvp: Operator,
    log_partition: Operator,
    derivative: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> None:
    """Give the operators of an exponential family over the edges of a graph their gradients.

    Args:
        marginals: From (u, edges, nodes) to the gradient x of log Z.
        marginals_jvp: From (u, g, edges, nodes) to the derivative J(u)g of the marginals. J is symmetric.
        log_partition: From (u, edges, nodes) to log Z.
        derivative: What `marginals_jvp` computes, in differentiable torch.
    """

    @marginals.backward
    def _(
        needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, edges: Tensor, nodes: int
    ) -> tuple[Tensor, None]:
        return marginals_jvp(u, grad, edges, nodes), None

    # J(u)g is linear in g with a symmetric J, so its gradient in g is J(u) applied to the incoming one. In u it is a
    # third derivative of log Z; nobody needs it fast.
    @marginals_jvp.backward
    def _(
        needs: tuple[bool, ...], grad: Tensor, y: Tensor, u: Tensor, g: Tensor, edges: Tensor, nodes: int
    ) -> tuple[Tensor, Tensor, None]:
        pull_back = torch.func.vjp(lambda u: derivative(u, g, edges, nodes), u)[1]
        return pull_back(grad)[0], marginals_jvp(u, grad, edges, nodes), None

    @log_partition.backward
    def _(
        needs: tuple[bool, ...], grad: Tensor, log_z: Tensor, u: Tensor, edges: Tensor, nodes: int
    ) -> tuple[Tensor, None]:
        return grad.unsqueeze(-1) * marginals(u, edges, nodes), None

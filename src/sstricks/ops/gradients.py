"""The gradients that several operators have in common."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sstricks.ops.operator import Operator


def attach_gradients(
    marginals: Operator, marginals_jvp: Operator, log_partition: Operator, derivative: Callable[..., Tensor]
) -> None:
    """Give the operators of an exponential family their gradients.

    Each takes the parameters u, and what else makes the family what it is: the size of subsets, or the edges and the
    number of nodes of a graph. J is symmetric, as the Jacobian of a gradient is.

    Args:
        marginals: From (u, …) to the gradient x of log Z.
        marginals_jvp: From (u, g, …) to the derivative J(u)g of the marginals.
        log_partition: From (u, …) to log Z.
        derivative: What `marginals_jvp` computes, in differentiable torch.
    """
    shared = (None,) * (len(marginals.core) - 1)

    @marginals.symmetric
    def _(needs: tuple[bool, ...], grad: Tensor, x: Tensor, u: Tensor, *family: Any) -> tuple[Tensor | None, ...]:
        return marginals_jvp(u, grad, *family), *shared

    # J(u)g is linear in g with a symmetric J, so its gradient in g is J(u) applied to the incoming one. In u it is a
    # third derivative of log Z; nobody needs it fast.
    @marginals_jvp.symmetric
    def _(
        needs: tuple[bool, ...], grad: Tensor, y: Tensor, u: Tensor, g: Tensor, *family: Any
    ) -> tuple[Tensor | None, ...]:
        in_u = in_g = None
        if needs[0] and not y.numel():  # a graph of one node
            in_u = torch.zeros_like(y)
        elif needs[0]:
            pull_back = torch.func.vjp(lambda u: derivative(u, g.expand_as(y), *family), u.expand_as(y))[1]
            in_u = pull_back(grad)[0]
        if needs[1]:
            in_g = marginals_jvp(u, grad, *family)
        return in_u, in_g, *shared

    @log_partition.backward
    def _(needs: tuple[bool, ...], grad: Tensor, log_z: Tensor, u: Tensor, *family: Any) -> tuple[Tensor | None, ...]:
        return grad.unsqueeze(-1) * marginals(u, *family), *shared

    @log_partition.tangent
    def _(tangents: tuple[Tensor, ...], log_z: Tensor, u: Tensor, *family: Any) -> Tensor:
        return (marginals(u, *family) * tangents[0]).sum(-1)


def attach_no_gradient(vertices: Operator) -> None:
    """Say that an operator is piecewise constant in all its tensors, as an argmax is.

    Args:
        vertices: From utilities, and perhaps other tensors, to vertices.
    """

    @vertices.backward
    def _(needs: tuple[bool, ...], *args: Any) -> tuple[None, ...]:
        return (None,) * len(vertices.core)

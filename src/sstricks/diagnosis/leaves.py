from collections.abc import Callable

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.randomness import drawing_from
from sstricks.tricks.trick import Trick

Loss = Callable[[Tensor], Tensor]


def find_leaves(trick: Trick, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """The tensors that require grad and that the trick's utility was made from, in the order they are met.

    Args:
        trick: Whose utility.
        generator: Whose numbers to look with, without using them up, instead of those of torch's default generator.

    Raises:
        ValueError: There are none, or some without which there would be the same density, but not the same samples.
    """
    with torch.enable_grad(), drawing_from(None if generator is None else generator.clone_state(), trick.utility):
        u = trick.utility.rsample() if trick.utility.has_rsample else trick.utility.sample()
        score = trick.utility.log_prob(u.detach())
    leaves, of_score = _leaves(u, score), _leaves(score)
    if not leaves:
        raise invalid(
            "trick",
            f"the utility {trick.utility!r}, of which no parameter requires grad",
            "parameters to take the gradient in",
            "Write theta.requires_grad_() before building the utility from theta.",
        )
    if len(of_score) < len(leaves):
        raise invalid(
            "trick",
            f"{len(leaves) - len(of_score)} tensors that require grad, of which the samples of its utility are made "
            "but not their density",
            "parameters of a density, of which score-function estimators take the gradient",
            "Detach those that are fixed, as the pairs of a ChainUtility are.",
        )
    return leaves


def _leaves(*outputs: Tensor) -> tuple[Tensor, ...]:
    """The tensors that require grad and that these were computed from, in the order they are met."""
    pending = [x.grad_fn for x in outputs]
    seen, leaves = set(), []
    while pending:
        node = pending.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves.append(leaf)
        pending += [parent for parent, _ in node.next_functions]
    return tuple(leaves)


def gradients(output: Tensor, cotangent: Tensor, leaves: tuple[Tensor, ...]) -> Tensor:
    """The gradient of every sample in all leaves, flattened one after the other, float64.

    Args:
        output: (samples, ...), a function of the leaves.
        cotangent: The gradient of each sample's loss in its own output, of the same shape.
        leaves: What to take the gradient in.

    Returns:
        (samples, total size of the leaves).
    """
    size = len(output)
    each = torch.zeros(size, *output.shape, dtype=output.dtype, device=output.device)
    each[range(size), range(size)] = cotangent
    found = torch.autograd.grad(
        output, leaves, each, is_grads_batched=True, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.reshape(size, -1) for g in found], -1).double()


def flat_gradient(value: Tensor, leaves: tuple[Tensor, ...]) -> Tensor:
    """The gradient of a number in all leaves, flattened one after the other, float64."""
    found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in found]).double()


def losses(loss: Loss, x: Tensor) -> Tensor:
    """The loss of every sample.

    Args:
        loss: From (samples, *event) to (samples,).
        x: (samples, *event).

    Raises:
        ValueError: The loss returns another shape, something else, or a number that is not finite.
    """
    value = loss(x)
    if not isinstance(value, Tensor) or value.shape != x.shape[:1]:
        what = f"value of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise invalid(
            "loss",
            f"a {what} for samples of shape {tuple(x.shape)}",
            f"one number for each sample, shape {tuple(x.shape[:1])}",
            "Reduce over the event dimensions only, as in ((x - c) ** 2).sum(-1).",
        )
    if not value.isfinite().all():
        at = int((~value.isfinite()).nonzero()[0])
        raise invalid(
            "loss",
            f"{float(value[at])} at x = {x[at].tolist()}",
            "a finite number at every point of the structure's convex hull",
            "Keep logarithms and quotients away from 0, as in torch.log(x + eps) or torch.xlogy.",
        )
    return value

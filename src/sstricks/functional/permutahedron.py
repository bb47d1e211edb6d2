import torch
from torch import Tensor

from sstricks.errors import invalid, joint_shape
from sstricks.functional.checks import check_coordinates
from sstricks.functional.utility import from_working, scaled_utility, to_working
from sstricks.ops import permutahedron
from sstricks.ops.operator import is_readable


def soft_rank(u: Tensor, temperature: Tensor | float = 1.0, *, entropic: bool = False) -> Tensor:
    r"""Differentiable ranks (Blondel, Teboul, Berthet and Djolonga 2020), in O(n log n), shape (*batch, n).

    The maximiser of :math:`u^\top x - t f(x)` on the hull of all orders of 1, …, n, as in
    ``sst.Permutahedron(n).softmax(u, t, f)``: the largest utility has rank n, the smallest 1. The lower the
    temperature, the nearer they are to integers; for ½‖x‖² they are integers where all neighbours are t apart.

    Args:
        u: What to rank, shape (*batch, n). −∞ is absent and has rank 0; the others are ranked among themselves.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        entropic: Whether f is Σ x log x − x, `CategoricalEntropy`, instead of ½‖x‖², `Euclidean`.

    Returns:
        Ranks in the dtype of u, differentiable in u and the temperature.

    Raises:
        ValueError: u is no tensor of floating numbers, or has NaN or nothing that is present; t is not positive.

    Example:
        >>> F.soft_rank(torch.tensor([0.5, 9.0, 0.0]), 1.0)
        tensor([1.7500, 3.0000, 1.2500])
        >>> F.soft_rank(torch.tensor([0.5, 9.0, 0.0]), 0.1)
        tensor([2., 3., 1.])
    """
    check_coordinates(u)
    n = u.shape[-1]
    scaled = permutahedron.spread(scaled_utility(u, temperature, at_least=1), u, n - 1.0)
    values = torch.arange(n, 0, -1, dtype=scaled.dtype, device=u.device)
    solve = permutahedron.softmax if entropic else permutahedron.projection
    return from_working(solve(scaled, values), u.dtype)


def soft_sort(u: Tensor, temperature: Tensor | float = 1.0, *, entropic: bool = False) -> Tensor:
    r"""Differentiable sorting in ascending order (Blondel et al. 2020), in O(n log n), shape (*batch, n).

    The maximiser of :math:`\rho^\top x - t f(x)`, ρ = (1, …, n), on the hull of all orders of u, for f = ½‖x‖². If
    `entropic`, it is the logarithm of the maximiser for f = Σ x log x − x on the hull of all orders of exp(u). The
    lower the temperature, the nearer it is to u in ascending order; the higher, the nearer to means of neighbours.

    Args:
        u: What to sort, shape (*batch, n), finite.
        temperature: t > 0, a number or a tensor that broadcasts with (*batch).
        entropic: Which f.

    Returns:
        In the dtype of u, differentiable in u and the temperature.

    Raises:
        ValueError: u is no tensor of floating numbers, or not finite; t is not positive.

    Example:
        >>> F.soft_sort(torch.tensor([0.5, 9.0, 0.0]), 1.0)
        tensor([2.1667, 3.1667, 4.1667])
        >>> F.soft_sort(torch.tensor([0.5, 9.0, 0.0]), 0.1)
        tensor([0.0000, 0.5000, 9.0000])
    """
    check_coordinates(u)
    if isinstance(temperature, Tensor):
        joint_shape("temperature", temperature.shape, u.shape[:-1], "u")
    if is_readable(u) and not u.isfinite().all():
        raise invalid("u", "a number that is not finite", "finite numbers", "There is no mean of others.")
    values = to_working(u)
    places = torch.arange(u.shape[-1], 0, -1, dtype=values.dtype, device=u.device)
    return from_working(permutahedron.soft_sort(values, scaled_utility(places, temperature), entropic), u.dtype)

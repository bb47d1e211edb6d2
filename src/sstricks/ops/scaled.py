import torch
from torch import Tensor

from sstricks.errors import invalid_rows
from sstricks.ops.operator import is_checked, operator
from sstricks.ops.precision import A_LITTLE_MORE, COLDEST, LARGEST, SURE, working_dtype
from sstricks.ops.threads import over_rows


def _unmasked(mask: Tensor, u: Tensor) -> Tensor:
    return mask if mask.shape[-1] else torch.ones_like(u, dtype=torch.bool)


def _fault(u: Tensor, t: Tensor, present: Tensor, at_least: int) -> Tensor:
    """By row, 1 for NaN, 2 for too few coordinates, 3 for a temperature that is none, or 0."""
    fault = torch.where((present & u.isnan()).any(-1), 1, 0)
    fault = torch.where(present.sum(-1) < at_least, 2, fault)
    return torch.where(t > 0, fault, 3)


def _complain(fault: Tensor, u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> None:
    """Say what is wrong with the first faulty row."""
    lead = fault.shape
    mask = _unmasked(mask, u)
    u, mask = (x.expand(*lead, u.shape[-1]).reshape(-1, u.shape[-1]) for x in (u, mask))
    fault, t = fault.reshape(-1), t.expand(lead).reshape(-1)
    wrong = fault > 0
    row = int(wrong.nonzero()[0])
    match int(fault[row]):
        case 1:
            where = int(u[row].isnan().nonzero()[0])
            raise invalid_rows(
                wrong,
                "u",
                f"NaN (row {row}, coordinate {where})",
                "numbers",
                "Look upstream for an overflow or 0/0; use -inf for a coordinate that is absent.",
            )
        case 2:
            present = int((mask[row] & (u[row] != -torch.inf)).sum())
            raise invalid_rows(
                wrong,
                "u",
                f"{present} present coordinates in row {row} (the others are masked or -inf)",
                f"at least {at_least}",
                "Unmask coordinates, or leave this example out of the batch.",
            )
        case _:
            raise invalid_rows(
                wrong,
                "temperature",
                float(t[row]),
                "a number >= 0",
                "Use 0 for the argmax; learn its logarithm, not itself.",
            )


@operator("sstricks::scaled", core=(1, 0, 1), dtype=lambda u, t, mask, at_least: working_dtype(u))
def scaled(u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> Tensor:
    """The scaled utility u/t, in the working dtype, as every solver gets it; the one owner of masks, infinities, NaN.

    Coordinates that are masked (False) or −∞ come out as −∞. A utility of +∞ becomes more than all
    finite ones together, so that its coordinate is chosen before any of them and ties with its like.

    Args:
        u: Utilities, shape (*batch, n).
        t: Temperatures > 0, shape (*batch).
        mask: Which coordinates are present, shape (*batch, n), or (0,) if all are.
        at_least: How many coordinates must be present.

    Raises:
        ValueError: Some utility is NaN, some temperature is not positive, or too few coordinates are present. Where
            nobody looks (see `is_checked`), NaN is returned for the whole row.
    """
    present = _unmasked(mask, u) & (u != -torch.inf)
    v = (u.to(working_dtype(u)) / t.clamp(min=COLDEST).unsqueeze(-1)).clamp(-LARGEST, LARGEST)
    v = torch.where(u == torch.inf, torch.inf, v)
    finite = present & (v < torch.inf)
    total = torch.where(finite, v, 0.0).abs().sum(-1)
    sure = (SURE + total * A_LITTLE_MORE).clamp(max=2 * LARGEST)
    fault = _fault(u, t, present, at_least)
    if is_checked(u) and fault.any():
        _complain(fault, u, t, mask, at_least)
    v = torch.where(finite, v, torch.where(present, sure.unsqueeze(-1), -torch.inf))
    return torch.where((fault > 0).unsqueeze(-1), torch.nan, v)


@scaled.cpu
def _(u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> Tensor:
    from sstricks.ops.kernels.scaled import scaled as kernel

    out = torch.empty(u.shape, dtype=torch.float64)
    fault = torch.zeros(u.shape[0], dtype=torch.int64)
    arrays = (x.numpy() for x in (u, t, mask))
    over_rows(kernel, u.shape[0], 0.5 * u.shape[1], *arrays, at_least, out.numpy(), fault.numpy())
    if fault.any():
        _complain(fault, u, t, mask, at_least)
    return out


@scaled.cuda
def _(u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> Tensor:
    from sstricks.ops.cuda.scaled import scaled as launch

    if is_checked(u):
        present = _unmasked(mask, u) & (u != -torch.inf)
        fault = _fault(u, t, present, at_least)
        if fault.any():
            _complain(fault, u, t, mask, at_least)
    return launch(u, t, mask, at_least)


@operator("sstricks::scaled_backward", core=(1, 1, 0, 1), dtype=lambda grad, u, t, mask: u.dtype)
def scaled_backward(grad: Tensor, u: Tensor, t: Tensor, mask: Tensor) -> Tensor:
    """The gradient of `scaled` in u, in its dtype: grad/t where u is present and finite, 0 elsewhere."""
    absent = ~(_unmasked(mask, u) & u.isfinite())
    return (grad / t.clamp(min=COLDEST).unsqueeze(-1)).masked_fill(absent, 0.0).to(u.dtype)


@scaled_backward.cpu
def _(grad: Tensor, u: Tensor, t: Tensor, mask: Tensor) -> Tensor:
    from sstricks.ops.kernels.scaled import scaled_backward as kernel

    out = torch.empty_like(u)
    over_rows(kernel, u.shape[0], 0.6 * u.shape[1], *(x.numpy() for x in (grad, u, t, mask)), out.numpy())
    return out


@scaled_backward.cuda
def _(grad: Tensor, u: Tensor, t: Tensor, mask: Tensor) -> Tensor:
    from sstricks.ops.cuda.scaled import scaled_backward as launch

    return launch(grad, u, t, mask)


# v = u/t on the finite, present coordinates and a constant elsewhere, so ∂v/∂u = 1/t and ∂v/∂t = −u/t² there and
# zero elsewhere. The products are masked before they are formed: 0 · ∞ would be NaN. Below COLDEST t has no effect.
@scaled.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, v: Tensor, u: Tensor, t: Tensor, mask: Tensor, at_least: int
) -> tuple[Tensor | None, Tensor | None, None]:
    grad_u = scaled_backward(grad, u, t, mask)
    if v.device.type == "cpu" and not is_checked(v):  # what follows may have cut the gradient of an invalid row off
        grad_u = grad_u.masked_fill(v.isnan(), torch.nan)
    grad_t = _through_temperature(grad, u, t, mask) if needs[1] else None
    return grad_u.sum_to_size(u.shape), grad_t, None


@scaled.tangent
def _(tangents: tuple[Tensor | None, ...], v: Tensor, u: Tensor, t: Tensor, mask: Tensor, at_least: int) -> Tensor:
    du, dt, _ = tangents
    finite = _unmasked(mask, u) & u.isfinite()
    change = torch.zeros_like(v) if du is None else torch.where(finite, du, 0.0).to(v.dtype)
    if dt is not None:
        change = change - torch.where(finite, v, 0.0) * torch.where(t > COLDEST, dt, 0.0).unsqueeze(-1)
    return change / t.clamp(min=COLDEST).unsqueeze(-1)


@scaled_backward.backward
def _(
    needs: tuple[bool, ...], grad: Tensor, out: Tensor, g: Tensor, u: Tensor, t: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, None]:
    inside = (grad * (_unmasked(mask, u) & u.isfinite())).to(g.dtype)
    grad_t = _over_minus((inside * g).sum(-1) / t.clamp(min=COLDEST), t) if needs[2] else None
    # Constant in u, which is said with zeros: with None, a second derivative would fail instead of being zero.
    return (inside / t.clamp(min=COLDEST).unsqueeze(-1)).sum_to_size(g.shape), torch.zeros_like(u), grad_t, None


def _through_temperature(grad: Tensor, u: Tensor, t: Tensor, mask: Tensor) -> Tensor:
    """The gradient in t of u/t, from that in v."""
    finite = _unmasked(mask, u) & u.isfinite()
    v = torch.where(finite, u, 0.0).to(grad.dtype) / t.clamp(min=COLDEST).unsqueeze(-1)
    return _over_minus((torch.where(finite, grad, 0.0) * v.clamp(-LARGEST, LARGEST)).sum(-1), t)


def _over_minus(total: Tensor, t: Tensor) -> Tensor:
    """−total/t, finite whatever the numbers, summed to the shape of t."""
    over = (-total / t.clamp(min=COLDEST)).clamp(-LARGEST, LARGEST)
    return torch.where(t > COLDEST, over, 0.0).sum_to_size(t.shape)

"""Eight lanes as one value, a vector of eight float64.

LLVM makes vectors of a loop over contiguous memory, but there an entry of one row times all entries of another has to
be loaded anew for each product, and what the products add up to stored. And it would rather gather and scatter single
numbers than make one vector of eight lanes in a loop over rows that are apart.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

from sstricks.ops.kernels.floats import LANES

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_BITS = ir.VectorType(ir.IntType(64), LANES)
_FLAGS = ("contract", "nsz")


class Lanes(types.Type):
    """The type of the value."""

    def __init__(self):
        super().__init__(name="Lanes")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _VECTOR)


_LANES = Lanes()


def _constant(x):
    return ir.Constant(_VECTOR, [x] * LANES)


def _place(context, builder, array_type, array, at):
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """An `intrinsic`, typed as what is called without the first argument."""
    return intrinsic(function)


@_instruction
def load(typing_context, array, at):
    """The lanes of an array of float64 from `at` on."""

    def code(context, builder, signature, args):
        return builder.load(_place(context, builder, signature.args[0], *args), typ=_VECTOR, align=8)

    return _LANES(array, types.uint64), code


@_instruction
def store(typing_context, array, at, lanes):
    """Write the lanes into an array of float64 from `at` on."""

    def code(context, builder, signature, args):
        builder.store(args[2], _place(context, builder, signature.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.none(array, types.uint64, _LANES), code


@_instruction
def filled(typing_context, number):
    """The same number in every lane."""

    def code(context, builder, signature, args):
        lanes = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            lanes = builder.insert_element(lanes, args[0], ir.Constant(ir.IntType(32), lane))
        return lanes

    return _LANES(types.float64), code


@_instruction
def power(typing_context, k):
    """2ᵏ for whole numbers k ≤ 0, and 0 from 2⁻⁹⁰⁰ down: adding 2⁵² leaves k + 1023 in the lowest bits.

    Products with smaller powers would be subnormal numbers, with which processors are a hundred times slower.
    """

    def code(context, builder, signature, args):
        least = builder.fcmp_ordered(">", args[0], _constant(-900.0))
        k = builder.select(least, args[0], _constant(-1023.0))
        bits = builder.bitcast(builder.fadd(k, _constant(2.0**52 + 1023.0)), _BITS)
        return builder.bitcast(builder.shl(bits, ir.Constant(_BITS, [52] * LANES)), _VECTOR)

    return _LANES(_LANES), code


@_instruction
def mantissa(typing_context, x):
    """The m in [1, 2) of x = m·2ᵉ, for x > 0."""

    def code(context, builder, signature, args):
        digits = builder.and_(builder.bitcast(args[0], _BITS), ir.Constant(_BITS, [(1 << 52) - 1] * LANES))
        return builder.bitcast(builder.or_(digits, ir.Constant(_BITS, [1023 << 52] * LANES)), _VECTOR)

    return _LANES(_LANES), code


@_instruction
def exponent(typing_context, x):
    """The e of x = m·2ᵉ, for x > 0: its bits + 1023 become the lowest ones of 2⁵² + e + 1023."""

    def code(context, builder, signature, args):
        shifted = builder.lshr(builder.bitcast(args[0], _BITS), ir.Constant(_BITS, [52] * LANES))
        bits = builder.or_(shifted, ir.Constant(_BITS, [1075 << 52] * LANES))
        return builder.fsub(builder.bitcast(bits, _VECTOR), _constant(2.0**52 + 1023.0))

    return _LANES(_LANES), code


@_instruction
def minus_abs(typing_context, x):
    """−|x|."""

    def code(context, builder, signature, args):
        sign = ir.Constant(_BITS, [-(1 << 63)] * LANES)
        return builder.bitcast(builder.or_(builder.bitcast(args[0], _BITS), sign), _VECTOR)

    return _LANES(_LANES), code


@_instruction
def choose(typing_context, sign, positive, otherwise):
    """In every lane one or the other, by the sign of the first."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], _constant(0.0)), args[1], args[2])

    return _LANES(_LANES, _LANES, _LANES), code


@_instruction
def larger(typing_context, x, y):
    """The larger number in every lane."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return _LANES(_LANES, _LANES), code


@_instruction
def transpose(typing_context, to, at, to_step, source, begin, step):
    """Write column by column what is read row by row: eight vectors, `step` or `to_step` float64 apart."""

    def code(context, builder, signature, args):
        def row(array, begin, step, k):
            index = builder.add(args[begin], builder.mul(args[step], ir.Constant(ir.IntType(64), k)))
            return _place(context, builder, signature.args[array], args[array], index)

        rows = [builder.load(row(3, 4, 5, k), typ=_VECTOR, align=8) for k in range(LANES)]
        apart = LANES
        while apart > 1:  # rows k and k + apart swap what lies off the diagonal of squares
            apart //= 2
            kept = [lane // apart % 2 == 0 for lane in range(LANES)]
            upper = [lane if kept[lane] else LANES + lane - apart for lane in range(LANES)]
            lower = [lane + apart if kept[lane] else LANES + lane for lane in range(LANES)]
            for k in (k for k in range(LANES) if kept[k]):
                pair = rows[k], rows[k + apart]
                for place, pattern in ((k, upper), (k + apart, lower)):
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), pattern)
                    rows[place] = builder.shuffle_vector(*pair, mask)
        for k in range(LANES):
            builder.store(rows[k], row(0, 1, 2, k), align=8)
        return context.get_dummy_value()

    return types.none(to, types.uint64, types.uint64, source, types.uint64, types.uint64), code


def _arithmetic(instruction):
    @_instruction
    def apply(typing_context, x, y):
        def code(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=_FLAGS)

        return _LANES(_LANES, _LANES), code

    return apply


_add, _subtract, _multiply, _divide = (_arithmetic(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


@overload(operator.add)
def _(x, y):
    return (lambda x, y: _add(x, y)) if isinstance(x, Lanes) else None


@overload(operator.sub)
def _(x, y):
    return (lambda x, y: _subtract(x, y)) if isinstance(x, Lanes) else None


@overload(operator.mul)
def _(x, y):
    return (lambda x, y: _multiply(x, y)) if isinstance(x, Lanes) else None


@overload(operator.truediv)
def _(x, y):
    return (lambda x, y: _divide(x, y)) if isinstance(x, Lanes) else None

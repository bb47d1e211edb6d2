"""Eight lanes moved as one vector.

Where a row's entries are apart in memory, a loop over its nodes and then over the lanes would be vectorised over the
nodes, by gathering and scattering single numbers, which took several times as long as the arithmetic.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from sstricks.ops.kernels.floats import LANES


@intrinsic
def copy_lanes(typing_context, to, at, source, begin):
    """Copy the lanes of `source` from `begin` on to those of `to` from `at` on; both hold float64."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.DoubleType(), LANES)

        def place(array, index):
            data = make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [args[index]]), vector.as_pointer())

        lanes = builder.load(place(2, 3), typ=vector, align=8)
        builder.store(lanes, place(0, 1), align=8)
        return context.get_dummy_value()

    return types.none(to, types.uint64, source, types.uint64), codegen

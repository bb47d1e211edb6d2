from typing import NamedTuple

from torch import Tensor


class Draw(NamedTuple):
    """One realisation of a random utility, with both things a trick makes of it. Each is (*sample, *batch, *event).

    Attributes:
        utility: U, in float32 where its parameters are in half precision, so that no two coordinates tie.
        relaxed: X_t, the soft argmax of U (eq. 6), in the dtype of the parameters; differentiable.
        discrete: X, the argmax of the same U (eq. 4), in the dtype of the parameters; without gradient.
    """

    utility: Tensor
    relaxed: Tensor
    discrete: Tensor

from typing import NamedTuple

from torch import Tensor


class Draw(NamedTuple):
    """One realisation of a random utility, with both things a trick makes of it. Each is (*sample, *batch, *event).

    Attributes:
        utility: U.
        relaxed: X_t, the soft argmax of U (eq. 6); differentiable.
        discrete: X, the argmax of the same U (eq. 4); without gradient.
    """

    utility: Tensor
    relaxed: Tensor
    discrete: Tensor

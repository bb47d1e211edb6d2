"""Kernels whose sums may be taken in any order take them in one order, wherever their arrays lie."""

import numpy as np
import pytest

from sstricks.ops.costs import BINARY
from sstricks.ops.kernels.matching import _passed_on
from sstricks.ops.kernels.separable import _capped_exp, _clip, _sigmoid, _slope

SIZES = [1, 4, 5, 15, 31, 32, 100]
FAR = 1000


def link(function):
    return lambda n, y, x: (*function(n, y, 0.1, x), x.tobytes())


def slope(n, x, s):
    return _slope(n, BINARY, x, s), s.tobytes()


def passed_on(n, d, share):
    rest = np.linspace(0.1, 0.9, 3 * n).reshape(3, n)
    lost_and_gained = _passed_on(n, d[None], 0, rest[0], rest[1], rest[2], rest[0] ** 2, share[None])
    return *lost_and_gained, share.tobytes()


FUNCTIONS = {"clip": link(_clip), "capped_exp": link(_capped_exp), "sigmoid": link(_sigmoid)} | {
    "slope": slope,
    "passed_on": passed_on,
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_neighbours_are_added_up_as_others_are(name: str, n: int):
    values = np.random.default_rng(n).uniform(size=(50, n))
    memory = np.empty(3 * n + 2 * FAR)
    for row in values:
        found = []
        for distance in (0, FAR):
            source, out = memory[:n], memory[n + distance : 2 * n + distance]
            source[:] = row
            found.append(FUNCTIONS[name](n, source, out))
        assert found[0] == found[1]

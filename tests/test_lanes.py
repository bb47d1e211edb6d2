"""The vectors of eight lanes that kernels are written in, against numpy."""

import numpy as np
from numba import njit

from sstricks.ops.kernels.floats import LANES
from sstricks.ops.kernels.lanes import (
    choose,
    exponent,
    filled,
    larger,
    load,
    mantissa,
    minus_abs,
    power,
    store,
    transpose,
)


@njit
def _transposed(source, to):
    transpose(to, 1, to.shape[1], source, 2, source.shape[1])


@njit
def _powers(k, out):
    for x in range(0, k.size, LANES):
        store(out, x, power(load(k, x)))


@njit
def _parts(x, m, e):
    for at in range(0, x.size, LANES):
        store(m, at, mantissa(load(x, at)))
        store(e, at, exponent(load(x, at)))


@njit
def _everything(x, y, out):
    a, b = load(x, 0), load(y, 0)
    results = (a + b, a - b, a * b, a / b, larger(a, b), minus_abs(a), choose(a, b, filled(7.5)))
    at = 0
    for result in results:
        store(out, at, result)
        at += LANES


def test_rows_become_columns_at_any_offset():
    source = np.arange(8 * 13, dtype=np.float64).reshape(8, 13)
    to = np.zeros((8, 11))
    _transposed(source, to)
    np.testing.assert_array_equal(to[:, 1:9], source[:, 2:10].T)
    assert (to[:, 0] == 0).all()
    assert (to[:, 9:] == 0).all()


def test_powers_of_two_end_in_zero():
    k = -np.concatenate([np.arange(1040.0), [2.0**52, 2.0**53, 1e300, 2e307] * 4])
    out = np.empty_like(k)
    _powers(k, out)
    exact = np.where(k > -900, np.ldexp(1.0, np.maximum(k, -1100).astype(int)), 0.0)
    np.testing.assert_array_equal(out, exact)


def test_mantissa_and_exponent_make_up_the_number():
    x = np.concatenate([np.ldexp([1.0, 1.5, 2.0 - 2.0**-52], k) for k in (-1022, -1, 0, 1, 52, 1023)] + [np.ones(6)])
    m, e = np.empty_like(x), np.empty_like(x)
    _parts(x, m, e)
    expected = np.frexp(x)
    np.testing.assert_array_equal(m, 2.0 * expected[0])
    np.testing.assert_array_equal(e, expected[1] - 1)


def test_arithmetic_is_numpys_in_every_lane():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, LANES))
    x[3] = 0.0
    out = np.empty(7 * LANES)
    _everything(x, y, out)
    expected = [x + y, x - y, x * y, x / y, np.maximum(x, y), -np.abs(x), np.where(x > 0, y, 7.5)]
    np.testing.assert_array_equal(out.reshape(7, LANES), expected)

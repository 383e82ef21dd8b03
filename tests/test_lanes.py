"""Eight floats at a time give the bits of one after the other."""

import numpy as np

from flea_lab.compiled import compiled
from flea_lab.lanes import LINE, WIDTH, bits, from_lane, in_lines, inverse, load, store
from flea_lab.signal.kernel import Floats


@compiled
def inverses(values: Floats, out: Floats) -> None:
    for i in range(0, values.shape[0], WIDTH):
        store(out, i, inverse(load(values, i)))


def test_an_inverse_is_the_division_to_the_bit() -> None:
    rng, n = np.random.default_rng(0), 8_192
    out = np.empty(n)
    for drawn in range(400):
        values = rng.integers(1, 2 ** int(rng.integers(1, 53)), n).astype(np.float64)
        if drawn % 4 == 1:  # about powers of two, where the last place changes its worth
            values = 2.0 ** rng.integers(6, 52, n) + rng.integers(-40, 40, n)
        if drawn % 4 == 2:  # an account's size
            values = 1e13 + rng.integers(-(10**12), 10**12, n)
        inverses(values, out)
        assert np.array_equal(out, 1.0 / values)


@compiled
def lanes_from(first: int) -> int:
    return bits(from_lane(first))


def test_lanes_from_one_on_are_those() -> None:
    assert [lanes_from(first) for first in range(WIDTH)] == [0b11111111 >> first << first for first in range(WIDTH)]


def test_what_is_in_lines_begins_with_one() -> None:
    for shape in ((1,), (3, 8), (2, 1, 1_032)):
        found = in_lines(shape, 0.5)
        assert found.ctypes.data % LINE == 0
        assert found.shape == shape
        assert found.flags.c_contiguous
        assert (found == 0.5).all()

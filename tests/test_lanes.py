"""Eight floats at a time give the bits of one after the other."""

import numpy as np

from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH, inverse, load, store
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

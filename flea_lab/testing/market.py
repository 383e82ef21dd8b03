"""The market on which the kernel law judges: synthetic, with everything that breaks kernels put in."""

import numpy as np

from flea_lab.data.synthetic import synth
from flea_lab.signal.kernel import FIELDS, Floats

N_BARS = 1_500


def law_bars(n_bars: int = N_BARS, seed: int = 7) -> Floats:
    """A synthetic market with what breaks kernels, shape `(n_bars, 7)`: a price that stands still with and without
    volume, single bars without volume, one-sided flow, jumps, funding that changes sign. Every field is finite."""
    frame = synth("mixed", np.random.default_rng(seed), n_bars)
    bars = np.empty((n_bars, len(FIELDS)))
    for column, name in enumerate(FIELDS[:-1]):
        bars[:, column] = frame[name].to_numpy(np.float64)
    prices, volume, bought = bars[:, :4], bars[:, 4], bars[:, 5]
    for at, length, quiet in ((n_bars // 4, 120, True), (n_bars // 2, 90, False)):
        prices[at : at + length] = prices[at, 3]
        if quiet:
            volume[at : at + length] = bought[at : at + length] = 0.0
    volume[17::97] = bought[17::97] = 0.0
    bought[n_bars // 3 : n_bars // 3 + 80] = volume[n_bars // 3 : n_bars // 3 + 80]
    bought[n_bars // 5 : n_bars // 5 + 80] = 0.0
    prices[3 * n_bars // 5 :] *= 1.3
    prices[4 * n_bars // 5 :] *= 0.5
    bars[:, 6] = np.repeat([1e-4, -3e-4, 0.0, 5e-4], -(-n_bars // 4))[:n_bars]
    return bars

"""The market on which the kernel law judges: synthetic, with everything that breaks kernels put in."""

import numpy as np

from flea_lab.data.synthetic import synth
from flea_lab.signal.kernel import FIELDS, N_PLAIN, Floats

N_BARS = 1_500


def law_bars(n_bars: int = N_BARS, seed: int = 7) -> Floats:
    """A synthetic market with what breaks kernels, shape `(n_bars, N_FIELDS)`: a price that stands still with and
    without volume, single bars without volume, one-sided flow, jumps, funding that changes sign; one-sided books, a
    spread that does not move and one that jumps, bars without prints. Every field is finite."""
    frame = synth("mixed", np.random.default_rng(seed), n_bars)
    bars = np.empty((n_bars, len(FIELDS)))
    for column, name in enumerate(FIELDS[: N_PLAIN - 1]):
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
    for name, values in _features(np.random.default_rng([seed, 1]), bars).items():
        bars[:, FIELDS.index(name)] = values
    return bars


def _features(rng: np.random.Generator, bars: Floats) -> dict[str, Floats]:
    """What the book, the prints and the funding of `bars` say."""
    n, volume, bought = len(bars), bars[:, 4], bars[:, 5]
    flow = np.divide(2.0 * bought - volume, volume, out=np.zeros(n), where=volume > 0.0)
    found = {
        "imbalance": np.clip(0.6 * flow + rng.normal(0.0, 0.3, n), -1.0, 1.0),
        "spread_bps": np.round(np.exp(rng.normal(0.0, 0.5, n)), 2) + 0.01,
        "trades": np.where(volume > 0.0, np.ceil(rng.gamma(2.0, 20.0, n)), 0.0),
        "vpin": np.clip(0.3 + 0.5 * np.abs(flow) + rng.normal(0.0, 0.05, n), 0.0, 1.0),
        "current_rate": np.roll(bars[:, 6], -n // 8) + rng.normal(0.0, 1e-4, n),
        "predicted_rate": 3.0 * np.roll(bars[:, 6], -n // 4),
        "hours_to_funding": 8.0 - (np.arange(n) % 480) / 60.0,
    }
    found["trade_imbalance"] = np.where(found["trades"] > 0.0, flow, 0.0)
    found["imbalance"][5::101], found["imbalance"][6::101] = 1.0, -1.0
    found["spread_bps"][n // 4 : n // 4 + 120] = 1.0
    found["spread_bps"][40::211] = 80.0
    return found

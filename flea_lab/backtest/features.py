"""The features of a market: how a config measures them, what its kernels need of them, and their array."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from flea_lab.config import Alphas, RunConfig
from flea_lab.data.features import Featured, FeatureSettings
from flea_lab.errors import ConfigError, DataError
from flea_lab.signal.kernel import FEATURES, N_FEATURES, Floats

Buckets = tuple[float, int] | None
"""Bucket size and window in which VPIN of the prints was measured; None where it was not."""


def feature_settings(config: RunConfig) -> dict[str, FeatureSettings]:
    """How the features of every symbol are measured, in research as live: VPIN as the guard on trades has it."""
    gate = config.risk.vpin
    on_trades = gate.source == "trades"
    return {
        symbol: FeatureSettings(
            funding_interval_h=config.instruments[symbol].funding_interval_h,
            bucket_volume=gate.bucket_volume[symbol] if on_trades else None,
            window=gate.window if on_trades else FeatureSettings().window,
        )
        for symbol in config.symbols
    }


def features_needed(config: RunConfig, alphas: Alphas) -> tuple[str, ...]:
    """The features that the kernels and guards of `config` cannot do without, each once.

    `ConfigError` where a kernel reads VPIN of the prints and the config does not say in which buckets.
    """
    on_trades = config.risk.vpin.source == "trades"
    for kernel in alphas.kernels:
        if "vpin" in kernel.inputs and not on_trades:
            raise ConfigError(
                f"{kernel.name} reads VPIN of the prints, measured only where risk.vpin.source is 'trades', "
                f"not {config.risk.vpin.source!r} (in {config.name!r})"
            )
    needed = {name for kernel in alphas.kernels for name in kernel.inputs}
    return tuple(name for name in FEATURES if name in needed or (name == "vpin" and on_trades))


def feature_array(
    config: RunConfig, open_ms: npt.NDArray[np.int64], features: Mapping[str, Featured]
) -> tuple[Floats, tuple[Buckets, ...]]:
    """Features of every bar `(n_symbols, n, N_FEATURES)`, or `(n_symbols, 1, N_FEATURES)` of NaN where there are none;
    and how VPIN of every symbol was measured. `DataError` for features measured otherwise than `config` does."""
    if not any(symbol in features for symbol in config.symbols):
        return np.full((len(config.symbols), 1, N_FEATURES), np.nan), (None,) * len(config.symbols)
    out = np.full((len(config.symbols), len(open_ms), N_FEATURES), np.nan)
    buckets: list[Buckets] = []
    for s, (symbol, asked) in enumerate(feature_settings(config).items()):
        if symbol not in features:
            buckets.append(None)
            continue
        frame, held = features[symbol]
        _check_measured(symbol, held, asked)
        buckets.append(None if held.bucket_volume is None else (held.bucket_volume, held.window))
        ts = frame["ts"].to_numpy(np.int64)
        at = np.minimum(np.searchsorted(open_ms, ts), len(open_ms) - 1)
        inside = open_ms[at] == ts
        out[s, at[inside]] = frame[list(FEATURES)].to_numpy(np.float64)[inside]
    return out, tuple(buckets)


def require_buckets(config: RunConfig, buckets: tuple[Buckets, ...]) -> None:
    """Refuses VPIN of the prints that was measured in other buckets than the guard of `config` asks for."""
    gate = config.risk.vpin
    if gate.source != "trades":
        return
    for symbol, held in zip(config.symbols, buckets, strict=True):
        asked = (gate.bucket_volume[symbol], gate.window)
        if held is not None and held != asked:
            raise DataError(
                f"VPIN of the prints of {symbol} was measured over {held[1]} buckets of {held[0]:g}, "
                f"config {config.name!r} asks for {asked[1]} of {asked[0]:g}: measure the features again"
            )


def _check_measured(symbol: str, held: FeatureSettings, asked: FeatureSettings) -> None:
    for name in ("levels", "fresh_s", "funding_interval_h"):
        if getattr(held, name) != getattr(asked, name):
            raise DataError(
                f"the features of {symbol} were measured with {name} = {getattr(held, name)}, "
                f"this config measures them with {getattr(asked, name)}: measure them again"
            )

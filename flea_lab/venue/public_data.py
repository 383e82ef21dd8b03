"""What a feed of public data is asked for, checked in one place for every such feed. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError
from flea_lab.model.market import INTERVAL_MS, MS_NS
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.speech import PUBLIC, Kind
from flea_lab.venue.stream import OnFault


class PublicData(NamedTuple):
    """Channels of symbols at one interval, by one dialect; `on_fault` hears of every frame that could not be used."""

    dialect: Dialect
    symbols: tuple[str, ...]
    interval: str
    clock: Clock
    channels: tuple[Kind, ...]
    on_fault: OnFault | None

    @property
    def step_ns(self) -> int:
        """The length of a bar."""
        return INTERVAL_MS[self.interval] * MS_NS


def public_data(
    dialect: Dialect,
    symbols: Sequence[str],
    interval: str,
    clock: Clock,
    *,
    channels: Sequence[Kind] | None = None,
    on_fault: OnFault | None = None,
) -> PublicData:
    """The wish, checked; candles and funding where no channels are named. `ConfigError` for what cannot be."""
    wanted: tuple[Kind, ...] = tuple(channels) if channels is not None else ("candle", "funding")
    if not wanted or not set(wanted) <= set(PUBLIC):
        raise ConfigError(f"channels {list(wanted)} must be among {', '.join(PUBLIC)}: only public data is read")
    if interval not in INTERVAL_MS:
        raise ConfigError(f"interval = {interval!r}: must be one of {', '.join(map(repr, INTERVAL_MS))}")
    if not symbols or len(set(symbols)) != len(symbols):
        raise ConfigError(f"symbols {list(symbols)} must be there, and different")
    streams = len(wanted) * len(symbols)
    if streams > dialect.subscriptions:
        what = f"{len(symbols)} symbols on {len(wanted)} channels are {streams} subscriptions"
        raise ConfigError(f"{what}, at most subscriptions = {dialect.subscriptions} may be")
    return PublicData(dialect, tuple(symbols), interval, clock, wanted, on_fault)

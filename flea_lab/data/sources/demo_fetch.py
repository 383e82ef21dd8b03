"""The demo's market from an exchange, if one answers at once; the demo never waits for the network, nor fails by it."""

import importlib.util
import os
import socket
import threading
from collections.abc import Sequence

from flea_lab.clock import Clock, Stopwatch
from flea_lab.data.dataset import Dataset
from flea_lab.data.frames import interval_ms
from flea_lab.data.sources.exchange import ExchangeSource, fetch
from flea_lab.data.store import CandleStore
from flea_lab.errors import FleaError

HOST = ("fapi.binance.com", 443)
VENUE = "binance_um"
ANSWER_S = 3.0
"""How long the exchange may take to answer at all."""

MOST_S = 20.0
"""How long all of it may take; what came in that time stays stored, and the demo runs on the synthetic market."""

DAYS = 14


def fetch_demo(
    store: CandleStore, symbols: Sequence[str], interval: str, clock: Clock, *, url: str | None = None
) -> bool:
    """Whether the last days of `symbols` are in the store now, fetched from Binance's futures.

    False, within seconds, where ccxt is not installed, FLEA_OFFLINE is 1, or nobody answers.
    """
    offline = os.environ.get("FLEA_OFFLINE") == "1" and url is None
    if offline or importlib.util.find_spec("ccxt") is None or not (url is not None or answers(HOST)):
        return False
    watch, now_ms = Stopwatch(), clock.now_ns() // 1_000_000
    end = now_ms // interval_ms(interval, "demo") * interval_ms(interval, "demo")
    start = end - DAYS * 86_400_000
    try:
        source = ExchangeSource(VENUE, clock, url=url, timeout_s=ANSWER_S)
        try:
            for symbol in symbols:
                fetch(store, source, symbol, interval, start, end, progress=lambda *_: _in_time(watch))
        finally:
            source.close()
        return all(store.info(Dataset(VENUE, symbol, interval)).last_ms >= end - 86_400_000 for symbol in symbols)
    except (FleaError, _TooLong):
        return False


class _TooLong(Exception):
    """The fetch takes longer than a demo may wait."""


def _in_time(watch: Stopwatch) -> None:
    if watch.elapsed_s() > MOST_S:
        raise _TooLong


def answers(address: tuple[str, int], within_s: float = ANSWER_S) -> bool:
    """Whether somebody takes a connection at `address` within `within_s`, the query of its name included."""
    found: list[bool] = []

    def ask() -> None:
        try:
            with socket.create_connection(address, timeout=within_s):
                found.append(True)
        except OSError:
            found.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(within_s)
    return found == [True]

"""Signatures for Hyperliquid are those that its own kit makes, for a key that everybody knows (extra `venues`)."""

import asyncio
import importlib.util

import pytest

from flea_lab.errors import ConfigError
from flea_lab.model.trading import Accepted
from flea_lab.secret import Secret
from flea_lab.venue import hyperliquid_signing
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from flea_lab.venue.hyperliquid_signing import signer
from tests.venue.benches import hyperliquid_bench

HERE = importlib.util.find_spec("ccxt") is not None
KEY = Secret("0x0123456789012345678901234567890123456789012345678901234567890123")

LIMIT = {"a": 1, "b": True, "p": "100", "s": "100", "r": False, "t": {"limit": {"tif": "Gtc"}}}
ORDER = {"type": "order", "orders": [LIMIT], "grouping": "na"}
NAMED = {"type": "order", "orders": [{**LIMIT, "c": "0x00000000000000000000000000000001"}], "grouping": "na"}

KNOWN = [
    (
        ORDER,
        "0xd65369825a9df5d80099e513cce430311d7d26ddf477f5b3a33d2806b100d78e",
        "0x2b54116ff64054968aa237c20ca9ff68000f977c93289157748a3162b6ea940e",
        28,
    ),
    (
        NAMED,
        "0x41ae18e8239a56cacbc5dad94d45d0b747e5da11ad564077fcac71277a946e3",
        "0x3c61f667e747404fe7eea8f90ab0e76cc12ce60270438b2058324681a00116da",
        27,
    ),
    (
        {"type": "scheduleCancel"},
        "0x6cdfb286702f5917e76cd9b3b8bf678fcc49aec194c02a73e6d4f16891195df9",
        "0x6557ac307fa05d25b8d61f21fb8a938e703b3d9bf575f6717ba21ec61261b2a0",
        27,
    ),
    (
        {"type": "scheduleCancel", "time": 123456789},
        "0x609cb20c737945d070716dcc696ba030e9976fcf5edad87afa7d877493109d55",
        "0x16c685d63b5c7a04512d73f183b3d7a00da5406ff1f8aad33f8ae2163bab758b",
        28,
    ),
]
"""Actions with nonce 0 on the main network, and their signatures by the exchange's Python kit (its signing tests)."""


@pytest.mark.skipif(not HERE, reason="ccxt is not installed: it comes with the extra `venues`")
@pytest.mark.parametrize(("action", "r", "s", "v"), KNOWN)
def test_a_signature_is_that_of_the_exchanges_own_kit(action: dict[str, object], r: str, s: str, v: int) -> None:
    signed = signer(KEY)(action, 0, None)
    assert (int(signed["r"], 16), int(signed["s"], 16), signed["v"]) == (int(r, 16), int(s, 16), v)


def test_without_the_extra_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ccxt", None)
    with pytest.raises(ConfigError, match="need the extra `venues`"):
        hyperliquid_signing.signer(KEY)


@pytest.mark.skipif(not HERE, reason="ccxt is not installed: it comes with the extra `venues`")
def test_an_order_that_is_really_signed_is_taken_by_the_stand_in() -> None:
    async def run() -> tuple[object, ...] | None:
        async with hyperliquid_bench() as bench:
            assert isinstance(bench.exchange, HyperliquidExchange)
            bench.exchange._sign = signer(KEY)
            return await bench.send(bench.order())

    said = asyncio.run(run())
    assert said is not None and isinstance(said[0], Accepted)

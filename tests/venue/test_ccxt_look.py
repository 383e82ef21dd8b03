"""No byte of an order leaves through ccxt after a halt: it is looked for when ccxt has waited, signed and connected."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.model.trading import Accepted, Rejected
from flea_lab.secret import Secret
from flea_lab.venue.ccxt_exchange import CcxtExchange
from flea_lab.venue.ccxt_library import make_exchange
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.one_in_flight import LooksLast
from tests.venue.published_runs import GRIDS, order
from tests.venue.test_last_look import listening

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed: the extra `venues`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

SYMBOL = "BTC/USDT:USDT"
MARKET = {
    "id": "BTCUSDT", "symbol": SYMBOL, "base": "BTC", "quote": "USDT", "settle": "USDT", "baseId": "BTC",
    "quoteId": "USDT", "type": "swap", "swap": True, "spot": False, "contract": True, "linear": True, "inverse": False,
    "future": False, "option": False, "margin": False, "active": True, "contractSize": 1.0,
    "info": {"orderTypes": ["LIMIT", "MARKET"]}, "limits": {}, "precision": {"amount": 1e-5, "price": 0.1},
}  # fmt: skip


@asynccontextmanager
async def the_exchange(url: str, throttled: asyncio.Event) -> AsyncIterator[CcxtExchange]:
    """The adapter over ccxt's own Binance, whose orders go to `url` and whose throttle waits for `throttled`."""
    spoken = load_dialect({"name": "ccxt:binanceusdm"}, "a test")
    real: Any = make_exchange(spoken)
    venue = CcxtExchange(spoken, Secret("key:secret"), {"BTCUSDT": GRIDS["BTCUSDT"]}, WallClock(), exchange=real)
    real.urls["api"] = dict.fromkeys(real.urls["api"], url)

    async def load_markets() -> Any:
        real.open()
        return real.set_markets([MARKET])

    async def throttle(cost: float | None = None) -> None:
        await throttled.wait()

    async def fetch_my_trades(symbol: str) -> list[Any]:
        return []

    real.load_markets, real.throttle, real.fetch_my_trades = load_markets, throttle, fetch_my_trades
    async with venue:
        yield venue


TAKEN = b'{"orderId":7,"symbol":"BTCUSDT","status":"NEW","clientOrderId":"run-1"}'


@pytest.mark.parametrize(("halts", "kind"), [(True, "market"), (True, "limit"), (False, "market")])
def test_a_halt_while_ccxt_waits_keeps_the_whole_order_back(halts: bool, kind: str) -> None:
    async def play() -> tuple[Any, bytes]:
        heard: list[bytes] = []
        throttled, halted = asyncio.Event(), False
        server, url = await listening(heard, TAKEN)
        async with the_exchange(url, throttled) as venue:
            venue.blocked = lambda: "halted" if halted else ""
            sending = asyncio.create_task(venue.send(order("run-1", order_type=kind)))
            await asyncio.sleep(0)
            halted = halts  # decided while the order stands in ccxt's own line
            throttled.set()
            [said] = await sending
            if halts:  # a question and a cancel still pass
                await venue._ask("cancel_order", "", SYMBOL, {"clientOrderId": "run-0"})
                assert b"".join(heard).startswith(b"DELETE ")
                heard.clear()
        server.close()
        return said, b"".join(heard)

    said, heard = asyncio.run(play())
    if halts:
        assert isinstance(said, Rejected) and not said.sent and said.reason == "not sent: halted"
        assert heard == b"", "not one byte"
    else:
        assert isinstance(said, Accepted) and said.venue_order_id == "7"
        assert heard.count(b"POST ") == 1 and b"newClientOrderId" in heard
        assert heard.lower().count(b"content-type: ") == 1


def test_a_halt_before_ccxt_is_asked_asks_nothing_of_it() -> None:
    async def play() -> Any:
        async with the_exchange("http://127.0.0.1:1", asyncio.Event()) as venue:  # a throttle that never lets go
            venue.blocked = lambda: "halted"
            return await venue.send(order("run-1"))

    [said] = asyncio.run(play())
    assert isinstance(said, Rejected) and not said.sent and said.reason == "not sent: halted"


def test_the_sender_tells_every_exchange_what_to_look_at_and_an_order_is_never_tried_again_by_ccxt() -> None:
    spoken = load_dialect({"name": "ccxt:binanceusdm", "options": {"maxRetriesOnFailure": 3}}, "a test")
    assert isinstance(CcxtExchange(spoken, Secret("key:secret"), {}, WallClock(), exchange=object()), LooksLast)
    assert make_exchange(spoken).options["maxRetriesOnFailure"] == 0

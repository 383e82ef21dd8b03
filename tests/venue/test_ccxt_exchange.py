"""Orders through ccxt: what its errors prove, which exchanges may be asked by our id, and the key in two parts."""

import asyncio
from typing import Any

import pytest

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.trading import Accepted, Rejected
from flea_lab.secret import Secret
from flea_lab.venue.ccxt_exchange import CcxtExchange
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.protocol import insufficient
from flea_lab.venue.reading import FrameError
from tests.venue import benches
from tests.venue.benches import BaseError, CcxtShaped, ccxt_bench
from tests.venue.published_runs import GRIDS, Hand


def kind(name: str, *above: type) -> type:
    return type(name, above or (BaseError,), {})


class AuthenticationError(BaseError): ...


@pytest.mark.parametrize(
    ("error", "proves"),
    [
        (kind("InsufficientFunds"), True),
        (kind("InvalidOrder"), True),
        (kind("BadSymbol", kind("BadRequest")), True),
        (kind("DuplicateOrderId", benches.InvalidOrder), False),
        (kind("RequestTimeout", benches.NetworkError), False),
        (kind("ExchangeNotAvailable", benches.NetworkError), False),
        (kind("ExchangeError"), False),
        (kind("OnMaintenance"), False),
        (kind("BadResponse"), False),
        (OSError, False),
    ],
)
def test_only_what_proves_that_nothing_was_taken_is_a_refusal(error: Any, proves: bool) -> None:
    async def run() -> Any:
        async with ccxt_bench() as bench:
            fake: CcxtShaped = bench.exchange._exchange  # type: ignore[attr-defined]

            async def create_order(*given: Any) -> Any:
                raise error("said the exchange, with key:secret in it")

            fake.create_order = create_order  # type: ignore[method-assign]
            return await bench.send(bench.order())

    said = asyncio.run(run())
    assert (said is not None) is proves
    assert said is None or isinstance(said[0], Rejected)


def test_a_key_that_is_refused_ends_it_and_a_defect_is_raised_as_it_is() -> None:
    async def run(error: Exception) -> Any:
        async with ccxt_bench() as bench:
            fake: CcxtShaped = bench.exchange._exchange  # type: ignore[attr-defined]

            async def create_order(*given: Any) -> Any:
                raise error

            fake.create_order = create_order  # type: ignore[method-assign]
            return await bench.exchange.send(bench.order())

    with pytest.raises(VenueRefusal, match="create_order: AuthenticationError"):
        asyncio.run(run(AuthenticationError("no")))
    with pytest.raises(KeyError):
        asyncio.run(run(KeyError("a defect of ours")))


def test_an_exchange_that_cannot_be_asked_by_our_id_is_said_to_be_short_of_it() -> None:
    async def run(name: str) -> tuple[str, ...]:
        async with ccxt_bench(name) as bench:
            return insufficient(bench.exchange.capabilities)

    assert asyncio.run(run("ccxt:okx")) == ()
    assert len(asyncio.run(run("ccxt:kraken"))) == 2


def test_a_size_that_is_no_lots_and_a_status_that_nobody_knows_are_not_believed() -> None:
    async def run(**row: Any) -> Any:
        async with ccxt_bench() as bench:
            order = bench.order(kind="limit", away=0.2)
            said = await bench.exchange.send(order)
            fake: CcxtShaped = bench.exchange._exchange  # type: ignore[attr-defined]
            real = fake._row
            fake._row = lambda one: real(one) | row  # type: ignore[method-assign]
            assert isinstance(said[0], Accepted)
            return await bench.exchange.order(order.client_order_id)

    with pytest.raises(FrameError, match=r"amount = 0.0100005: not a size in lots of 0.00001"):
        asyncio.run(run(amount=0.0100005))
    with pytest.raises(FrameError, match="status = resting: nobody knows what that is"):
        asyncio.run(run(status="resting"))
    assert asyncio.run(run(amount=0.01 + 1e-17)).lots == 1_000


@pytest.mark.parametrize("text", ["one", "a:b:c:d"])
def test_a_key_has_two_parts_or_three(text: str) -> None:
    async def run() -> None:
        fake = CcxtShaped(benches.Exchange({"BTC": 5}, {"BTC": "97000"}, Hand().now_ms))
        spoken = load_dialect({"name": "ccxt:okx"}, "a test")
        async with CcxtExchange(spoken, Secret(text), GRIDS, Hand(), exchange=fake):
            pass

    with pytest.raises(ConfigError, match="the key of an exchange of ccxt is apiKey:secret") as raised:
        asyncio.run(run())
    assert text not in str(raised.value) or text == "one"


def test_reading_that_fails_at_the_start_opens_nothing() -> None:
    async def run() -> None:
        fake = CcxtShaped(benches.Exchange({"BTC": 5, "ETH": 4}, {"BTC": "97000", "ETH": "1"}, Hand().now_ms))

        async def fetch_my_trades(symbol: str) -> Any:
            raise benches.NetworkError("away")

        fake.fetch_my_trades = fetch_my_trades  # type: ignore[method-assign]
        spoken = load_dialect({"name": "ccxt:okx"}, "a test")
        async with CcxtExchange(spoken, Secret("a:b"), GRIDS, Hand(), exchange=fake):
            pass

    with pytest.raises(VenueError, match="fetch_my_trades: NetworkError: away"):
        asyncio.run(run())


def test_a_position_in_a_symbol_that_is_not_traded_here_is_told() -> None:
    async def run() -> Any:
        async with ccxt_bench() as bench:
            fake: CcxtShaped = bench.exchange._exchange  # type: ignore[attr-defined]

            async def fetch_positions() -> list[dict[str, Any]]:
                return [{"symbol": "DOGE/USDT:USDT", "contracts": 3.5, "side": "short"}]

            fake.fetch_positions = fetch_positions  # type: ignore[method-assign]
            return (await bench.exchange.account()).lots

    assert asyncio.run(run()) == {"DOGE/USDT:USDT": -1}

"""Orders and questions against small venues that break every promise: what is never done twice, never shown."""

import asyncio
import traceback
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.market import Candle
from flea_lab.model.trading import Accepted, Cancelled, CancelOrder, CancelRejected, Filled, Rejected
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.rest import KeyRefused
from tests.venue.stand_in import (
    CANARY,
    GRID,
    T0,
    StandIn,
    Talk,
    candle_row,
    client_of,
    dialect_of,
    downs,
    fill_row,
    hear,
    order,
    order_row,
)

CANCEL = CancelOrder(client_order_id="run-1", symbol="BTCUSDT", ts_event=T0 * 1_000_000)


def send(answer: Any, command: Any = None, **values: Any) -> tuple[Any, StandIn]:
    """What `send` returns or raises when the venue answers so, and the venue."""
    command = command or order()
    path = "POST /orders" if command is not CANCEL else "DELETE /orders/run-1"
    venue = StandIn(**{path: answer})

    async def run() -> Any:
        async with venue.running() as address, client_of(address, values=values) as client:
            try:
                return await client.send(command)
            except VenueError as error:
                return error

    found = asyncio.run(run())
    assert venue.count(path) == 1  # whatever the answer: once
    return found, venue


async def hangs(request: Any) -> Any:
    await asyncio.sleep(1.0)
    return 201, {"order": order_row()}


def test_an_order_goes_out_in_exact_decimals() -> None:
    found, venue = send((201, {"order": order_row()}), order(order_type="limit", limit_price=96_999.9))
    assert found == (Accepted(client_order_id="run-1", ts_event=T0 * 1_000_000, venue_order_id="o-1"),)
    assert venue.bodies[-1] == (
        b'{"client_order_id":"run-1","symbol":"BTCUSDT","side":"buy","type":"limit","size":"0.010",'
        b'"limit_price":"96999.9","tif":"gtc"}'
    )
    assert venue.headers[-1]["X-API-Key"] == CANARY


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (None, "POST /orders: ServerDisconnectedError"),
        (hangs, "POST /orders: .*TimeoutError"),
        ((500, {"error": "internal_error", "message": "x"}), "answered 500 internal_error: x: the order's fate"),
        ((502, "<html>bad gateway</html>"), "answered 502 <html>bad gateway</html>: the order's fate is unknown"),
        ((429, {"error": "rate_limited", "message": "slow"}), "answered 429 rate_limited: slow: the order's fate"),
        ((400, "<html>"), "answered 400 <html>: the order's fate is unknown"),
        ((400, {"error": "trade_failed", "message": "is not valid JSON"}), "which leaves the order's fate open"),
        ((409, {"error": "client_order_id_conflict", "message": "other"}), "which leaves the order's fate open"),
        ((201, "garbage"), "order run-1: cannot be read"),
        ((201, {"order": order_row("other")}), "order run-1: the answer is about other"),
        ((302, "", {"Location": "/elsewhere"}), "answered 302: the order's fate is unknown"),
    ],
)
def test_an_order_whose_fate_is_unknown_is_never_sent_again(answer: Any, match: str) -> None:
    found, _ = send(answer)
    assert isinstance(found, VenueError) and not isinstance(found, VenueRefusal)
    with pytest.raises(VenueError, match=match):
        raise found


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_what_the_venue_refuses_in_its_own_words_is_rejected(status: int) -> None:
    found, _ = send((status, {"error": "below_minimum", "message": "at least 5 USD"}))
    assert found == (
        Rejected(client_order_id="run-1", ts_event=T0 * 1_000_000, reason="below_minimum: at least 5 USD"),
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_a_refusal(status: int) -> None:
    found, _ = send((status, {"error": "invalid_key", "message": f"unknown key {CANARY}"}))
    assert isinstance(found, VenueRefusal)
    with pytest.raises(VenueRefusal, match=r"invalid_key: unknown key \*\*\*: the key, or the way it is sent"):
        raise found


def test_a_venue_that_shuts_this_address_out_is_a_refusal() -> None:
    found, _ = send((418, "banned"))
    assert isinstance(found, VenueRefusal)
    with pytest.raises(VenueRefusal, match=r"POST /orders answered 418 banned: this address is shut out"):
        raise found


def test_after_a_429_orders_wait_as_long_as_the_venue_says_and_cancels_do_not() -> None:
    venue = StandIn(**{"POST /orders": (429, {"error": "slow"}, {"Retry-After": "14"})})

    async def run() -> tuple[float, Any, Any]:
        async with venue.running() as address, client_of(address) as client:
            with pytest.raises(VenueError, match="answered 429"):
                await client.send(order())
            return client.order_wait_s(), (await client.send(order()))[0], (await client.send(CANCEL))[0]

    wait_s, unsent, cancelled = asyncio.run(run())
    assert 13.0 < wait_s <= 14.0 * 1.1 and venue.count("POST /orders") == 1
    assert isinstance(unsent, Rejected) and not unsent.sent and "the venue's limits leave no order for" in unsent.reason
    assert not isinstance(cancelled, CancelRejected) or cancelled.sent, "the cancel left"
    assert venue.count("DELETE /orders/run-1") == 1


def test_an_order_that_provably_never_left_is_rejected() -> None:
    async def refused() -> Any:
        async with StandIn().running() as address:
            client = client_of(address)
        await client._rest.open()  # without the probe: nobody listens there any more
        try:
            said = r"GET /account: cannot connect to 127\.0\.0\.1:\d+: connection refused \(asked 5 times\)"
            with pytest.raises(VenueError, match=said):
                await client.account()
            return [await client.send(order()), await client.send(CANCEL)]
        finally:
            await client.__aexit__()

    [unsent], [uncancelled] = asyncio.run(refused())
    assert isinstance(unsent, Rejected) and unsent.reason.startswith("not sent: POST /orders: cannot connect to ")
    assert isinstance(uncancelled, CancelRejected) and uncancelled.reason.startswith("not sent: DELETE")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (order(order_type="twap"), "not sent: order run-1: order_type = 'twap': the venue takes market and limit"),
        (order("no spaces"), "not sent: order no spaces: a client order id has 1 to 64 of"),
        (order(lots=0), "not sent: order run-1: lots = 0: must be at least 1"),
        (order(symbol="DOGEUSDT"), "not sent: order run-1: DOGEUSDT has no instrument here"),
        (order(order_type="limit", limit_price=float("nan")), "not sent: price nan is not between 1 and"),
    ],
)
def test_an_order_that_the_wire_has_no_words_for_is_rejected_unsent(command: Any, reason: str) -> None:
    found, venue = ask(lambda client: client.send(command))
    assert venue.count("POST /orders") == 0
    assert isinstance(found[0], Rejected) and found[0].reason.startswith(reason)


def test_an_order_that_was_done_at_once_was_accepted_first() -> None:
    found, _ = send((201, {"order": order_row(status="cancelled")}))
    assert [type(report) for report in found] == [Accepted, Cancelled]
    found, _ = send((201, {"order": order_row(status="filled")}))
    assert [type(report) for report in found] == [Accepted, Filled]
    found, _ = send((200, {"order": order_row(status="rejected", reason="margin")}))
    assert [type(report) for report in found] == [Rejected]


def test_a_cancel_says_what_the_venue_said() -> None:
    found, _ = send((200, {"order": order_row(status="cancelled")}), CANCEL)
    assert found == (Cancelled(client_order_id="run-1", ts_event=T0 * 1_000_000, filled_lots=0),)
    found, _ = send((409, {"error": "order_not_open", "message": "filled"}), CANCEL)
    assert isinstance(found[0], CancelRejected) and found[0].reason == "order_not_open: filled"
    found, _ = send((500, "<html>"), CANCEL)
    assert isinstance(found, VenueError)


def ask(call: Any, **answers: Any) -> tuple[Any, StandIn]:
    venue = StandIn(**answers)

    async def run() -> Any:
        async with venue.running() as address, client_of(address, values={"page": 3}) as client:
            return await call(client)

    return asyncio.run(run()), venue


def test_a_question_is_asked_again_until_it_is_answered() -> None:
    page = {"candles": [candle_row(0)]}
    answers = [(200, {"candles": []}), (503, "<html>"), None, (429, "slow", {"Retry-After": "0"}), (200, page)]
    found, venue = ask(lambda c: c.history("BTCUSDT", None, 1), **{"GET /candles/BTCUSDT": answers})
    assert [candle.ts_event for candle in found] == [(T0 + 60_000) * 1_000_000]
    assert venue.count("GET /candles/BTCUSDT") == 5


def test_a_question_that_is_never_answered_says_how_often_it_was_asked() -> None:
    with pytest.raises(VenueError, match=r"GET /account answered 500 <html> \(asked 5 times\)"):
        ask(lambda c: c.account(), **{"GET /account": (500, "<html>")})


def test_history_comes_in_pages_and_holes_stay_holes() -> None:
    rows = [candle_row(minute) for minute in (0, 1, 2, 5, 6, 7, 8)]

    async def pages(request: Any) -> Any:
        start, limit = int(request.query.get("start", 0)), int(request.query["limit"])
        return 200, {"candles": [row for row in rows if row["t"] + 60_000 > start][:limit]}

    def minutes(found: list[Candle]) -> list[int]:
        return [(candle.ts_event // 1_000_000 - T0) // 60_000 - 1 for candle in found]

    answers = {"GET /candles/BTCUSDT": pages, "GET /health": (200, {"time": T0 + 540_000, "clock": "market"})}
    found, _ = ask(lambda c: c.history("BTCUSDT", T0 * 1_000_000, 100), **answers)
    assert minutes(found) == [0, 1, 2, 5, 6, 7, 8]
    found, _ = ask(lambda c: c.history("BTCUSDT", (T0 + 60_000) * 1_000_000, 5), **answers)
    assert minutes(found) == [1, 2, 5, 6, 7]
    found, _ = ask(lambda c: c.history("BTCUSDT", None, 6), **answers)
    assert minutes(found) == [1, 2, 5, 6, 7, 8]


def test_a_forming_bar_of_history_is_left_out() -> None:
    now_ms = WallClock().now_ns() // 1_000_000 // 60_000 * 60_000
    rows = [candle_row(0, t=now_ms - 60_000), candle_row(0, t=now_ms + 60_000)]
    found, _ = ask(lambda c: c.history("BTCUSDT", None, 2), **{"GET /candles/BTCUSDT": (200, {"candles": rows})})
    assert [candle.ts_event for candle in found] == [now_ms * 1_000_000]

    async def ahead(client: PurpleFlea) -> list[Candle]:
        await client.clock()
        return await client.history("BTCUSDT", None, 2)

    health = (200, {"time": now_ms + 120_000, "clock": "wall"})  # there, the bar is over
    found, _ = ask(ahead, **{"GET /candles/BTCUSDT": (200, {"candles": rows}), "GET /health": health})
    assert len(found) == 2


def test_the_account_is_read_to_the_micro_dollar_and_the_lot() -> None:
    row = {
        "cash": "99999.514999",
        "equity": "100000.000001",
        "fees_paid": "0.485001",
        "funding_paid": "-0.000001",
        "positions": [{"symbol": "BTCUSDT", "size": "-0.010"}],
        "seq": 12,
        "ts": T0,
    }
    found, _ = ask(lambda c: c.account(), **{"GET /account": (200, row)})
    assert (found.cash_uusd, found.equity_uusd) == (99_999_514_999, 100_000_000_001)
    assert (found.fees_uusd, found.funding_uusd, found.lots, found.seq) == (485_001, -1, {"BTCUSDT": -10}, 12)
    row["positions"] = [{"symbol": "DOGEUSDT", "size": "1"}]
    with pytest.raises(VenueError, match="account: DOGEUSDT: size: DOGEUSDT has no instrument here"):
        ask(lambda c: c.account(), **{"GET /account": (200, row)})


def test_only_the_venues_own_word_says_that_an_order_is_not_there() -> None:
    name = "GET /orders/run-1"
    found, _ = ask(lambda c: c.order("run-1"), **{name: (404, {"error": "order_not_found", "message": "x"})})
    assert found is None
    with pytest.raises(VenueError, match="GET /orders/run-1 answered 404 <html>"):
        ask(lambda c: c.order("run-1"), **{name: (404, "<html>")})
    found, _ = ask(lambda c: c.order("run-1"), **{name: (200, {"order": order_row(filled="0.004")})})
    assert (found.status, found.lots, found.filled_lots) == ("open", 10, 4)


def test_fills_settlements_instruments_and_the_clock_are_read() -> None:
    rows = {"fills": [fill_row(n, seq=n) for n in (3, 4)]}
    found, _ = ask(lambda c: c.fills(2), **{"GET /fills": (200, rows)})
    assert [(seq, fill.lots, fill.price_ticks, fill.fee_uusd) for seq, fill in found] == [
        (3, 10, 970_001, 485_001),
        (4, 10, 970_001, 485_001),
    ]
    rates = {"funding": [{"t": T0, "rate": 0.0001}]}
    found, _ = ask(lambda c: c.settlements("BTCUSDT", 0), **{"GET /funding/BTCUSDT": (200, rates)})
    assert [(funding.ts_event, funding.rate) for funding in found] == [(T0 * 1_000_000, 0.0001)]
    grids = {"instruments": [{"symbol": "BTCUSDT", "tick_size": "0.1", "lot_size": "0.001"}]}
    found, _ = ask(lambda c: c.instruments(), **{"GET /instruments": (200, grids)})
    assert found == {"BTCUSDT": GRID}
    found, _ = ask(
        lambda c: c.clock(), **{"GET /health": (200, {"time": T0, "clock": "market", "matching": "next_open"})}
    )
    assert (found.now_ns, found.kind, found.matching) == (T0 * 1_000_000, "market", "next_open")
    found, _ = ask(lambda c: c.cancel_all(), **{"DELETE /orders": [(500, "x"), (200, {"cancelled": []})]})
    assert found is None


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((404, "<html>not found</html>"), "answered 404 <html>not found</html>"),
        ((200, "<html>welcome</html>"), "candles BTCUSDT: cannot be read"),
        ((200, {"data": []}), "the answer holds no 'candles'"),
        ((200, {"candles": [[1, 2, 3, 4, 5]]}), "expected object, got array"),
        ((301, "", {"Location": "/"}), "answered 301"),
    ],
)
def test_a_venue_that_speaks_otherwise_is_a_dialect_mismatch(answer: Any, match: str) -> None:
    with pytest.raises(VenueRefusal, match=f"dialect mismatch: .* does not speak 'purpleflea-seed': .*{match}"):
        ask(lambda c: c.account(), **{"GET /candles/BTCUSDT": answer})


def test_a_key_that_is_refused_is_no_dialect_mismatch() -> None:
    said = r"^http://127\.0\.0\.1:\d+\S*: GET /candles/BTCUSDT answered 401 invalid_key: the key, or the way"
    with pytest.raises(KeyRefused, match=said):
        ask(lambda c: c.account(), **{"GET /candles/BTCUSDT": (401, {"error": "invalid_key"})})


def test_what_the_dialect_lacks_is_refused_and_a_closed_client_says_so() -> None:
    dialect = dialect_of("127.0.0.1:1", paths={"account": ""})
    client = PurpleFlea(dialect, None, ["BTCUSDT"], "1m", {}, WallClock())
    with pytest.raises(VenueRefusal, match="dialect 'purpleflea-seed' has no path for 'account'"):
        asyncio.run(client.account())
    with pytest.raises(ConfigError, match="the client is not open: use it in `async with`"):
        asyncio.run(client.clock())


def test_the_key_is_in_no_error_no_fault_and_no_repr() -> None:
    shown: list[str] = []

    async def echoes(talk: Talk) -> None:
        await talk.confirm()
        await talk.socket.send_str("x" * 70 + CANARY)
        await talk.socket.send_str('{"channel":"candle_1m","symbol":"' + "x" * 50 + CANARY)
        await talk.idle()

    async def run() -> None:
        venue = StandIn(echoes, **{"POST /orders": (401, "x" * 70 + CANARY), "GET /account": (500, "y" * 75 + CANARY)})
        async with venue.running() as address, client_of(address, on_fault=shown.append) as client:
            shown.append(repr(client) + repr(vars(client)) + repr(vars(client._rest)))
            heard = await hear(client, lambda heard: downs(heard))
            shown.extend(map(repr, heard))
            for asking in (client.send(order()), client.account()):
                try:
                    await asking
                except VenueError as error:
                    shown.append(repr(error) + "".join(traceback.format_exception(error)) + _chain(error))
            venue.upgrade_status = 401
            try:
                await hear(client, lambda _: False)
            except* VenueRefusal as group:
                shown.append(repr(group) + "".join(traceback.format_exception(group)) + _chain(group.exceptions[0]))

    asyncio.run(run())
    text = "\n".join(shown)
    assert "what the venue sent holds the key and is not shown" in text
    assert "pf_canary" not in text
    assert len(shown) == 8


def _chain(error: BaseException | None) -> str:
    text = ""
    while error is not None:
        text += repr(error) + repr(error.args) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return text


def test_a_secret_is_masked_wherever_python_could_show_it() -> None:
    secret = Secret(CANARY)
    assert f"{secret} {secret!r} {secret:>9}" == "*** Secret(***) ***"
    assert secret.reveal() == CANARY

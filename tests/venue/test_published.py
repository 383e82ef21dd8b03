"""The published server: nothing is doubled whatever it answers, and what proves nothing is told from what does."""

import asyncio
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import orjson
import pytest

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.trading import Accepted, Cancelled, CancelOrder, CancelRejected, Fill, Rejected
from flea_lab.testing.stand_in.hazards import GETS, INFOS, POSTS, STALL, Hazards, every
from flea_lab.venue import published, published_exchange
from flea_lab.venue.dialects import data_dialect, load_dialect
from flea_lab.venue.one_in_flight import OneInFlight
from flea_lab.venue.protocol import insufficient
from flea_lab.venue.published import Refusal, refusal_of
from tests.venue.published_runs import GRIDS, T0_NS, S, here, order, short_run

HALF = 0.5
"""Share of requests at which something goes wrong."""


def runs(seeds: range, hazards: Any = every) -> list[Any]:
    return [asyncio.run(short_run(seed, hazards(HALF, seed))) for seed in seeds]


def test_no_order_is_doubled_or_lost_whatever_the_server_answers() -> None:
    found = runs(range(15))
    assert [(run.seed, run.violations) for run in found if run.violations] == []
    outcomes = sum((run.outcomes for run in found), Counter[str]())
    assert outcomes["carried out"] > 40 and outcomes["indefinite"] > 20 and outcomes["definite"] > 2
    assert outcomes["never carried out"] > 0 and sum(run.restarts for run in found) > 5


@pytest.mark.slow
def test_three_hundred_runs_meet_every_hazard_and_double_nothing() -> None:
    found = runs(range(300))
    assert [(run.seed, run.violations) for run in found if run.violations] == []
    hazards = sum((run.hazards for run in found), Counter[str]())
    assert {*POSTS, *GETS, *INFOS} <= set(hazards)
    outcomes = sum((run.outcomes for run in found), Counter[str]())
    print(
        f"300 runs: {sum(run.intents for run in found)} intents, {sum(run.sent for run in found)} requests, {outcomes}"
    )


def refused_always(status: int, raw: bytes) -> Refusal:
    return Refusal(True, "a 400 is a refusal")


def test_the_oracle_sees_a_client_that_takes_every_error_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "refusal_of", refused_always)
    assert any("it was carried out" in text for run in runs(range(12)) for text in run.violations)


def test_the_oracle_sees_a_client_that_believes_at_once_that_nothing_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_exchange, "OneInFlight", lambda _: OneInFlight(0))
    late = Hazards(posts={"late": 0.6})
    assert any(asyncio.run(short_run(seed, late)).violations for seed in range(6))


# ---- what a refusal proves

DEFINITE = [
    (400, "invalid_request", ""),
    (400, "invalid_size", ""),
    (400, "invalid_side", ""),
    (400, "invalid_leverage", ""),
    (400, "position_too_large", ""),
    (400, "wallet_not_configured", ""),
    (400, "provide position_id", ""),
    (400, "trade_failed", "Market not found: XYZ"),
    (400, "trade_failed", "No price available for BTC"),
    (400, "trade_failed", "Max leverage for ATOM is 5x"),
    (400, "trade_failed", "Position size too small for BTC (min size: 0.000009999999999999999 units)"),
    (400, "trade_failed", "floatToWire causes rounding: 95475.50249999999"),
    (400, "trade_failed", "Order error: Price must be divisible by tick size. asset=0"),
    (400, "trade_failed", "Order error: Builder fee has not been approved."),
    (400, "close_failed", "Hyperliquid order rejected: no"),
    (401, "invalid_key", ""),
    (403, "daily_loss_limit_reached", ""),
    (404, "position_not_found", ""),
    (429, "rate_limited", "Too many requests. Limit: 30 per 60s"),
]
INDEFINITE = [
    (400, "invalid_json", ""),
    (400, "trade_failed", "Unexpected token '<', \"<html>\"... is not valid JSON"),
    (400, "trade_failed", "Cannot read properties of null (reading 'status')"),
    (400, "trade_failed", "fetch failed"),
    (400, "trade_failed", "Unexpected HL response"),
    (400, "trade_failed", "Order not filled (may have been placed as resting)"),
    (400, "trade_failed", "something new: Order error: "),
    (400, "close_failed", "No open position for BTC on Hyperliquid"),
    (400, "a_code_of_tomorrow", ""),
    (408, "invalid_request", ""),
    (500, "internal_error", ""),
    (500, "invalid_request", ""),
    (503, "trade_failed", "Market not found: XYZ"),
]


@pytest.mark.parametrize(("status", "code", "text"), DEFINITE)
def test_words_that_come_before_the_exchange_or_from_it_are_definite(status: int, code: str, text: str) -> None:
    assert refusal_of(status, orjson.dumps({"error": code, "message": text})).definite


@pytest.mark.parametrize(("status", "code", "text"), INDEFINITE)
def test_every_other_refusal_leaves_the_order_in_flight(status: int, code: str, text: str) -> None:
    assert not refusal_of(status, orjson.dumps({"error": code, "message": text})).definite


@pytest.mark.parametrize("raw", [b"", b"<html>502</html>", b"null", b'{"error":', b'{"message":"x"}', b"\xff\xfe"])
def test_a_refusal_that_cannot_be_read_proves_nothing(raw: bytes) -> None:
    assert not refusal_of(400, raw).definite


@pytest.mark.parametrize("ill", sorted(POSTS))
def test_each_outcome_of_a_request_is_what_it_is(ill: str) -> None:
    async def run() -> tuple[Any, int, int]:
        async with here(Hazards(posts={ill: 1.0})) as at, at.client() as venue:
            try:
                said: Any = await venue.send(order("run-1"))
            except VenueRefusal:
                raise
            except VenueError:
                said = None
            return said, len(at.server.carried_out), at.server.asked["POST /trade/open"]

    said, carried, sent = asyncio.run(run())
    assert sent == 1
    if ill in ("limited", "definite"):
        assert carried == 0 and [type(one) for one in said] == [Rejected] and "not sent" not in said[0].reason
    elif ill in ("no_id", "partial"):
        assert carried == 1 and [type(one) for one in said[:2]] == [Accepted, Fill]
    else:
        assert said is None and carried == (ill.startswith("after_"))


# ---- orders


def test_an_order_fills_for_a_little_less_than_asked_and_never_more() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            said = await venue.send(order("run-1", lots=10_000))
            state = await venue.order("run-1")
            return said, state, await venue.fills(0), await venue.account(), at.held("BTCUSDT"), venue.private_seq

    (accepted, fill, rest), state, fills, account, held, seq = asyncio.run(run())
    assert isinstance(accepted, Accepted) and accepted.venue_order_id == "1001"
    assert isinstance(fill, Fill) and fill.lots == held == 9_980 and fill.client_order_id == "run-1"
    assert isinstance(rest, Cancelled) and rest.filled_lots == 9_980
    assert (state.status, state.filled_lots) == ("cancelled", 9_980)
    assert [(n, one) for n, one in fills] == [(account.seq, fill)] and seq == account.seq
    assert account.lots == {"BTCUSDT": 9_980} and account.fees_uusd == fill.fee_uusd
    assert account.cash_uusd == 100_000_000_000 - fill.lots * fill.price_ticks - fill.fee_uusd


def test_an_order_of_the_whole_position_closes_its_row() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            await venue.send(order("run-1"))
            held = at.held("BTCUSDT")
            said = await venue.send(order("run-2", side="sell", lots=held))
            return said, at.held("BTCUSDT"), at.server.asked

    said, held, asked = asyncio.run(run())
    assert [type(one) for one in said] == [Accepted, Fill] and held == 0
    assert (asked["POST /trade/open"], asked["POST /trade/close"]) == (1, 1)


def test_without_a_row_a_position_is_left_by_an_opening_that_cannot_turn_it() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            await venue.send(order("run-1"))
            at.server.rows.clear()
            await venue.send(order("run-2", side="sell", lots=at.held("BTCUSDT")))
            return at.held("BTCUSDT"), at.server.asked

    held, asked = asyncio.run(run())
    assert 0 <= held <= 3 and asked["POST /trade/close"] == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"order_type": "limit"}, "limit orders are watched by the server itself"),
        ({"lots": 0}, "lots = 0"),
        ({"lots": 10}, "9.70 USD is below the smallest order of 10.02"),
        ({"symbol": "DOGEUSDT", "price_ticks": 1}, "DOGEUSDT is not traded here"),
        ({"reduce_only": True}, "reduce_only: the position is not larger"),
    ],
)
def test_what_the_server_has_no_safe_way_for_is_never_sent(given: dict[str, Any], reason: str) -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            [said] = await venue.send(order("run-1", **given))
            return said, at.server.asked["POST /trade/open"], at.server.asked["POST /trade/limit"]

    said, opened, limits = asyncio.run(run())
    assert isinstance(said, Rejected) and said.reason.startswith("not sent: ") and (opened, limits) == (0, 0)
    assert re.search(reason, said.reason), said.reason


def test_no_second_order_goes_while_one_is_in_flight() -> None:
    async def run() -> Any:
        async with here(Hazards(posts={"before_lost": 1.0})) as at, at.client() as venue:
            with pytest.raises(VenueError):
                await venue.send(order("run-1"))
            at.server.dice.quiet = True
            [said] = await venue.send(order("run-2", "ETHUSDT", lots=3_000))
            with pytest.raises(VenueError, match="does not show yet what became of it"):
                await venue.order("run-1")
            at.clock.ns += 61 * S
            gone = await venue.order("run-1")
            later = await venue.send(order("run-3", "ETHUSDT", lots=3_000))
            return said, gone, later, at.server.carried_out

    said, gone, later, carried = asyncio.run(run())
    assert "order run-1 is in flight, and one at a time may be" in said.reason and gone is None
    assert isinstance(later[0], Accepted) and len(carried) == 1


def test_a_halt_while_the_account_is_read_stops_the_order() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            venue.blocked = lambda: "halted" if at.server.asked["GET /markets/BTC/price"] else ""
            [said] = await venue.send(order("run-1"))
            return said, at.server.asked["POST /trade/open"]

    said, sent = asyncio.run(run())
    assert said.reason == "not sent: halted" and sent == 0


def test_a_halt_in_the_step_of_the_write_stops_the_order_and_nothing_is_in_flight() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            looks = iter(["", "halted"])
            venue.blocked = lambda: next(looks)
            [said] = await venue.send(order("run-1"))
            return said, at.server.asked["POST /trade/open"], venue._known.busy()

    said, sent, flying = asyncio.run(run())
    assert (said.reason, said.sent) == ("not sent: halted", False) and sent == 0 and not flying


def test_an_answer_that_never_comes_is_found_in_the_account() -> None:
    async def run() -> Any:
        async with here(Hazards(posts={STALL: 1.0})) as at, at.client(request_timeout_s=0.3) as venue:
            with pytest.raises(VenueError, match="TimeoutError"):
                await venue.send(order("run-1"))
            return await venue.order("run-1"), await venue.fills(0), at.held("BTCUSDT")

    state, [(_, fill)], held = asyncio.run(run())
    assert state.filled_lots == held == fill.lots and fill.client_order_id == "run-1"


def test_what_runs_while_an_order_is_in_flight_delivers_what_became_of_it() -> None:
    async def run() -> list[Any]:
        heard: list[Any] = []
        filled = asyncio.Event()

        def deliver(said: Any) -> None:
            heard.append(said)
            filled.set()

        async with here(Hazards(posts={"after_lost": 1.0})) as at, at.client() as venue:
            with pytest.raises(VenueError):
                await venue.send(order("run-1"))
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                running = group.create_task(venue.run(deliver))
                await filled.wait()
                running.cancel()
        return heard

    heard = asyncio.run(run())
    assert isinstance(heard[0], Fill) and heard[0].client_order_id == "run-1"


def test_a_bare_429_stops_orders_for_a_minute() -> None:
    async def run() -> Any:
        async with here(Hazards(posts={"limited": 1.0})) as at, at.client() as venue:
            [first] = await venue.send(order("run-1"))
            at.server.dice.quiet = True
            [second] = await venue.send(order("run-2"))
            return first, second, venue.order_wait_s(), at.server.asked["POST /trade/open"]

    first, second, wait_s, sent = asyncio.run(run())
    assert "rate_limited" in first.reason and "limits leave no order for" in second.reason
    assert 50.0 < wait_s <= 66.0 and sent == 1


def test_what_nobody_here_did_stops_orders_in_that_symbol() -> None:
    """A stop that the server fires, a liquidation, another client: the position is not what the fills explain."""

    async def run() -> Any:
        async with here() as at, at.client() as venue:
            await venue.send(order("run-1"))
            at.clock.ns += 5 * S
            at.exchange.place(at.server.address, "BTC", False, Decimal(96_000), Decimal("0.005"))
            refused = await venue.send(order("run-2"))
            other = await venue.send(order("run-3", "ETHUSDT", lots=3_000))
            return refused, other, await venue.fills(0)

    [refused], other, fills = asyncio.run(run())
    assert "the account holds 498 lots of BTCUSDT, 998 are explained" in refused.reason
    assert isinstance(other[0], Accepted) and [fill.client_order_id for _, fill in fills] == ["run-1", "run-3"]


def test_a_cancel_is_refused_and_cancel_all_takes_what_the_server_watches() -> None:
    async def run() -> Any:
        async with here() as at, at.client() as venue:
            cancel = CancelOrder(client_order_id="run-1", symbol="BTCUSDT", ts_event=T0_NS)
            [said] = await venue.send(cancel)
            await venue._rest.once(
                "POST",
                "/trade/limit",
                "order",
                body=b'{"coin":"BTC","side":"long","size_usd":100,"limit_price":90000}',
            )
            before = await venue.open_orders()
            await venue.cancel_all()
            return said, before, await venue.open_orders(), at.server.asked

    said, before, after, asked = asyncio.run(run())
    assert isinstance(said, CancelRejected) and [one.symbol for one in before] == ["BTCUSDT"] and after == []
    assert not any("close-all" in path or "check-" in path for path in asked)


@pytest.mark.parametrize("given", [{"tick_rule": True}, {"builder_fee": True}])
def test_a_server_that_the_exchange_refuses_trades_nothing_and_says_so(given: dict[str, bool]) -> None:
    async def run() -> Any:
        async with here(Hazards(**given)) as at, at.client() as venue:  # type: ignore[arg-type]
            at.exchange.move("BTC", "97003")
            at.exchange.move("ETH", "3201.7")
            reasons = [await venue.send(order(f"run-{n}", symbol)) for n, symbol in enumerate(GRIDS)]
            return reasons, at.server.carried_out

    reasons, carried = asyncio.run(run())
    assert carried == [] and all("trade_failed" in said[0].reason for said in reasons)


def test_a_key_that_is_refused_ends_it() -> None:
    async def run() -> None:
        async with here() as at, at.client() as venue:
            at.server.key = "sk_trade_other"
            await venue.send(order("run-1"))

    with pytest.raises(VenueRefusal, match="answered 401 invalid_key"):
        asyncio.run(run())


def test_the_profile_says_what_it_cannot_hold() -> None:
    async def run() -> tuple[str, ...]:
        async with here() as at:
            return insufficient(at.client().capabilities)

    reasons = asyncio.run(run())
    assert len(reasons) == 2 and "no id of ours" in reasons[0] and "cannot be asked for an order" in reasons[1]


def test_its_market_is_hyperliquids_by_the_same_symbols() -> None:
    dialect = load_dialect({"name": "purpleflea", "symbols": {"PEPEUSDT": "kPEPE"}}, "a test")
    data = data_dialect(dialect, "a test")
    assert (data.name, data.rest_url, data.theirs("PEPEUSDT")) == (
        "hyperliquid",
        "https://api.hyperliquid.xyz",
        "kPEPE",
    )
    with pytest.raises(ConfigError, match="data: is for 'purpleflea', not for 'hyperliquid'"):
        load_dialect({"name": "hyperliquid", "data": {"depth": 5}}, "a test")

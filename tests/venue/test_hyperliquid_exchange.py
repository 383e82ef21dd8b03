"""Orders at Hyperliquid: what goes onto the wire, what its answers prove, and whose executions are whose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson
import pytest

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.trading import Cancelled, CancelOrder, Fill, Filled, Rejected
from flea_lab.testing.bench import Bench
from flea_lab.venue import hyperliquid_orders as wire
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from flea_lab.venue.one_in_flight import LooksLast
from flea_lab.venue.reading import FrameError
from tests.venue.benches import hyperliquid_bench
from tests.venue.published_runs import GRIDS, T0_NS, order

GRID = GRIDS["BTCUSDT"]


def action(**given: Any) -> dict[str, Any]:
    [row] = wire.order_action(order("run-1", **given), 0, 5, GRID)["orders"]
    return dict(row)


def test_an_order_goes_out_on_the_exchanges_grid_with_our_id_hashed() -> None:
    row = action()
    assert (row["a"], row["b"], row["s"], row["r"]) == (0, True, "0.01", False)
    assert (row["p"], row["t"]) == ("97970", {"limit": {"tif": "Ioc"}})  # a hundredth above 97,000
    assert row["c"] == wire.cloid_of("run-1") and len(row["c"]) == 34
    tight = wire.order_action(order("run-1"), 0, 5, GRID, Decimal("0.001"))["orders"]
    assert tight[0]["p"] == "97097"  # a thousandth, where the collar is no wider
    sold = action(side="sell", order_type="limit", limit_price=97_123.4, reduce_only=True)
    assert (sold["p"], sold["r"], sold["t"]) == ("97124", True, {"limit": {"tif": "Gtc"}})


@pytest.mark.parametrize(
    ("given", "fault"),
    [({"lots": 0}, "lots = 0"), ({"lots": -3}, "lots = -3"), ({"order_type": "twap"}, "takes market and limit orders")],
)
def test_what_the_wire_has_no_words_for_is_refused_before_it_leaves(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(FrameError, match=fault):
        action(**given)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("open", "open"),
        ("triggered", "open"),
        ("filled", "filled"),
        ("canceled", "cancelled"),
        ("marginCanceled", "cancelled"),
        ("scheduledCancel", "cancelled"),
        ("perpMarginRejected", "rejected"),
        ("iocCancelRejected", "rejected"),
    ],
)
def test_every_status_that_is_known_has_one_word_of_ours(theirs: str, ours: str) -> None:
    assert wire.status_of(theirs) == ours


def test_a_status_that_nobody_knows_is_not_guessed_at() -> None:
    with pytest.raises(FrameError, match="status = partiallyEverything: nobody knows what that is"):
        wire.status_of("partiallyEverything")


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[]",
        b'"ok"',
        b'{"status":"ok"}',
        b'{"status":"ok","response":{"data":{"statuses":[]}}}',
        b"{",
        b"<html>",
    ],
)
def test_an_answer_that_is_none_proves_nothing(raw: bytes) -> None:
    with pytest.raises(FrameError):
        wire.placed(raw, "order run-1")


def test_a_refusal_in_either_place_is_one() -> None:
    whole = {"status": "err", "response": "Too many cumulative requests sent"}
    part = {"status": "ok", "response": {"type": "order", "data": {"statuses": [{"error": "Insufficient margin"}]}}}
    for told, text in ((whole, "Too many"), (part, "Insufficient")):
        with pytest.raises(wire.Refused, match=text):
            wire.placed(orjson.dumps(told), "order run-1")


@asynccontextmanager
async def venue_of() -> AsyncIterator[tuple[Bench, HyperliquidExchange]]:
    async with hyperliquid_bench() as bench:
        assert isinstance(bench.exchange, HyperliquidExchange)
        yield bench, bench.exchange


def test_a_halt_in_the_step_of_the_write_keeps_an_order_back() -> None:
    async def run() -> Any:
        async with venue_of() as (bench, venue):
            assert isinstance(venue, LooksLast)
            venue.blocked = lambda: "halted"
            [said] = await venue.send(bench.order())
            return said, bench.carried_out()

    said, carried = asyncio.run(run())
    assert (said.reason, said.sent) == ("not sent: halted", False) and not carried


def test_a_nonce_that_was_seen_leaves_the_order_unknown() -> None:
    async def run() -> Any:
        async with venue_of() as (bench, venue):
            await venue.send(bench.order())
            venue._nonce -= 1
            venue._clock.ns -= 10_000_000  # type: ignore[attr-defined]
            with pytest.raises(VenueError, match="a nonce was refused, which may have been taken before"):
                await venue.send(bench.order())
            return bench.carried_out()

    assert asyncio.run(run()) == 1


def test_what_was_not_given_here_is_listed_and_taken_back_and_its_fills_are_not_ours() -> None:
    async def run() -> Any:
        async with venue_of() as (bench, venue):
            exchange = bench.executions.__closure__[0].cell_contents  # type: ignore[union-attr]
            exchange.place("0xdesk", "BTC", True, Decimal(90_000), Decimal("0.01"), tif="Gtc")
            exchange.place("0xdesk", "BTC", True, Decimal(98_000), Decimal("0.01"))
            [foreign] = await venue.open_orders()
            await venue.cancel_all()
            return foreign, await venue.open_orders(), await venue.fills(0), await venue.account()

    foreign, left, fills, account = asyncio.run(run())
    assert foreign.client_order_id == "1001" and foreign.lots == 1_000 and left == []
    assert fills == [] and account.lots == {"BTCUSDT": 1_000} and account.seq


def test_after_a_restart_executions_are_known_by_the_names_that_are_handed_over() -> None:
    async def run() -> Any:
        async with venue_of() as (bench, venue):
            first = bench.order()
            await venue.send(first)
            [(_, fill)] = await venue.fills(0)
            again = HyperliquidExchange(venue.dialect, "0xdesk", venue._sign, GRIDS, venue._clock)
            async with again:
                before = await again.fills(0)
                again.adopt([], {fill.fill_id: first.client_order_id}, {}, 0)
                known = await again.fills(0)
                by_order = HyperliquidExchange(venue.dialect, "0xdesk", venue._sign, GRIDS, venue._clock)
                async with by_order:
                    by_order.adopt([first], {}, {}, 0)
                    return fill, before, known, await by_order.fills(0)

    fill, before, known, by_order = asyncio.run(run())
    assert before == [] and [one for _, one in known] == [fill] == [one for _, one in by_order]


def test_what_runs_tells_fills_and_ends_as_they_come() -> None:
    async def run() -> list[Any]:
        async with venue_of() as (bench, venue):
            exchange = bench.executions.__closure__[0].cell_contents  # type: ignore[union-attr]
            heard: list[Any] = []
            resting, other = bench.order(kind="limit", away=0.01), bench.order(kind="limit", away=0.2)
            await venue.send(resting)
            await venue.send(other)
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                running = group.create_task(venue.run(heard.append))
                exchange.move("BTC", "95000")
                while not any(isinstance(said, Filled) for said in heard):
                    await asyncio.sleep(0.001)
                await venue.cancel_all()
                while not any(isinstance(said, Cancelled) for said in heard):
                    await asyncio.sleep(0.001)
                running.cancel()
            return heard

    fill, filled, cancelled = asyncio.run(run())
    assert isinstance(fill, Fill) and fill.lots == 1_000 and fill.client_order_id == filled.client_order_id == "deck-1"
    assert (cancelled.client_order_id, cancelled.filled_lots) == ("deck-2", 0)


def test_a_cancel_of_what_is_not_there_is_refused_in_the_exchanges_words() -> None:
    async def run() -> Any:
        async with venue_of() as (_, venue):
            [said] = await venue.send(CancelOrder(client_order_id="never", symbol="BTCUSDT", ts_event=T0_NS))
            return said

    assert asyncio.run(run()).reason == "Order was never placed, already canceled, or filled."


def test_the_switch_takes_no_less_than_five_seconds_and_a_coin_must_be_there() -> None:
    async def run() -> Any:
        async with venue_of() as (bench, venue):
            with pytest.raises(VenueRefusal, match="takes 5 s or more, not 2"):
                await venue.dead_man(2.0)
            [said] = await venue.send(bench.order(symbol="DOGEUSDT"))
            grids = {**GRIDS, "DOGEUSDT": GRID}
            with pytest.raises(VenueRefusal, match="the venue has no coin DOGE"):
                async with HyperliquidExchange(venue.dialect, "0xdesk", venue._sign, grids, venue._clock):
                    pass
            return said

    said = asyncio.run(run())
    assert isinstance(said, Rejected) and "DOGEUSDT is not traded here" in said.reason

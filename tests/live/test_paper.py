"""The core behind a paper venue decides and pays what the replay of the same market does, to the bit."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.backtest.market import Market
from flea_lab.backtest.replay import bars
from flea_lab.config import RunConfig, alphas
from flea_lab.core import TradingCore
from flea_lab.decision import Recorder, digest
from flea_lab.errors import ConfigError, DataError, VenueError
from flea_lab.live.paper import PaperVenue
from flea_lab.live.paper_account import KEPT
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    CancelRejected,
    Fill,
    NewOrder,
    OrderIntent,
    OrderReport,
    Rejected,
)
from flea_lab.money import rate_e8
from flea_lab.venue.protocol import Deliver, Link, Said, VenueClock
from flea_lab.wiring import build_core, run_replay
from tests.backtest.tiny import MINUTE, NOON, Bar, config, tiny

USD = 1_000_000
MS = 1_000_000
STEP = MINUTE * MS
T0 = NOON * MS


class Script:
    """A feed that says what it was given, one thing at a time, each worked off before the next."""

    def __init__(self, said: Sequence[Said], past: Mapping[str, list[Candle]] | None = None) -> None:
        self.said, self.past = list(said), dict(past or {})
        self.settled: dict[str, list[Funding]] = {}
        self.acknowledged: list[int] = []
        self.worked_off: Callable[[], Awaitable[None]] | None = None

    async def run(self, deliver: Deliver) -> None:
        for one in self.said:
            deliver(one)
            if self.worked_off is not None:
                await self.worked_off()

    async def instruments(self) -> Mapping[str, Instrument]:
        return {"X": config().instruments["X"]}

    async def clock(self) -> VenueClock:
        return VenueClock(now_ns=7, kind="market")

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        return [candle for candle in self.past.get(symbol, []) if candle.ts_event > (start_ns or 0)][:count]

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        return [one for one in self.settled.get(symbol, []) if one.ts_event > start_ns]

    async def acknowledge(self, ts_event: int) -> None:
        self.acknowledged.append(ts_event)


def paper(feed: Script, run: RunConfig | None = None, **changes: Any) -> PaperVenue:
    run = run or config()
    given: dict[str, Any] = dict(
        fee_e8=rate_e8(run.costs.fee_bps),
        slippage_e8=rate_e8(run.costs.slippage_bps),
        cash_uusd=round(run.initial_cash_usd * USD),
        funding=run.costs.funding,
    )
    return PaperVenue(feed, run.instruments, run.interval_ms, **{**given, **changes})


def told(market: Market, *, early: bool = False) -> list[Said]:
    """The market as a feed tells it; `early`: settlements come before the candle that closes at their instant."""
    said: list[Said] = []
    last = 0
    for played in bars(market):
        at = last if early else len(said)
        said[at:at] = played.settled
        last = len(said)
        said += [*played.candles, Heartbeat(ts_event=int(market.close_ns[played.bar]))]
    return said


def drive(run: RunConfig, market: Market, venue: PaperVenue, feed: Script) -> tuple[TradingCore, Recorder, list[Fill]]:
    """The core behind the paper venue, every command sent and answered before the feed goes on."""
    core = build_core(run, alphas(run), int(market.close_ns[0]))
    recorder, fills, waiting = Recorder(run.symbols), list[Fill](), list[Said]()

    async def worked_off() -> None:
        while waiting:
            event = waiting.pop(0)
            if isinstance(event, Fill):
                fills.append(event)
            commands = core.on(event)
            recorder.on(commands)
            for command in commands:
                if isinstance(command, NewOrder | CancelOrder):
                    for report in await venue.send(command):
                        core.on(report)

    feed.worked_off = worked_off
    asyncio.run(venue.run(waiting.append))
    return core, recorder, fills


def busy(run: RunConfig, n: int = 240) -> Market:
    """Two symbols that trade on most bars, with holes in the second, and settlements on, inside and between bars."""

    def walk(seed: int, price: float, holes: set[int]) -> list[Bar]:
        state, rows = seed, []
        for i in range(n):
            state = (state * 1_103_515_245 + 12_345) % 2**31
            say = ((state >> 8) % 201 - 100) / 100.0
            open_ = price
            price = round(price * (1.0 + ((state >> 16) % 41 - 20) / 10_000.0), 2)
            if i not in holes:
                rows.append((i, open_, price, say if i % 3 else 0.0))
        return rows

    settled = [(k * 20 * MINUTE, 0.0001 * (k % 5 - 2)) for k in range(1, n // 20)]
    others = [(k * 30 * MINUTE + 7_000, 0.0002) for k in range(1, n // 30)]
    return tiny(
        run,
        {"X": walk(1, 100.0, set()), "Y": walk(2, 20.0, {50, 51, 52, 101, 180})},
        {"X": [*settled, (n // 2 * MINUTE + 30_000, 0.001)], "Y": sorted([*others, (51 * MINUTE, 0.003)])},
    )


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("funding", [False, True])
def test_decisions_fills_and_money_are_those_of_the_replay_to_the_bit(early: bool, funding: bool) -> None:
    costs = dict(fee_bps=5.0, slippage_bps=1.0, funding=funding)
    run = config(("X", "Y"), costs=costs, risk=dict(max_daily_loss=0.5))
    market = busy(run)
    seen, replayed = run_replay(run, market, 0)
    feed = Script(told(busy(config(("X", "Y"))), early=early))
    venue = paper(feed, run)
    core, recorder, fills = drive(run, market, venue, feed)
    assert len(seen.decisions) > 200 and len(seen.fills) > 100 and bool(seen.funding) is funding
    assert digest(recorder.decisions(), run.symbols) == digest(seen.decisions, run.symbols)
    assert [replace(fill, fill_id="") for fill in fills] == seen.fills
    theirs = asyncio.run(venue.account())
    assert core.ledger.cash_uusd == replayed.ledger.cash_uusd == theirs.cash_uusd == seen.cash[-1]
    assert core.ledger.book.tolist() == replayed.ledger.book.tolist()
    assert theirs.equity_uusd == seen.equity[-1]
    assert theirs.funding_uusd == sum(paid for _, _, _, paid in seen.funding)
    assert theirs.fees_uusd == sum(fill.fee_uusd for fill in seen.fills)
    assert theirs.seq == venue.private_seq == len(fills)
    last = list(enumerate(fills, start=1))[-10:]
    assert asyncio.run(venue.fills(last[0][0] - 1)) == last


def candle(bar: int, open_: float = 100.0, close: float = 100.0, *, symbol: str = "X", complete: bool = True) -> Candle:
    high, low = max(open_, close), min(open_, close)
    ts = T0 + (bar + 1) * STEP
    return Candle(
        symbol=symbol, ts_event=ts, ts_recv=ts, open=open_, high=high, low=low, close=close, volume=1.0,
        complete=complete,
    )  # fmt: skip


def order(name: str = "a", bar: int = 0, *, lots: int = 1_000, side: str = "buy", symbol: str = "X", **changes: Any):
    """An order given at the close of bar `bar`."""
    kind = changes.pop("order_type", "market")
    intent = OrderIntent(
        symbol=symbol,
        side=side,
        size_usd=100.0,
        order_type=kind,
        limit_price=changes.pop("limit_price", None),
        urgency="normal",
        signal_sources=("s",),
        ts_event=T0 + (bar + 1) * STEP,
        price_ticks=10_000,
        size_uusd=100 * USD,
        conviction=0.1,
    )
    return NewOrder(
        client_order_id=name, symbol=symbol, side=side, lots=lots, price_ticks=10_000, order_type=kind,
        ts_event=changes.pop("ts_event", intent.ts_event), intent=intent,
    )  # fmt: skip


def heard(venue: PaperVenue, feed: Script, *said: Said) -> list[Said]:
    """What the venue delivers while its feed says `said`."""
    feed.said, got = list(said), list[Said]()
    asyncio.run(venue.run(got.append))
    return got


def send(venue: PaperVenue, *commands: NewOrder | CancelOrder) -> list[tuple[OrderReport, ...]]:
    async def all_of_them() -> list[tuple[OrderReport, ...]]:
        return [await venue.send(command) for command in commands]

    return asyncio.run(all_of_them())


def begun(**changes: Any) -> tuple[PaperVenue, Script]:
    feed = Script([])
    venue = paper(feed, **changes)
    heard(venue, feed, candle(0))
    return venue, feed


def kinds(said: Sequence[Said]) -> list[str]:
    return [type(one).__name__ for one in said]


def test_the_fill_comes_before_the_candle_whose_open_it_has() -> None:
    venue, feed = begun()
    [(accepted,)] = send(venue, order())
    assert accepted == Accepted(client_order_id="a", ts_event=T0 + STEP)
    fill, bar = heard(venue, feed, candle(1, 101.0, 102.0))
    assert isinstance(fill, Fill) and bar == candle(1, 101.0, 102.0)
    assert (fill.price_ticks, fill.reference_ticks, fill.ts_event, fill.fill_id) == (10_100, 10_100, T0 + STEP, "a:0t")
    assert kinds(heard(venue, feed, candle(2))) == ["Candle"]


def test_a_forming_candle_brings_the_open_too_and_marks_nothing() -> None:
    venue, feed = begun()
    send(venue, order())
    assert kinds(heard(venue, feed, candle(1, 101.0, 150.0, complete=False))) == ["Fill", "Candle"]
    account = asyncio.run(venue.account())
    assert account.equity_uusd == account.cash_uusd + 100 * USD
    assert kinds(heard(venue, feed, candle(1, 101.0, 150.0))) == ["Candle"]
    assert asyncio.run(venue.account()).equity_uusd == account.cash_uusd + 150 * USD


def test_an_order_never_fills_at_an_open_before_it_was_given() -> None:
    venue, feed = begun()
    send(venue, order(ts_event=T0 + STEP + 1))
    assert kinds(heard(venue, feed, candle(1, complete=False), candle(1))) == ["Candle", "Candle"]
    assert kinds(heard(venue, feed, candle(2))) == ["Fill", "Candle"]


def test_an_order_waits_for_its_own_symbol() -> None:
    run = config(("X", "Y"))
    feed = Script([])
    venue = paper(feed, run)
    send(venue, order(), order("b", symbol="Y"))
    got = heard(venue, feed, candle(1), Heartbeat(ts_event=T0 + 2 * STEP), candle(2), candle(2, symbol="Y"))
    assert kinds(got) == ["Fill", "Candle", "Heartbeat", "Candle", "Fill", "Candle"]


def test_the_same_order_twice_is_one_order() -> None:
    venue, feed = begun()
    first, second = send(venue, order(), order())
    assert first == second
    assert kinds(heard(venue, feed, candle(1))) == ["Fill", "Candle"]
    assert send(venue, order()) == [(Accepted(client_order_id="a", ts_event=T0 + STEP),)]
    assert kinds(heard(venue, feed, candle(2))) == ["Candle"]
    [(refused,)] = send(venue, order(lots=2))
    assert isinstance(refused, Rejected) and refused.reason == "client_order_id_conflict"


def test_what_cannot_be_an_order_is_rejected() -> None:
    venue, _ = begun()
    (unknown,), (empty,) = send(venue, order(symbol="Z"), order(lots=0))
    assert isinstance(unknown, Rejected) and unknown.reason == "unknown_symbol Z"
    assert isinstance(empty, Rejected) and empty.reason == "invalid_size"
    assert asyncio.run(venue.order("a")) is None


def test_a_cancel_is_answered_by_what_became_of_the_order() -> None:
    venue, feed = begun()
    cancel = CancelOrder(client_order_id="a", symbol="X", ts_event=T0 + STEP)
    [(unknown,)] = send(venue, cancel)
    assert isinstance(unknown, CancelRejected) and unknown.reason == "order_not_found"
    gone = Cancelled(client_order_id="a", ts_event=T0 + STEP)
    assert send(venue, order(), cancel, order()) == [
        (Accepted(client_order_id="a", ts_event=T0 + STEP),), (gone,), (gone,),
    ]  # fmt: skip
    assert kinds(heard(venue, feed, candle(1))) == ["Candle"]
    [(late,)] = send(venue, cancel)
    assert isinstance(late, CancelRejected) and late.reason == "order_not_open, cancelled"
    assert venue.private_seq == 0


def test_cancel_all_takes_every_open_order_off_and_says_so() -> None:
    venue, feed = begun()
    send(venue, order(), order("b"))
    feed.said, got = [Heartbeat(ts_event=T0 + STEP)], list[Said]()
    feed.worked_off = venue.cancel_all
    asyncio.run(venue.run(got.append))
    feed.worked_off = None
    assert kinds(got) == ["Heartbeat", "Cancelled", "Cancelled"]
    assert venue.private_seq == 2
    assert asyncio.run(venue.open_orders()) == []
    state = asyncio.run(venue.order("b"))
    assert state is not None and state.status == "cancelled"


def test_open_orders_and_states_are_told_with_what_is_filled() -> None:
    venue, feed = begun()
    send(venue, order(), order("b", bar=7))
    heard(venue, feed, candle(1))
    filled, [resting] = asyncio.run(venue.order("a")), asyncio.run(venue.open_orders())
    assert filled is not None and (filled.status, filled.filled_lots, filled.lots) == ("filled", 1_000, 1_000)
    assert (resting.client_order_id, resting.status, resting.filled_lots) == ("b", "open", 0)


def test_everything_else_passes_and_another_accounts_reports_do_not() -> None:
    venue, feed = begun()
    foreign = Funding(symbol="Z", ts_event=T0, ts_recv=T0, rate=0.5)
    trade = Trade(symbol="X", ts_event=T0, ts_recv=T0, price=1.0, qty=1.0, side="buy")
    link = Link(up=False, ts_recv=5, reason="gone")
    said = [link, foreign, trade, candle(3, symbol="Z"), candle(1)]
    assert heard(venue, feed, Accepted(client_order_id="real", ts_event=1), *said) == said
    asyncio.run(venue.acknowledge(9))
    assert feed.acknowledged == [9]
    assert asyncio.run(venue.clock()) == VenueClock(now_ns=7, kind="market", matching="next_open")
    assert list(asyncio.run(venue.instruments())) == ["X"]


def test_a_settlement_told_twice_is_paid_once() -> None:
    venue, feed = begun()
    send(venue, order())
    paid = Funding(symbol="X", ts_event=T0 + 2 * STEP, ts_recv=0, rate=0.01)
    heard(venue, feed, candle(1), paid, paid, candle(2))
    assert asyncio.run(venue.account()).funding_uusd == USD


def test_a_saved_account_goes_on_as_if_it_had_never_stopped() -> None:
    bar = [candle(i, 100.0 + i, 101.0 + i) for i in range(6)]
    paid = Funding(symbol="X", ts_event=T0 + 3 * STEP, ts_recv=0, rate=0.01)
    venue, feed = begun()
    send(venue, order(), order("later", bar=3, lots=7, side="sell"))
    heard(venue, feed, bar[1])
    saved = json.loads(json.dumps(venue.state()))
    heard(venue, feed, bar[2], paid, *bar[3:])

    again_feed = Script([], {"X": bar})
    again_feed.settled = {"X": [paid]}
    again = paper(again_feed)
    again.restore(saved)
    assert again.private_seq == 0 and again.state() == saved
    whole = asyncio.run(venue.account())
    assert whole.lots == {"X": 993} and whole.funding_uusd == 1_030_000
    assert asyncio.run(again.account()) == replace(whole, ts_event=T0 + 2 * STEP)
    assert venue.private_seq == 2, "the first heard both"
    assert again.private_seq == 0, "nobody listened to the second: it is asked"
    assert asyncio.run(again.fills(1)) == asyncio.run(venue.fills(1))
    assert asyncio.run(again.fills(0)) == asyncio.run(venue.fills(0))
    assert again.private_seq == 2, "what was told is heard"
    assert again.state()["orders"] == venue.state()["orders"]


def test_a_lost_connection_is_made_up_for_before_the_account_is_told() -> None:
    venue, feed = begun()
    send(venue, order())
    feed.past = {"X": [candle(0), candle(1, 105.0, 106.0), candle(2, 107.0, 108.0)]}
    assert kinds(heard(venue, feed, Link(up=True, ts_recv=1))) == ["Link"]
    account = asyncio.run(venue.account())
    assert (account.seq, venue.private_seq) == (1, 0)
    [(seq, fill)] = asyncio.run(venue.fills(0))
    assert (seq, fill.price_ticks) == (1, 10_500)
    assert account.equity_uusd == account.cash_uusd + 108 * USD
    assert kinds(heard(venue, feed, candle(2, 107.0, 108.0), candle(3))) == ["Candle", "Candle"]
    assert asyncio.run(venue.account()).seq == 1


def test_a_state_of_another_account_is_refused_and_changes_nothing() -> None:
    venue, feed = begun()
    send(venue, order())
    heard(venue, feed, candle(1))
    before = venue.state()
    coarse = config(grid={"tick_size": "0.05", "lot_size": "0.001"})
    with pytest.raises(DataError, match="the saved paper account holds X on another grid of ticks and lots"):
        paper(feed, coarse).restore(before)
    with pytest.raises(DataError, match="the saved paper account holds X, traded are X, Y"):
        paper(feed, config(("X", "Y"))).restore(before)
    with pytest.raises(
        DataError, match=r"the saved paper account cannot be read: expected `int`, got `str`.*cash_uusd"
    ):
        venue.restore({**before, "cash_uusd": "much"})
    with pytest.raises(DataError, match="the saved paper account cannot be read: object missing required field"):
        venue.restore({})
    assert venue.state() == before


def test_changes_tell_when_there_is_something_to_save() -> None:
    venue, feed = begun()
    at = venue.changes
    heard(venue, feed, candle(1), Heartbeat(ts_event=T0 + 2 * STEP))
    assert venue.changes == at
    send(venue, order(bar=1))
    heard(venue, feed, candle(2))
    assert venue.changes == at + 2
    heard(venue, feed, Funding(symbol="X", ts_event=T0 + 3 * STEP, ts_recv=0, rate=0.01))
    assert venue.changes == at + 3


def test_old_orders_and_fills_are_forgotten_and_asking_for_them_says_so() -> None:
    venue, feed = begun()
    for i in range(KEPT + 5):
        send(venue, order(f"o{i}", bar=i, lots=1))
        heard(venue, feed, candle(i + 1))
    assert asyncio.run(venue.order("o4")) is None
    assert asyncio.run(venue.order("o5")) is not None
    assert len(asyncio.run(venue.fills(5))) == KEPT
    with pytest.raises(VenueError, match=f"fills after 4: the paper venue keeps {KEPT}, those after 5"):
        asyncio.run(venue.fills(4))
    again = paper(feed)
    again.restore(json.loads(json.dumps(venue.state())))
    assert len(asyncio.run(again.fills(5))) == KEPT


def book(second: int, bid: float, ask: float, lots: float = 1.0) -> BookSnapshot:
    ts = T0 + STEP + second * 1_000 * MS
    bids, asks = ((bid, lots), (bid - 1, 9.0)), ((ask, lots), (ask + 1, 9.0))
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=None, bids=bids, asks=asks)


def test_against_a_book_a_market_order_walks_the_levels_once_latency_is_over() -> None:
    venue, feed = begun(matching="book", fee_e8=rate_e8(5.0), latency_ns=500 * MS)
    send(venue, order(lots=1_500))
    got = heard(venue, feed, book(0, 99.0, 100.0), book(1, 99.0, 100.0), candle(1, 200.0, 200.0))
    assert kinds(got) == ["BookSnapshot", "BookSnapshot", "Fill", "Fill", "Candle"]
    assert [(one.lots, one.price_ticks, one.fill_id) for one in got if isinstance(one, Fill)] == [
        (1_000, 10_000, "a:0t"),
        (500, 10_100, "a:1000t"),
    ]
    account = asyncio.run(venue.account())
    assert account.lots == {"X": 1_500}
    assert account.cash_uusd == 10_000 * USD - 150_500_000 - account.fees_uusd
    assert account.fees_uusd == 75_250
    assert asyncio.run(venue.clock()).matching == "book"


def test_against_a_book_a_limit_order_rests_and_is_a_maker_at_the_makers_fee() -> None:
    venue, feed = begun(matching="book", fee_e8=rate_e8(5.0), maker_fee_e8=rate_e8(1.0), queue_ahead=0.0)
    heard(venue, feed, book(0, 99.0, 101.0))
    send(venue, order(order_type="limit", limit_price=100.0), order("own", order_type="limit", lots=5))
    ts = T0 + STEP + 2_000 * MS
    trade = Trade(symbol="X", ts_event=ts, ts_recv=ts, price=100.0, qty=0.4, side="sell")
    _, fill = heard(venue, feed, trade)
    assert isinstance(fill, Fill) and (fill.lots, fill.price_ticks, fill.fee_uusd) == (400, 10_000, 4_000)
    assert [one.filled_lots for one in asyncio.run(venue.open_orders())] == [400, 0]
    cancel = CancelOrder(client_order_id="a", symbol="X", ts_event=ts)
    assert send(venue, cancel) == [(Cancelled(client_order_id="a", ts_event=ts),)]


def test_a_saved_order_goes_on_against_the_book_with_what_is_left_of_it() -> None:
    venue, feed = begun(matching="book", queue_ahead=0.0)
    heard(venue, feed, book(0, 99.0, 101.0))
    send(venue, order(order_type="limit", limit_price=100.0))
    ts = T0 + STEP + 2_000 * MS
    heard(venue, feed, Trade(symbol="X", ts_event=ts, ts_recv=ts, price=100.0, qty=0.4, side="sell"))
    again = paper(feed, matching="book", queue_ahead=0.0)
    again.restore(json.loads(json.dumps(venue.state())))
    got = heard(again, feed, book(3, 98.0, 99.0, lots=5.0))
    assert [(one.lots, one.fill_id) for one in got if isinstance(one, Fill)] == [(600, "a:400t")]
    assert asyncio.run(again.open_orders()) == []


def test_a_faulty_or_late_book_trades_nothing_and_passes() -> None:
    venue, feed = begun(matching="book")
    send(venue, order())
    crossed, empty = book(1, 102.0, 101.0), replace(book(1, 99.0, 101.0), asks=())
    got = heard(venue, feed, crossed, empty, book(2, 99.0, 101.0), book(1, 50.0, 51.0))
    assert kinds(got) == ["BookSnapshot", "BookSnapshot", "BookSnapshot", "Fill", "BookSnapshot"]


def test_changes_of_a_book_are_not_enough_to_match_against() -> None:
    venue, feed = begun(matching="book")
    delta = BookDelta(symbol="X", ts_event=T0, ts_recv=T0, prev_seq=1, seq=2)
    with pytest.raises(VenueError, match="paper matching of X needs whole books, the feed sends changes of one"):
        heard(venue, feed, delta)
    venue, feed = begun()
    assert heard(venue, feed, delta) == [delta]


def test_settings_of_the_book_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"queue_ahead \(2.0\) must be a share of 1"):
        begun(matching="book", queue_ahead=2.0)

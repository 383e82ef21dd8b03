"""The client against a sandbox that does what venues do when they fail: each fault by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flea_lab.clock import WallClock
from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import book_rules
from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.sandbox.faults import FaultSettings
from flea_lab.sandbox.server import SandboxServer
from flea_lab.secret import Secret
from flea_lab.settings import load_settings
from flea_lab.venue.bars import Bars, Owed
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.heard import Skew
from flea_lab.venue.protocol import Link, Played, Said
from tests.sandbox.stages import GRID, MINUTE, T0, a_playlist, a_stage
from tests.venue.hyperliquid_stand_in import Hand
from tests.venue.stand_in import QUICK, StandIn, Talk, candle_row, client_of, downs, hear

BARS = 12
QUIET = {**QUICK, "quiet_s": 0.3, "steady_s": 0.0, "acknowledge_within_s": 0.5, "backoff_first_s": 0.005}


class Met:
    """What a client heard of a sandbox with faults."""

    def __init__(self) -> None:
        self.heard: list[Said] = []
        self.faults: list[str] = []
        self.counts: dict[str, int] = {}
        self.refused: set[tuple[str, str]] = set()

    def of(self, kind: type) -> list[Any]:
        return [said for said in self.heard if isinstance(said, kind)]

    def minutes(self, symbol: str = "X") -> list[int]:
        """Numbers of the complete bars of a symbol in the order in which they came."""
        bars = [one for one in self.of(Candle) if one.complete and one.symbol == symbol]
        return [(candle.ts_event // MS_NS - T0) // MINUTE - 1 for candle in bars]

    def closes(self) -> dict[int, float]:
        """The close of every bar of X as it was told first."""
        found: dict[int, float] = {}
        for minute, candle in zip(self.minutes(), [c for c in self.of(Candle) if c.complete and c.symbol == "X"],
                                  strict=True):  # fmt: skip
            found.setdefault(minute, candle.close)
        return found


TRUE = {minute: 100.5 + minute for minute in range(BARS)}


def met(rules: dict[str, Any], *, dialect: dict[str, Any] | None = None, catch_up: bool = True, within_s: float = 8.0,
        settings: dict[str, Any] | None = None, **given: Any) -> Met:  # fmt: skip
    """A whole recorded market heard through `rules`, in lockstep; after every connect history is asked, as by a bot."""
    found = Met()

    async def run() -> None:
        faults = load_settings({"seed": 7, "faults": rules}, FaultSettings, "a test")
        options = {"matching": "book", "steps": 4, "levels": 5, **(settings or {})}
        server = SandboxServer(a_stage(a_playlist(BARS), faults=faults, **options), WallClock())
        async with asyncio.timeout(within_s), server.running() as url:
            opened = server.open_account("a", 1_000.0)
            assert isinstance(opened, tuple)
            values = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws", **QUIET, **(dialect or {})}
            symbols = given.pop("symbols", ["X", "Y"])
            client = PurpleFlea(
                load_dialect(values, "a test"), Secret(opened[0]), symbols, "1m", dict.fromkeys(symbols, GRID),
                WallClock(), channels=given.pop("channels", ("candle", "book", "trades", "funding")), ack=True,
                on_fault=found.faults.append, **given,
            )  # fmt: skip
            async with client:
                await listen(client, found, catch_up)
                found.refused = client.refused
        found.counts = server.faults.counts

    asyncio.run(run())
    return found


async def listen(client: PurpleFlea, found: Met, catch_up: bool) -> None:
    queue: asyncio.Queue[Said] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(client.run(queue.put_nowait))
        last_ns = beat_ns = 0
        up = False
        while True:
            said = await queue.get()
            if isinstance(said, Link):
                up = said.up
            if isinstance(said, Link) and said.up and catch_up and last_ns:
                for symbol in ("X", "Y"):
                    found.heard += await client.history(symbol, last_ns, 100)
            found.heard.append(said)
            if isinstance(said, Candle) and said.complete:
                last_ns = max(last_ns, said.ts_event)
            if isinstance(said, Heartbeat):
                beat_ns = said.ts_event
                last_ns = last_ns or beat_ns
            if up and isinstance(said, Heartbeat | Link):
                await client.acknowledge(beat_ns)
            if isinstance(said, Played):
                break
        reading.cancel()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flea_lab.venue.stream.OFF_S", 0.2)


@pytest.mark.parametrize("kind", ["close_1000", "close_1001", "reset", "silence", "deaf"])
def test_however_a_connection_ends_it_is_found_and_every_bar_is_told(kind: str) -> None:
    at = [40] if kind == "deaf" else [40, 90]
    found = met({kind: {"at": at}}, dialect={"ping_s": 0.4})
    assert found.counts == {kind: len(at)} and len(downs(found.heard)) == len(at)
    assert found.closes() == TRUE and sorted(set(found.minutes("Y"))) == list(range(BARS))


def test_a_silent_lockstep_is_told_from_one_that_waits_for_us() -> None:
    found = met({"silence": {"at": [40]}})
    assert downs(found.heard)[0].startswith("no frame for 0.5")

    async def dawdle() -> list[Said]:
        server = SandboxServer(a_stage(a_playlist(BARS)), WallClock())
        async with server.running() as url:
            key = server.open_account("a", 1_000.0)[0]  # type: ignore[index]
            values = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws", **QUIET, "quiet_s": 0.05}
            client = PurpleFlea(load_dialect(values, "a test"), Secret(key), ["X"], "1m", {"X": GRID}, WallClock(),
                                ack=True)  # fmt: skip
            heard: list[Said] = []
            async with client, asyncio.TaskGroup() as group:
                running = group.create_task(client.run(heard.append))
                await asyncio.sleep(0.4)  # we owe the answer
                await client.acknowledge(heard[-1].ts_event)  # type: ignore[union-attr]
                await asyncio.sleep(0.1)
                other = server.audience.connections[0]
                other.acking = False  # nobody is waited for: the market stands, and owes nothing
                await asyncio.sleep(0.4)
                running.cancel()
            return heard

    assert downs(asyncio.run(dawdle())) == []


def test_an_upgrade_that_is_refused_for_now_is_tried_again_and_one_for_good_is_not() -> None:
    found = met({"upgrade_429": {"at": [1]}, "upgrade_503": {"at": [2]}})
    assert downs(found.heard) == [f"websocket upgrade answered {status}" for status in (429, 503)]
    assert found.closes() == TRUE
    for kind in ("upgrade_401", "upgrade_403"):
        with pytest.raises(ExceptionGroup) as raised:
            met({kind: {"at": [1]}})
        assert "the key, or the way it is sent, is refused" in repr(raised.value)


def test_a_subscription_that_is_not_confirmed_is_no_link() -> None:
    found = met({"half_acknowledged": {"at": [1]}}, channels=("candle",))
    assert downs(found.heard) == ["not acknowledged within 0.5 s: candle_1m Y"]
    assert found.closes() == TRUE
    found = met({"unacknowledged": {"at": [1]}})
    assert downs(found.heard) == [] and found.closes() == TRUE


def test_one_symbol_that_is_refused_leaves_the_rest_where_that_is_allowed() -> None:
    found = met({}, symbols=["X", "NONE"], partial=True, channels=("candle", "trades"), catch_up=False)
    assert found.refused == {("candle_1m", "NONE"), ("trades", "NONE")}
    assert found.closes() == TRUE and downs(found.heard) == []
    assert [text for text in found.faults if "goes on without" in text] == [
        "goes on without candle_1m NONE", "goes on without trades NONE",
    ]  # fmt: skip
    found = met({"half_acknowledged": {"every": 1}}, channels=("candle",), partial=True, catch_up=False)
    assert found.refused == {("candle_1m", "Y")} and found.closes() == TRUE
    with pytest.raises(ExceptionGroup) as raised:
        met({}, symbols=["X", "NONE"])
    assert "subscription refused: unknown_symbol" in repr(raised.value)
    with pytest.raises((ExceptionGroup, VenueRefusal)):
        met({}, symbols=["NONE"], partial=True)


@pytest.mark.parametrize("kind", ["gap", "duplicate", "out_of_order"])
def test_what_the_numbers_show_is_said_and_no_bar_is_lost(kind: str) -> None:
    found = met({kind: {"probability": 0.05}})
    assert found.counts[kind] > 5 and any(": seq = " in text for text in found.faults)
    assert found.closes() == TRUE
    ids = [trade.trade_id for trade in found.of(Trade) if trade.symbol == "X"]
    assert len(ids) == len(set(ids))  # none twice, one that was late is kept


@pytest.mark.parametrize(
    "kind", ["partial_resent", "missing_minute", "late_correction", "complete_omitted", "late_close", "time_seconds"]
)
def test_candles_are_whole_whatever_is_done_to_them(kind: str) -> None:
    found = met({kind: {"probability": 0.3}})
    assert found.counts[kind] >= 3
    assert found.closes() == TRUE and sorted(set(found.minutes("Y"))) == list(range(BARS))
    firsts = list(dict.fromkeys(found.minutes()))
    assert firsts == sorted(firsts)


def test_a_missing_minute_is_there_before_its_heartbeat() -> None:
    found = met({"missing_minute": {"at": [5]}}, channels=("candle",))
    assert downs(found.heard) == [] and "1 candles of X did not come, history has them" in found.faults
    for place, said in enumerate(found.heard):
        if isinstance(said, Heartbeat) and said.ts_event > T0 * MS_NS:
            told = {
                one.symbol for one in found.heard[:place] if isinstance(one, Candle) and one.ts_event == said.ts_event
            }
            assert told == {"X", "Y"}


@pytest.mark.parametrize("kind", ["price_spike", "price_zero", "price_negative", "price_nan"])
def test_no_impossible_price_is_believed(kind: str) -> None:
    found = met({kind: {"probability": 0.08}})
    assert found.counts[kind] > 3 and len(found.faults) >= 3
    assert found.closes() == TRUE
    assert all(90.0 < trade.price < 250.0 for trade in found.of(Trade))
    assert all(90.0 < book.bids[0][0] < 250.0 for book in found.of(BookSnapshot))
    forming = [candle for candle in found.of(Candle) if not candle.complete]
    assert all(np.isfinite(candle.close) for candle in forming)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("kind", ["book_crossed", "book_empty", "book_zero", "book_deep", "book_unsorted", "gap"])
def test_a_book_with_a_fault_cannot_be_read_until_it_is_whole_again(kind: str, delta: bool) -> None:
    values = {"book": "delta" if delta else "snapshot"}
    found = met({kind: {"probability": 0.1}}, dialect=values, channels=("book",), catch_up=False)
    clean = met({}, dialect=values, channels=("book",), catch_up=False)
    truth = {(one.symbol, one.ts_event): one for one in met({}, channels=("book",)).of(BookSnapshot)}
    assert clean.faults == [] and found.counts[kind] > 3
    syncs = {symbol: BookSync(symbol, book_rules("seed")) for symbol in ("X", "Y")}
    told: list[Any] = []
    for said in found.heard:
        if isinstance(said, BookSnapshot | BookDelta):
            told += [one for one in syncs[said.symbol].on(said) if isinstance(one, Finding)]
            book = syncs[said.symbol].book
            if book is not None and kind in ("gap", "book_deep"):
                true = truth[book.symbol, book.ts_event]
                assert (book.bids[:5], book.asks[:5]) == (true.bids, true.asks)
    assert told or found.faults


def test_strings_are_numbers_too() -> None:
    found = met({"book_strings": {"every": 2}}, channels=("book",))
    assert found.counts["book_strings"] > 10 and found.faults == []
    assert all(isinstance(book.bids[0][0], float) for book in found.of(BookSnapshot))


@pytest.mark.parametrize("kind", ["frozen", "time_regress"])
def test_freshness_is_by_the_venues_time_and_by_channel(kind: str) -> None:
    ages: list[float | None] = []

    async def run() -> None:
        rule = {"at": [9], "lasts": 400} if kind == "frozen" else {"at": [9]}
        faults = load_settings({"faults": {kind: rule}}, FaultSettings, "a test")
        stage = a_stage(a_playlist(BARS), matching="book", steps=4, faults=faults)
        server = SandboxServer(stage, WallClock())
        async with asyncio.timeout(8), server.running() as url:
            key = server.open_account("a", 1_000.0)[0]  # type: ignore[index]
            values = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws", **QUIET}
            client = PurpleFlea(load_dialect(values, "a test"), Secret(key), ["X"], "1m", {"X": GRID}, WallClock(),
                                channels=("book",), ack=True)  # fmt: skip
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            tasks: set[asyncio.Task[None]] = set()

            def hear_it(said: Said) -> None:
                if isinstance(said, Heartbeat):
                    ages.append(client.freshness("book", "X", said.ts_event))
                    assert client.freshness("trades", "X", said.ts_event) is None
                    tasks.add(loop.create_task(client.acknowledge(said.ts_event)))
                elif isinstance(said, Played):
                    over.set()

            async with client, asyncio.TaskGroup() as group:
                running = group.create_task(client.run(hear_it))
                await over.wait()
                running.cancel()
            await asyncio.gather(*tasks)

    asyncio.run(run())
    known = [age for age in ages if age is not None]
    if kind == "frozen":
        assert known[-1] > 400.0 and known == sorted(known)
    else:
        assert max(known) <= 60.0


def test_a_clock_that_is_off_is_said_once_and_measured() -> None:
    skew = Skew(2.0)
    for n in range(30):
        skew.note(n * 10**9, n * 10**9 + 50_000_000)
    assert skew.complaint() == "" and skew.ahead_ns() == 50_000_000
    for n in range(90):
        skew.note(n * 10**9, (n - 5) * 10**9)
    assert skew.complaint() == "the venue's clock is +5.0 s off this machine's, at most 2 s may be"
    assert skew.complaint() == "" and skew.ahead_ns() == -5_000_000_000
    recorded = Skew(2.0)
    for n in range(50):
        recorded.note(n, n + 10**17)
    assert recorded.ahead_ns() is None and recorded.complaint() == ""


@pytest.mark.parametrize("seconds", [5.0, -5.0])
def test_a_venue_whose_stamps_are_seconds_off_is_complained_of(seconds: float) -> None:
    hand = Hand()

    async def stamps(talk: Talk) -> None:
        await talk.confirm()
        for number in range(120):
            hand.go_on(12)
            now_ms = hand.ns // MS_NS + round(seconds * 1_000)
            trade = {"price": 100.0, "size": 1.0, "side": "buy", "ts": now_ms, "id": number}
            await talk.say(channel="trades", symbol="BTCUSDT", seq=number, ts=now_ms, data=trade)
            await asyncio.sleep(0.012)
        await talk.idle()

    async def run() -> tuple[list[str], float | None]:
        faults: list[str] = []
        async with (
            StandIn(stamps).running() as address,
            client_of(address, channels=("trades",), on_fault=faults.append, clock=hand) as client,
        ):
            await hear(client, lambda heard: len(heard) > 120)
            return faults, client.skew_s

    faults, skew_s = asyncio.run(run())
    assert skew_s == pytest.approx(seconds, abs=0.5)
    assert len(faults) == 1 and f"the venue's clock is {seconds:+.1f} s off" in faults[0]


def test_a_burst_of_20000_trades_is_heard_whole_while_bars_go_on() -> None:
    found = met({"burst": {"at": [5]}}, channels=("candle", "trades"), within_s=20.0)
    assert found.counts == {"burst": 1} and downs(found.heard) == [] and found.closes() == TRUE
    trades = [trade.trade_id for trade in found.of(Trade)]
    assert len(trades) > 20_000 and not [text for text in found.faults if "seq" in text]


@pytest.mark.parametrize("kind", ["rest_429", "rest_429_bare", "rest_500", "rest_502", "rest_503", "rest_outage"])
def test_questions_outlast_what_rest_does(kind: str) -> None:
    found = met({kind: {"at": [3]}, "close_1000": {"at": [60]}})
    assert found.counts == {"close_1000": 1, kind: 1} and found.closes() == TRUE


def test_a_bar_that_leaps_is_believed_once_history_agrees() -> None:
    async def leaps(talk: Talk) -> None:
        await talk.confirm()
        for minute, close in enumerate([97_000.0, 970_000.0, 96_990.0]):
            row = candle_row(minute, close, h=max(97_100.0, close), complete=True)
            await talk.say(channel="candle_1m", symbol="BTCUSDT", seq=minute, data=row)
        await talk.say(event="played", ts=candle_row(3)["t"])
        await talk.idle()

    async def run(history: list[dict[str, Any]]) -> list[float]:
        venue = StandIn(leaps, **{"GET /candles/BTCUSDT": (200, {"candles": history})})
        async with venue.running() as address, client_of(address) as client:
            heard = await hear(client, lambda heard: isinstance(heard[-1], Played))
            return [said.close for said in heard if isinstance(said, Candle)]

    true = candle_row(1, 970_000.0, h=970_000.0)
    assert asyncio.run(run([true])) == [97_000.0, 970_000.0]  # the way back is asked about too, and history has none
    assert asyncio.run(run([candle_row(1, 97_001.0)])) == [97_000.0, 97_001.0, 96_990.0]
    assert asyncio.run(run([])) == [97_000.0, 96_990.0]


def test_bars_are_owed_once() -> None:
    def bar(symbol: str, minute: int, complete: bool = True) -> Candle:
        price = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
        return Candle(symbol=symbol, ts_event=minute, ts_recv=0, complete=complete, **price)

    bars = Bars(("X", "Y"), 1)
    assert bars.owed(Heartbeat(ts_event=5)) == []
    bars.told(bar("X", 6))
    assert bars.owed(Heartbeat(ts_event=6)) == [Owed("Y", 5, 6)]
    assert bars.owed(Heartbeat(ts_event=6)) == []
    assert bars.owed(bar("X", 8, complete=False)) == [Owed("X", 6, 7)]
    assert bars.owed(bar("X", 8)) == []


def test_a_server_that_accepts_and_closes_is_met_at_most_20_times_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async def minute() -> tuple[int, float]:
        times: list[float] = []
        virtual = 0.0
        sleep, loop = asyncio.sleep, asyncio.get_running_loop()

        async def quickly(delay: float, result: Any = None) -> Any:
            nonlocal virtual
            virtual += delay
            await sleep(0)
            return result

        async def closes(talk: Talk) -> None:
            await talk.subscription()
            times.append(loop.time() + virtual)
            await talk.socket.close()

        values = {"backoff_first_s": 0.25, "backoff_last_s": 30.0, "connects_per_minute": 20, "steady_s": 10.0}
        async with StandIn(closes).running() as address, client_of(address, values=values) as client:
            stream_time = loop.time
            monkeypatch.setattr(loop, "time", lambda: stream_time() + virtual, raising=False)
            monkeypatch.setattr("flea_lab.venue.stream.asyncio.sleep", quickly)
            try:
                await hear(client, lambda heard: len(heard) >= 45, timeout_s=1e6)
            finally:
                monkeypatch.undo()
        worst = max(sum(first <= at < first + 60.0 for at in times) for first in times)
        return worst, times[-1] - times[0]

    worst, took_s = asyncio.run(minute())
    assert worst <= 20 and took_s > 100.0


Until = Callable[[list[Said]], bool]


def test_unsettled_funding_is_told_as_what_it_is() -> None:
    async def tells(talk: Talk) -> None:
        await talk.confirm()
        row = {"rate": 1e-4, "settled": False, "predicted_rate": 2e-4}
        await talk.say(channel="funding", symbol="BTCUSDT", seq=1, ts=T0, data=row)
        await talk.say(event="played", ts=T0)
        await talk.idle()

    async def run() -> list[Said]:
        async with StandIn(tells).running() as address, client_of(address) as client:
            return await hear(client, lambda heard: isinstance(heard[-1], Played))

    states = [(said.state, said.rate) for said in asyncio.run(run()) if isinstance(said, Funding)]
    assert states == [("current", 1e-4), ("predicted", 2e-4)]


def test_a_venue_that_will_not_say_what_is_missing_takes_the_link_down() -> None:
    async def skips(talk: Talk) -> None:
        await talk.confirm()
        for minute in (0, 2):
            row = candle_row(minute, complete=True)
            await talk.say(channel="candle_1m", symbol="BTCUSDT", data=row)
        await talk.idle()

    async def run() -> list[Said]:
        venue = StandIn(skips)
        async with venue.running() as address, client_of(address, values={"reads": 1}) as client:
            venue.answers["GET /candles/BTCUSDT"] = (503, {"error": "away"})
            return await hear(client, lambda heard: bool(downs(heard)))

    assert downs(asyncio.run(run()))[0].startswith("candles are missing: GET /candles/BTCUSDT answered 503 away")
    assert issubclass(VenueRefusal, VenueError)

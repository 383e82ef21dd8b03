"""A tape through the core: the decisions of the market that was recorded, each time the same."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.backtest.replay import Replayed
from flea_lab.backtest.tape_replay import heard as heard_of
from flea_lab.config import RunConfig, alphas, from_dict, with_values
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.tape import Note, Record, TapeWriter, beginning
from flea_lab.data.tape_events import TapeEvents
from flea_lab.decision import digest
from flea_lab.errors import DataError
from flea_lab.live.hearing import Hearing, reads_prints
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import Doubt
from flea_lab.model.vouched import Vouched
from flea_lab.risk.checks import DATA
from flea_lab.sandbox.depth import DepthSettings, synthesise
from flea_lab.wiring import build_core, market_from_frames, market_of_tape, replay_tape, run_replay

MINUTE = 60_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BARS = 600
VALUES: dict[str, Any] = {
    "symbols": list(SYMBOLS),
    "interval": "1m",
    "signals": [{"kernel": "rsi_reversion"}, {"kernel": "ema_momentum", "weight": 0.5}],
    "data": {"venue": "synthetic"},
}


@pytest.fixture
def config(home: Path) -> RunConfig:
    return from_dict(VALUES, "a test")


def events(*, depth: int = 0, candles: bool = True, skip: frozenset[tuple[str, int]] = frozenset()) -> list[Record]:
    """The synthetic market of both symbols as a feed tells it; the last `depth` bars with books and prints inside."""
    frames = {symbol: synthetic_market(symbol, n_bars=BARS)[0] for symbol in SYMBOLS}
    rates = {symbol: synthetic_market(symbol, n_bars=BARS)[1] for symbol in SYMBOLS}
    told: list[Record] = [Note(1, "begin", beginning("purpleflea-seed", "1m", SYMBOLS)), Note(2, "up")]
    settled = {(s, int(ts)): float(rate) for s in SYMBOLS for ts, rate in rates[s].to_numpy()}
    for bar in range(BARS):
        inside: list[Any] = []
        whole: list[Record] = []
        for symbol in SYMBOLS:
            row = frames[symbol].iloc[bar]
            close = (int(row.ts) + MINUTE) * MS_NS
            values = {name: float(row[name]) for name in ("open", "high", "low", "close", "volume", "buy_volume")}
            candle = Candle(symbol=symbol, ts_event=close, ts_recv=close, **values)
            if bar >= BARS - depth:
                before = float(frames[symbol]["close"].iloc[bar - 1])
                inside += synthesise(candle, before, from_dict(VALUES, "t").instruments[symbol], DepthSettings(), bar)
            if candles and (symbol, bar) not in skip:
                whole.append(candle)
            rate = settled.get((symbol, int(row.ts)))
            if rate is not None:
                told.append(Funding(symbol=symbol, ts_event=int(row.ts) * MS_NS, ts_recv=close, rate=rate))
        told += [one for one in sorted(inside, key=lambda one: one.ts_recv) if candles or not isinstance(one, Candle)]
        told += [*whole, Heartbeat(ts_event=(int(frames[SYMBOLS[0]]["ts"].iloc[bar]) + MINUTE) * MS_NS)]
    return told


def write(path: Path, records: list[Record]) -> Path:
    tape = TapeWriter(path)
    for record in records:
        tape.append(record)
    tape.close()
    return path


def same(one: Replayed, two: Replayed) -> bool:
    mine, others = digest(one.decisions, SYMBOLS), digest(two.decisions, SYMBOLS)
    return mine == others and one.fills == two.fills and one.equity.tolist() == two.equity.tolist()


def test_a_tape_decides_as_the_market_that_it_was_recorded_of(config: RunConfig, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", events(depth=30))
    frames = {symbol: synthetic_market(symbol, n_bars=BARS)[:2] for symbol in SYMBOLS}
    market = market_from_frames(
        config, {s: f[0] for s, f in frames.items()}, {s: f[1] for s, f in frames.items()}
    ).market
    first, core = replay_tape(config, path)
    direct, other = run_replay(config, market)
    assert len(first.fills) > 20 and first.funding == direct.funding and first.funding
    assert same(first, direct) and core.ledger.cash_uusd == other.ledger.cash_uusd
    again, _ = replay_tape(config, path)
    assert same(first, again) and first.commands == again.commands


def test_a_hole_on_the_tape_is_a_hole_for_the_desk(config: RunConfig, tmp_path: Path) -> None:
    skip = frozenset({("ETHUSDT", 200), ("ETHUSDT", 201), ("BTCUSDT", 300)})
    loaded, _ = market_of_tape(config, write(tmp_path / "a.tape", events(skip=skip)))
    assert [len(loaded.candles[symbol]) for symbol in SYMBOLS] == [BARS - 1, BARS - 2]
    seen, _ = replay_tape(config, tmp_path / "a.tape")
    direct, _ = run_replay(config, loaded.market)
    assert same(seen, direct)


def test_a_candle_that_came_late_or_twice_is_not_used(config: RunConfig, tmp_path: Path) -> None:
    told = events()
    at = [n for n, one in enumerate(told) if isinstance(one, Candle) and one.symbol == "ETHUSDT"][250]
    late = told.pop(at)
    told.insert(at + 5, late)
    told.insert(at + 6, told[at + 3])
    loaded, _ = market_of_tape(config, write(tmp_path / "a.tape", told))
    assert len(loaded.candles["ETHUSDT"]) == BARS - 1
    seen, _ = replay_tape(config, tmp_path / "a.tape")
    assert any("came late or twice and was not used" in getattr(one, "text", "") for one in seen.commands)


def test_prints_and_vouched_books_reach_the_features_of_the_desk(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("flea_lab.data.features")
    guard = {"source": "trades", "bucket_volume": {"BTCUSDT": 5.0, "ETHUSDT": 50.0}, "window": 5}
    config = from_dict({**VALUES, "risk": {"vpin": guard}}, "a test")
    with_prints, _ = replay_tape(config, write(tmp_path / "a.tape", events(depth=60)))
    assert (with_prints.toxicity[:, -20:] >= 0).all()
    without, _ = replay_tape(from_dict(VALUES, "a test"), tmp_path / "a.tape")
    assert with_prints.toxicity[:, -1].tolist() != without.toxicity[:, -1].tolist()


def test_candles_are_made_of_prints_where_the_tape_has_none(config: RunConfig, tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tape", events(depth=100))
    prints = write(tmp_path / "b.tape", events(depth=100, candles=False))
    made, tape = market_of_tape(config, prints)
    told, _ = market_of_tape(config, whole)
    assert tape.made == SYMBOLS
    for symbol in SYMBOLS:
        mine, theirs = made.candles[symbol], told.candles[symbol].tail(100).reset_index(drop=True)
        assert mine[["ts", "open", "high", "low", "close"]].equals(theirs[["ts", "open", "high", "low", "close"]])
        assert mine["volume"].tolist() == pytest.approx(theirs["volume"].tolist(), rel=1e-12)  # a sum of prints


def book(seq: int, prev: int | None = None, bid: float = 99.0) -> BookSnapshot | BookDelta:
    when = {"symbol": "BTCUSDT", "ts_event": seq * MS_NS, "ts_recv": seq * MS_NS, "seq": seq}
    if prev is None:
        return BookSnapshot(**when, bids=((bid, 1.0),), asks=((101.0, 1.0),))
    return BookDelta(**when, prev_seq=prev, bids=((bid, 2.0),))


def test_a_book_with_a_hole_is_not_told_until_the_next_whole_one(config: RunConfig, tmp_path: Path) -> None:
    bar = Candle(
        symbol="BTCUSDT", ts_event=MINUTE * MS_NS, ts_recv=9, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0
    )
    told: list[Record] = [
        book(1),
        book(2, 1),
        book(4, 3),
        book(5, 4),
        book(6),
        Note(7, "down"),
        book(8, 7),
        book(9),
        bar,
    ]
    write(tmp_path / "a.tape", [*told, flat(bar, "ETHUSDT")])
    _, tape = market_of_tape(config, tmp_path / "a.tape")
    assert [one.seq for one in tape if isinstance(one, Vouched)] == [1, 2, 6, 9]
    assert [one for one in tape if isinstance(one, Vouched)][1].bids == ((99.0, 2.0),)


def flat(bar: Candle, symbol: str) -> Candle:
    return Candle(
        symbol=symbol, ts_event=bar.ts_event, ts_recv=9, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0
    )  # fmt: skip


def test_what_a_tape_cannot_give_is_said(config: RunConfig, tmp_path: Path) -> None:
    one = Trade(symbol="BTCUSDT", ts_event=1, ts_recv=1, price=1.0, qty=1.0, side="buy")
    with pytest.raises(
        DataError, match=r"a\.tape: neither candles nor prints of ETHUSDT on the tape, it holds BTCUSDT"
    ):
        market_of_tape(config, write(tmp_path / "a.tape", [one]))
    begun = Note(1, "begin", beginning("purpleflea-seed", "5m", SYMBOLS))
    bar = Candle(symbol="BTCUSDT", ts_event=1, ts_recv=1, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0)
    with pytest.raises(DataError, match=r"b\.tape: its candles are 5m, 1m ones cannot be made of them"):
        market_of_tape(config, write(tmp_path / "b.tape", [begun, bar, flat(bar, "ETHUSDT")]))
    with pytest.raises(DataError, match="bars are too few: the signals of config"):
        replay_tape(config, write(tmp_path / "c.tape", events()[:60]))


def test_what_a_live_session_would_doubt_the_replay_of_its_tape_doubts(config: RunConfig, tmp_path: Path) -> None:
    told = events()
    at = [n for n, one in enumerate(told) if isinstance(one, Candle) and one.symbol == "ETHUSDT"][250]
    candle = told[at]
    assert isinstance(candle, Candle)
    told.insert(at + 3, replace(candle, close=candle.low))  # the bar told again, otherwise
    path = write(tmp_path / "a.tape", told)
    kinds: dict[tuple[str, ...], set[int]] = {}
    for tolerated in (("hole", "resent"), ("hole", "resent", "late_correction")):
        seen, _ = replay_tape(with_values(config, {"tolerance.kinds": tolerated, "tolerance.settle_bars": 200}), path)
        refused = seen.decisions[seen.decisions["code"] == DATA]
        kinds[tolerated] = set(refused["symbol"].tolist())
        assert all(0 <= ts - candle.ts_event <= 201 * MINUTE * MS_NS for ts in refused["ts_ns"].tolist())
    assert list(kinds.values()) == [{1}, set()]


def test_a_lost_connection_is_a_doubt_where_prints_are_read(home: Path, tmp_path: Path) -> None:
    guard = {"source": "trades", "bucket_volume": {"BTCUSDT": 5.0, "ETHUSDT": 50.0}, "window": 5, "limit": 1.0}
    told = events(depth=60)
    told.insert(len(told) - 300, Note(7, "down", "reset"))
    path = write(tmp_path / "a.tape", told)
    heard: dict[bool, list[Doubt]] = {}
    for reads in (False, True):
        run = from_dict({**VALUES, "risk": {"vpin": guard} if reads else {}}, "a test")
        core = build_core(run, alphas(run), 0)
        tape = TapeEvents(path, SYMBOLS, "1m")
        ear = Hearing(tape.rules, "1m", core.fresh_features(), wall_clock=tape.wall_clock, prints=reads_prints(run))
        heard[reads] = [one for one in heard_of(tape.told(), ear) if isinstance(one, Doubt)]
    assert [(one.symbol, one.kind) for one in heard[True]] == [(symbol, "disconnected") for symbol in SYMBOLS]
    assert heard[False] == []


def test_a_tape_tells_by_which_clock_its_venue_went(tmp_path: Path) -> None:
    now = 1_790_000_000_000 * MS_NS
    for venue_ns, wall in ((now - 500 * MS_NS, True), (now - 86_400_000 * MS_NS, False)):
        bars = [
            Candle(symbol="X", ts_event=ts, ts_recv=now, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0)
            for ts in (venue_ns - 3_600_000 * MS_NS, venue_ns)
        ]
        assert TapeEvents(write(tmp_path / f"{wall}.tape", [*bars]), ("X",), "1m").wall_clock is wall

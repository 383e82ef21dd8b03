"""A session played again gives itself; where it does not, the first difference is named."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from flea_lab.decision import digest
from flea_lab.journal import EVENT
from flea_lab.live.journal import entries
from flea_lab.live.session import read_session
from flea_lab.live.store import FILE
from flea_lab.model.market import Candle, Features
from flea_lab.model.trading import Doubt, Fill, NewOrder, Refused
from flea_lab.research.session_replay import play_back_session, replay_session
from flea_lab.risk.checks import DATA
from flea_lab.sandbox.faults import FaultRule, FaultRules, FaultSettings
from flea_lab.wiring import replay_tape
from tests.backtest.tiny import config, tiny
from tests.live.session import Gate, ask, running, session, until, with_live, world
from tests.rehearsed import copied, doctor, execute, rehearsed, row_of


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("home")))
        yield rehearsed(tmp_path_factory.mktemp("session"))


@pytest.fixture
def mine(journal: Path, tmp_path: Path) -> Path:
    return copied(journal, tmp_path / "mine")


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "again"


def test_a_session_gives_itself_again(journal: Path) -> None:
    lived = read_session(journal)
    played, replayed = play_back_session(lived), replay_session(lived)
    assert played.equal and played.row is None and played.digests[0] == played.digests[1]
    assert played.text() == f"equal: {played.events:,} events give the journal's {played.commands[0]:,} commands"
    assert replayed.equal and replayed.digests == (lived.decisions_digest,) * 2
    assert replayed.equity["equity_usd"].tolist() == pytest.approx(lived.equity["equity_usd"].tolist(), abs=1e-9)
    assert replayed.costs_usd[0] == pytest.approx(replayed.costs_usd[1], abs=1e-4)
    assert replayed.fills == (len(lived.fills),) * 2


def test_a_command_that_was_changed_is_named_with_its_row(mine: Path) -> None:
    seq = row_of(mine, NewOrder, 3)
    doctor(mine, seq, lambda order: replace(order, lots=order.lots + 1))  # type: ignore[type-var]
    played = play_back_session(read_session(mine))
    assert not played.equal and played.row == seq
    assert played.text().startswith(f"row {seq}: the journal has NewOrder ")
    assert "lots: " in played.text() and played.digests[0] != played.digests[1]
    assert played.commands[0] == played.commands[1], "the rest is still counted"


def test_a_command_that_is_gone_or_was_never_said_is_named(mine: Path, tmp_path: Path) -> None:
    gone, extra = copied(mine, tmp_path / "gone"), copied(mine, tmp_path / "extra")
    seq = row_of(gone, Refused, 1)
    execute(gone, "DELETE FROM entries WHERE seq=?", seq)
    played = play_back_session(read_session(gone))
    assert played.text().startswith(f"row {seq}: after the event in row {seq - 1} the core says Refused ")
    asked = row_of(extra, NewOrder)
    execute(extra, "UPDATE entries SET kind=1 WHERE seq=?", asked - 1)
    played = play_back_session(read_session(extra))
    assert (played.row, played.first.split(": ", 1)[1].startswith("the journal has Candle")) == (asked - 1, True)


def test_an_event_that_the_core_refuses_is_named(mine: Path) -> None:
    seq = row_of(mine, Fill, 2, EVENT)
    doctor(mine, seq, lambda fill: replace(fill, lots=0))  # type: ignore[type-var]
    played = play_back_session(read_session(mine))
    assert played.text().startswith(f"row {seq}: the core refuses this Fill: order ")
    assert "a fill of 0 lots at " in played.text()


def test_other_settings_than_the_sessions_show_at_the_first_command(mine: Path) -> None:
    execute(mine, "UPDATE meta SET value=replace(value, '\"fast\":9', '\"fast\":10') WHERE key='config'")
    lived = read_session(mine)
    played, replayed = play_back_session(lived), replay_session(lived)
    assert not played.equal and played.row is not None and played.row <= row_of(mine, NewOrder, 1)
    assert not replayed.equal and "the session parts from its replay" in replayed.text()


def test_a_fill_that_cost_more_parts_the_curves_at_its_bar(mine: Path) -> None:
    seq = row_of(mine, Fill, 0, EVENT)
    before = read_session(mine)
    ts = int(before.fills["ts"].iloc[0]) + before.config.interval_ms
    execute(mine, "UPDATE curve SET equity=equity-1 WHERE ts>=?", ts * 1_000_000)
    doctor(mine, seq, lambda fill: replace(fill, fee_uusd=fill.fee_uusd + 1))  # type: ignore[type-var]
    lived = read_session(mine)
    assert play_back_session(lived).equal, "a micro-dollar decides nothing here"
    replayed = replay_session(lived)
    first = before.equity.loc[before.equity["ts"] >= ts, "equity_usd"].iloc[0]
    assert not replayed.equal and replayed.digests[0] == replayed.digests[1]
    assert f"replay  {first:,.6f} USD" in replayed.text() and f"live    {first - 1e-6:,.6f} USD" in replayed.text()


def test_a_candle_that_the_session_did_not_decide_on_parts_its_decisions(mine: Path) -> None:
    seq = row_of(mine, Candle, 400, EVENT)
    doctor(mine, seq, lambda one: replace(one, close=one.low))  # type: ignore[type-var]
    lived = read_session(mine)
    assert not play_back_session(lived).equal or not replay_session(lived).equal


def test_a_session_that_heard_no_candle_has_no_replay(mine: Path) -> None:
    execute(mine, "DELETE FROM entries")
    lived = read_session(mine)
    replayed = replay_session(lived)
    assert replayed.text() == "no replay: no candle of BTCUSDT, ETHUSDT was heard" and not replayed.equal
    assert (lived.rows, play_back_session(lived).commands) == (-1, (0, 0))


def turns(n: int) -> list[tuple[int, float, float, float]]:
    """Bars that buy and sell in turn."""
    return [(i, 100.0 + i % 7, 101.0 + i % 5, 0.5 if i % 2 else -0.5) for i in range(n)]


def live(**more: Any) -> dict[str, Any]:
    return {"history_bars": 1, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.4, **more}


def test_a_halt_comes_to_the_replay_where_it_came_to_the_session(folder: Path) -> None:
    run = with_live(config(), **live())
    market = tiny(run, {"X": turns(12)})

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder) as task:
                await until(folder, lambda said: said["last_bar_ns"] >= here.closes(6) * 1_000_000)
                await ask(folder, "halt", "a person")
                await until(folder, lambda said: said["halt_verified"])
                gate.open()
                await task

    asyncio.run(play())
    lived = read_session(folder / FILE)
    assert lived.vetoes["kill_switch"] > 0 and len(lived.fills) > 3
    assert play_back_session(lived).equal, play_back_session(lived).text()
    assert replay_session(lived).equal, replay_session(lived).text()


def test_a_corrected_candle_keeps_its_symbol_out_live_and_in_the_replay(folder: Path) -> None:
    run = with_live(config(tolerance={"settle_bars": 3}), **live())
    market = tiny(run, {"X": turns(16)})
    corrected = FaultSettings(faults=FaultRules(late_correction=FaultRule(at=(5,))))

    async def play() -> None:
        async with world(run, market, faults=corrected) as here, running(here, folder) as task:
            await task

    asyncio.run(play())
    lived = read_session(folder / FILE)
    doubts = [entry for _, _, entry in entries(lived.journal, lived.rows) if isinstance(entry, Doubt)]
    assert [(doubt.symbol, doubt.kind) for doubt in doubts] == [("X", "late_correction")]
    assert 1 <= lived.vetoes["data"] <= 3 and len(lived.fills) > 3
    assert play_back_session(lived).equal, play_back_session(lived).text()
    assert replay_session(lived).equal, replay_session(lived).text()
    seen, _ = replay_tape(run, folder / "market.tape", start=1)
    assert digest(seen.decisions, run.symbols) == lived.decisions_digest
    loose = with_live(config(tolerance={"settle_bars": 3, "kinds": ["hole", "late_correction"]}), **live())
    seen, _ = replay_tape(loose, folder / "market.tape", start=1)
    assert not (seen.decisions["code"] == DATA).any()


def test_an_order_taken_back_at_a_stop_is_why_a_restarted_session_parts_from_its_replay(folder: Path) -> None:
    run = with_live(config(), **live())
    market = tiny(run, {"X": turns(10)})

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder) as task:
                await until(folder, lambda said: said["last_bar_ns"] >= here.closes(4) * 1_000_000)
                await ask(folder, "stop")
                await task
            gate.open()
            async with running(here, folder) as task:
                await task

    asyncio.run(play())
    lived = read_session(folder / FILE)
    assert len(lived.runs) == 2 and len(lived.fills) > 3
    assert play_back_session(lived).equal, play_back_session(lived).text()
    replayed = replay_session(lived)
    assert not replayed.equal and replayed.unfilled["cancelled"] >= 1
    assert "orders of the session that did not fill whole: " in replayed.text()


def test_a_venue_that_matches_in_its_book_differs_by_what_fills_cost(folder: Path) -> None:
    run = with_live(config(sizing={"base_fraction": 1.0, "market_above": 0.1}), **live())
    market = tiny(run, {"X": turns(16)})

    async def play() -> None:
        async with world(run, market, matching="book") as here:
            await session(here, folder)

    asyncio.run(play())
    lived = read_session(folder / FILE)
    assert lived.matching == "book" and len(lived.fills) > 3
    assert play_back_session(lived).equal, play_back_session(lived).text()
    replayed = replay_session(lived)
    assert not replayed.equal
    assert replayed.text().startswith("the session parts from its replay:\n  ")
    assert "the venue matched in its book, the replay at the next open; fees and slippage against" in replayed.text()


def test_a_session_on_books_and_prints_decides_as_its_replay_does(folder: Path) -> None:
    named = {
        "signals": [
            {"kernel": "book_imbalance", "params": {"threshold": 0.0, "full_scale": 0.2}},
            {"kernel": "trade_tick_imbalance", "params": {"window": 3, "threshold": 0.0, "full_scale": 0.2}},
        ],
        "combination": {"min_confidence": 0.0, "min_conviction": 0.01},
        # what was filled at which price decides nothing
        "sizing": {"base_fraction": 0.1, "basis": "initial", "market_above": 0.1},
        "risk": {"vpin": {"source": "trades", "limit": 1.0, "window": 5, "bucket_volume": {"X": 0.5}}},
    }
    run = with_live(config(**named), **live())  # type: ignore[arg-type]
    plain = tiny(run, {"X": turns(60)})
    market = dataclasses.replace(plain, features=np.zeros_like(plain.features))  # they are heard

    async def play() -> None:
        async with world(run, market, matching="book", steps=6) as here:
            await session(here, folder, channels=("candle", "book", "trades", "funding", "orders", "fills"))

    asyncio.run(play())
    lived = read_session(folder / FILE)
    told = [entry for _, _, entry in entries(lived.journal, lived.rows) if isinstance(entry, Features)]
    assert len(told) > 50 and all(one.imbalance == one.imbalance and one.trades > 0 for one in told[5:])
    assert play_back_session(lived).equal, play_back_session(lived).text()
    replayed = replay_session(lived)
    assert replayed.decisions[0] == replayed.decisions[1] > 20 and len(lived.fills) > 5
    assert replayed.digests == (lived.decisions_digest,) * 2, replayed.text()
    seen, _ = replay_tape(run, folder / "market.tape", start=1)
    assert digest(seen.decisions, run.symbols) == lived.decisions_digest

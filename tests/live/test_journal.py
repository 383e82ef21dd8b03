"""What is durable is whole: a chain that shows damage, tickets that are done only on the disk, a fold that recovers."""

import asyncio
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flea_lab.config import alphas
from flea_lab.core import TradingCore
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.journal import COMMAND, EVENT, Ticket, chained, check_chain
from flea_lab.live.fold import Fold, Parted, recover, state_hash
from flea_lab.live.journal import LiveJournal, open_journal
from flea_lab.live.memory_store import MemoryDisk, MemoryStore
from flea_lab.live.pump import Pump
from flea_lab.live.recovery import Terms, resumed
from flea_lab.live.store import FILE, SqliteStore, open_read_only, read_rows
from flea_lab.model.market import Candle
from flea_lab.model.trading import Accepted, Fill, Halt, NewOrder, Resume, SendUnclear
from flea_lab.wiring import build_core
from tests.backtest.tiny import NOON, config

HALT = Halt(ts_event=1, reason="enough")
RUN = config()
FOUND = alphas(RUN)
TERMS = Terms("code", None, False)


def build(limit_ttl_ns: int | None = None) -> TradingCore:
    return build_core(RUN, FOUND, 0, prefix="t", cash_uusd=10_000_000_000, limit_ttl_ns=limit_ttl_ns)


class Ticks:
    """A clock that goes on by a millisecond whenever it is asked."""

    ns = 0

    def now_ns(self) -> int:
        self.ns += 1_000_000
        return self.ns

    def new_id(self) -> str:
        return "id"

    def jitter(self) -> float:
        return 0.5


def pump_of(journal: LiveJournal, core: TradingCore | None = None) -> Pump:
    if not journal.begun:
        journal.meta("code", "code")
        journal.meta("limit_ttl_ns", "0")
    return Pump(core or build(), journal, Ticks())


def candle(n: int, say: float) -> Candle:
    price, at = 100.0 + n % 7, (NOON + n * 60_000 + 60_000) * 1_000_000
    share = (1.0 + (abs(say) ** 0.5) * (1 if say > 0 else -1)) / 2.0
    return Candle(
        symbol="X", open=price, high=price, low=price, close=price, volume=1.0, buy_volume=share, complete=True,
        ts_event=at, ts_recv=at,
    )  # fmt: skip


def drive(pump: Pump, first: int, stop: int) -> list[str]:
    """Bars that each give an order; every other one fills, the rest stay open. The ids of the orders."""
    names = []
    for n in range(first, stop):
        for command in pump.on(candle(n, 0.5 if n % 3 else -0.5)).commands:
            if isinstance(command, NewOrder):
                name, at = command.client_order_id, command.ts_event
                names.append(name)
                pump.on(Accepted(client_order_id=name, ts_event=at))
                if n % 2:
                    fill = Fill(
                        client_order_id=name, ts_event=at, symbol="X", side=command.side, lots=command.lots,
                        price_ticks=command.price_ticks, fee_uusd=7, reference_ticks=command.price_ticks, fill_id=name,
                    )  # fmt: skip
                    pump.on(fill)
    pump.commit()
    return names


def refolded(journal: LiveJournal) -> str:
    """The hash of the state that the journal folds to, snapshot or not."""
    whole = Fold(build).take_all(journal.store.rows())
    found = recover(journal.source(), build, None)
    assert state_hash(found.core) == state_hash(whole.core)
    return state_hash(whole.core)


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


# ---- the chain


def test_a_chain_shows_what_was_changed_lost_put_in_or_torn_off() -> None:
    rows, digest = [], bytes(16)
    for n in range(6):
        rows.append(chained(digest, n, EVENT, n, b"row %d" % n))
        digest = rows[-1].digest
    assert check_chain(rows) == (5, digest, -1, False)
    torn = rows[5]._replace(body=b"ro")
    assert check_chain([*rows[:5], torn]) == (4, rows[4].digest, 5, True)
    changed = rows[2]._replace(body=b"other", crc=zlib.crc32(b"other"))
    assert check_chain([*rows[:2], changed, *rows[3:]])[2:] == (2, False)
    assert check_chain([*rows[:2], *rows[3:]])[2:] == (2, False)
    assert check_chain([*rows[:3], rows[2]._replace(seq=3), *rows[4:]])[2:] == (3, False)
    assert check_chain(rows[:3])[:3] == (2, rows[2].digest, -1)


def test_a_torn_end_is_cut_off_and_halts_and_ids_go_on_far_behind_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    names = drive(pump_of(journal), 0, 10)
    journal.finish()
    last = journal.seq
    journal.close()
    change(tmp_path / FILE, "UPDATE entries SET body=x'00' WHERE seq=?", last)
    journal = open_journal(tmp_path)
    assert journal.repaired == f"row {last} is damaged: it and what came after it is cut off"
    assert journal.last_latches() == ("kill_switch",)
    core = recover(journal.source(), build, None).core
    assert core.gate.closed() == ("kill_switch",) and core.router.minted >= len(names) + 900
    journal.close()
    assert open_journal(tmp_path).repaired == ""


def test_damage_before_the_end_refuses_and_names_the_row(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    drive(pump_of(journal), 0, 10)
    journal.close()
    change(tmp_path / FILE, "UPDATE entries SET body=x'00' WHERE seq=5")
    for _ in range(2):
        with pytest.raises(WorkspaceError, match=r"row 5 is damaged and rows after it are not; .* reconcile by hand"):
            open_journal(tmp_path)


def test_a_long_fact_that_was_changed_beside_its_row_refuses(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.meta("config", "c" * 100)
    journal.finish()
    journal.close()
    change(tmp_path / FILE, "UPDATE meta SET value='d' WHERE key='config'")
    with pytest.raises(WorkspaceError, match="its fact 'config' is damaged"):
        open_journal(tmp_path)


# ---- tickets, power, disks that fail


class Later:
    """Calls that wait, and run when they are told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_an_order_is_carried_out_only_when_its_ticket_is_done() -> None:
    disk, later = MemoryDisk(), Later()
    pump = pump_of(LiveJournal(MemoryStore(disk, later)))
    step = pump.on(candle(0, 0.5))
    assert any(isinstance(command, NewOrder) for command in step.commands) and not step.ticket.done
    waiting = pump.on(HALT)
    assert not waiting.ticket.settled and pump.latched == () and not pump.halted and pump.core.halted
    later.run()
    assert step.ticket.done and not waiting.ticket.done, "the second batch came while the first was being synced"
    later.run()
    assert waiting.ticket.done and pump.latched == ("kill_switch",) and pump.halted and disk.syncs == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99, 1.0])
def test_after_a_loss_of_power_there_is_what_was_done_and_never_half_a_batch(share: float) -> None:
    disk, later = MemoryDisk(), Later()
    pump = pump_of(LiveJournal(MemoryStore(disk, later)))
    drive(pump, 0, 4)
    later.run()
    synced = disk.synced
    drive(pump, 4, 12)
    disk.lose_power(share)
    assert len(disk.batches) >= synced
    journal = LiveJournal(MemoryStore(disk))
    assert journal.repaired == ""
    core = resumed(journal, build, TERMS, pytest.fail)
    kept = [row for row in journal.store.rows() if row.kind == COMMAND]
    assert core.router.minted == len(kept)
    again = pump_of(journal, core)
    drive(again, 12, 16)
    assert refolded(journal) == state_hash(core)


def test_a_killed_process_leaves_what_the_machine_had_taken() -> None:
    disk, later = MemoryDisk(), Later()
    pump = pump_of(LiveJournal(MemoryStore(disk, later)))
    drive(pump, 0, 3)
    batches = len(disk.batches)
    disk.kill()
    assert len(disk.batches) == batches and disk.synced == 0
    disk.kill(unwritten=1)
    assert len(disk.batches) == batches - 1


@pytest.mark.parametrize(("fault", "said"), [("full", "No space left"), ("broken", "Input/output error")])
def test_a_disk_that_fails_once_is_never_asked_again(fault: str, said: str) -> None:
    disk = MemoryDisk()
    journal = LiveJournal(MemoryStore(disk))
    pump = pump_of(journal)
    drive(pump, 0, 2)
    setattr(disk, fault, True)
    with pytest.raises(WorkspaceError, match=said):
        pump.on(HALT)
    setattr(disk, fault, False)
    for again in (lambda: pump.on(candle(5, 0.5)), pump.flush, journal.commit):
        with pytest.raises(WorkspaceError, match=said):
            again()
    assert "kill_switch" not in pump.latched


def test_a_full_database_fails_every_ticket_and_says_so(tmp_path: Path) -> None:
    async def fill() -> list[Ticket]:
        loop = asyncio.get_running_loop()
        store = SqliteStore(tmp_path / FILE, loop.call_soon_threadsafe)
        journal = LiveJournal(store)
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count={pages + 4}")
        tickets: list[Ticket] = []

        def until_full() -> None:
            for n in range(100):
                journal.meta(f"fact {n}", "x" * 8_000)
                tickets.append(journal.commit())
                journal.store.finish()

        with pytest.raises(WorkspaceError, match="database or disk is full"):
            until_full()
        with pytest.raises(WorkspaceError, match="database or disk is full"):
            journal.commit()
        journal.close()
        return tickets

    tickets = asyncio.run(fill())
    assert tickets[0].done and tickets[-1].failed == "database or disk is full"


# ---- SQLite


def test_commits_that_wait_together_are_one_transaction_and_the_loop_is_free(tmp_path: Path) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        store = SqliteStore(tmp_path / FILE, loop.call_soon_threadsafe)
        journal, keep, sizes, begin = LiveJournal(store), store._keep, [], threading.Event()

        def slow(batches: Any) -> str:
            begin.wait(10)
            sizes.append(len(batches))
            return keep(batches)

        store._keep = slow  # type: ignore[method-assign]
        tickets = []
        for n in range(20):
            journal.append(Halt(ts_event=n, reason="r"))
            tickets.append(journal.commit())
        assert not any(ticket.settled for ticket in tickets)
        begin.set()
        journal.finish()
        assert all(ticket.done for ticket in tickets)
        assert sum(sizes) == 20 and len(sizes) <= 2, "the first may have gone alone"
        assert len(list(read_rows(tmp_path / FILE))) == 20
        journal.close()

    asyncio.run(play())


def test_the_file_is_durable_in_full_and_a_reader_does_not_hold_the_writer_up(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    store = journal.store
    assert isinstance(store, SqliteStore)
    asked = {name: store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")}
    assert asked == {"synchronous": 2, "journal_mode": "wal"}
    assert store._db.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
    drive(pump_of(journal), 0, 3)
    with closing(open_read_only(tmp_path / FILE)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM entries").fetchone()
        journal.append(HALT)
        assert journal.commit().done
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == before
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM entries")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    journal.close()


# ---- state is the fold


def test_a_snapshot_is_the_fold_of_its_rows_and_a_bad_one_is_left_out(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 9)
    pump.snapshot()
    drive(pump, 9, 15)
    pump.on(HALT)
    live = state_hash(pump.core)
    assert refolded(journal) == live
    assert recover(journal.source(), build, None).folded < 30
    journal.close()
    for statement in ("UPDATE state SET body=x'93'", "UPDATE state SET hash='0'", "UPDATE kept SET body=x'93'"):
        change(tmp_path / FILE, statement)
        journal = open_journal(tmp_path)
        said: list[str] = []
        core = resumed(journal, build, TERMS, said.append)
        assert state_hash(core) == live and core.gate.closed() == ("kill_switch",)
        assert len(said) == 1 and said[0].startswith("the journal's snapshot is left out: it ")
        journal.close()


def test_peak_day_and_latches_come_back_as_they_were(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 12)
    pump.on(HALT)
    pump.on(Resume(ts_event=2, clears=("kill_switch",), by="me"))
    pump.on(HALT)
    gate = pump.core.gate.state.tobytes()
    journal.finish()
    journal.close()
    journal = open_journal(tmp_path)
    core = resumed(journal, build, TERMS, pytest.fail)
    assert core.gate.state.tobytes() == gate and journal.last_latches() == ("kill_switch",)
    journal.close()


def test_what_the_core_would_say_otherwise_now_refuses(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    drive(pump_of(journal), 0, 6)

    def other(limit_ttl_ns: int | None) -> TradingCore:
        return build_core(RUN, FOUND, 0, prefix="other", cash_uusd=10_000_000_000, limit_ttl_ns=limit_ttl_ns)

    with pytest.raises(Parted, match=r"row \d+: the journal has NewOrder, the core says another NewOrder"):
        recover(journal.source(), other, None)
    with pytest.raises(WorkspaceError, match=r"says another NewOrder; move it away and reconcile by hand"):
        resumed(journal, other, TERMS, pytest.fail)
    journal.close()


def test_other_code_is_asked_for_or_said_and_goes_on_from_the_state_as_it_is(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 6)
    pump.snapshot()
    live = state_hash(pump.core)
    with pytest.raises(ConfigError, match=r"the code \(new\) is another than the journal's \(code\): say --other-code"):
        resumed(journal, build, Terms("new", None, False), pytest.fail)
    said: list[str] = []
    core = resumed(journal, build, Terms("new", 60_000_000_000, True), said.append)
    assert len(said) == 1 and state_hash(core) == live and core._limit_ttl_ns == 60_000_000_000
    journal.meta("code", "new")
    pump = pump_of(journal, core)
    drive(pump, 6, 12)
    assert refolded(journal) == state_hash(core)
    journal.close()


def test_an_event_at_which_the_core_breaks_halts_and_the_journal_can_still_be_folded(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 6)
    minted, decide = pump.core.router.minted, pump.core._decide

    def breaks() -> Any:
        decide()
        raise ZeroDivisionError("planted")

    pump.core._decide = breaks  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        pump.on(candle(7, 0.5))
    assert pump.on(HALT).ticket.done and pump.on(candle(8, 0.5)).commands == ()
    assert pump.latched == ("kill_switch",)
    core = recover(journal.source(), build, None).core
    assert core.gate.closed() == ("kill_switch",) and core.router.minted > minted + 900
    journal.close()


# ---- the first format

FIRST = """
CREATE TABLE entries (seq INTEGER PRIMARY KEY, kind INTEGER, ts_recv INTEGER, body BLOB, crc INTEGER);
CREATE TABLE orders (id TEXT PRIMARY KEY, symbol TEXT, status TEXT, body BLOB);
CREATE TABLE fills (
  seq INTEGER PRIMARY KEY, ts INTEGER, symbol TEXT, side TEXT, lots INTEGER, price_ticks INTEGER,
  decision_ticks INTEGER, fee_uusd INTEGER, reference_ticks INTEGER, fill_id TEXT, client_order_id TEXT);
CREATE TABLE runs (
  n INTEGER PRIMARY KEY, started INTEGER, ended INTEGER, how TEXT, pid INTEGER, code TEXT, first_seq INTEGER);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 0), seq INTEGER, body BLOB);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
"""


def first_format(folder: Path, core: TradingCore) -> None:
    """A journal as the code before this format left it: rows without a chain, the state whole beside them."""
    folder.mkdir(exist_ok=True)
    encode = msgspec.msgpack.Encoder().encode
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.executescript(FIRST)
        for seq, (kind, entry) in enumerate([(EVENT, candle(n, 0.0)) for n in range(4)]):
            body = encode(entry)
            db.execute("INSERT INTO entries VALUES (?,?,?,?,?)", (seq, kind, seq, body, zlib.crc32(body)))
        for order in core.router.blotter.orders():
            name = order.command.client_order_id
            db.execute("INSERT INTO orders VALUES (?,?,?,?)", (name, "X", order.status.value, encode(order)))
        db.execute("INSERT INTO state VALUES (0,3,?)", (encode(core.dump()),))
        facts = {"code": "code", "limit_ttl_ns": "0", "prefix": "t", "cash_uusd": "1", "config": "c" * 200}
        db.executemany("INSERT INTO meta VALUES (?,?)", list(facts.items()))
        db.execute("INSERT INTO runs (started, pid, code, first_seq) VALUES (1,1,'code',0)")


def halted_core() -> TradingCore:
    pump = pump_of(LiveJournal(MemoryStore(MemoryDisk())))
    drive(pump, 0, 8)
    pump.on(SendUnclear(client_order_id=drive(pump, 8, 9)[0], ts_event=1))
    pump.on(HALT)
    return pump.core


def test_a_halt_of_the_first_format_is_honoured_after_the_upgrade(tmp_path: Path) -> None:
    core = halted_core()
    first_format(tmp_path, core)
    journal = open_journal(tmp_path)
    assert journal.last_latches() == ("kill_switch",) and journal.get("config") == "c" * 200
    again = resumed(journal, build, TERMS, pytest.fail)
    assert state_hash(again) == state_hash(core) and again.gate.closed() == ("kill_switch",)
    assert again.router.blotter.open_orders() == core.router.blotter.open_orders()
    drive(pump_of(journal, again), 20, 24)
    assert refolded(journal) == state_hash(again)
    journal.close()
    journal = open_journal(tmp_path)
    assert state_hash(resumed(journal, build, TERMS, pytest.fail)) == state_hash(again)
    journal.close()


def test_an_upgrade_that_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    first_format(tmp_path, halted_core())
    change(tmp_path / FILE, "UPDATE entries SET crc=1 WHERE seq=2")
    for _ in range(2):
        with pytest.raises(WorkspaceError, match=r"row 2 is damaged; move it away"):
            open_journal(tmp_path)
    change(tmp_path / FILE, "UPDATE entries SET crc=? WHERE seq=2", zlib.crc32(msgspec.msgpack.encode(candle(2, 0.0))))
    change(tmp_path / FILE, "UPDATE state SET body=x'93'")
    with pytest.raises(WorkspaceError, match=r"its state cannot be read .* reconcile by hand"):
        open_journal(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    change(tmp_path / FILE, "PRAGMA user_version=3")
    with pytest.raises(WorkspaceError, match="is of format 3, this code knows up to 2: run newer code"):
        open_journal(tmp_path)

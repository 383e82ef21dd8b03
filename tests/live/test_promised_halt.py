"""A halt that was said, or that anybody can see, stands after every end: each way in which a start could miss one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.journal import EVENT, Batch
from flea_lab.live.account import HALT as FILE
from flea_lab.live.brake import Brake
from flea_lab.live.control_client import Declined, Unanswered
from flea_lab.live.halt import halt_account
from flea_lab.live.journal import LiveJournal, open_journal
from flea_lab.live.latch import LIFTED, is_latched, lift_halt_file, put_back, read_latch, write_halt_file
from flea_lab.live.memory_store import MemoryDisk, MemoryStore
from flea_lab.live.phrase import clearing_phrase
from flea_lab.live.pump import Pump
from flea_lab.live.recovery import resumed
from flea_lab.live.runner import Runner
from flea_lab.live.store import SqliteStore
from flea_lab.model.trading import Resume
from tests.backtest.tiny import tiny
from tests.live.session import Gate, ask, changed, running, until, world
from tests.live.test_guards_live import resting
from tests.live.test_journal import HALT, TERMS, Later, build, change, drive, pump_of

RESUME = Resume(ts_event=2, clears=("kill_switch",), by="me")
LATCH = ("kill_switch",)


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "promised"


# ---- the journal's word, and the file until then


def brake_of(pump: Pump, folder: Path) -> Brake:
    nobody: Any = None
    return Brake(pump, nobody, WallClock(), folder, lambda _severity, _text: None)


def halt_by_socket(brake: Brake, folder: Path) -> None:
    """What the control socket does, in its order."""
    brake.asked = "by a person"
    write_halt_file(folder, "by a person", WallClock())
    brake.filed = True


def stands(disk: MemoryDisk, folder: Path) -> bool:
    """Whether a process that is started now, after a loss of power, is halted."""
    left = MemoryDisk(batches=disk.batches[: disk.synced])
    return is_latched(folder / FILE) or resumed(LiveJournal(MemoryStore(left)), build, TERMS, pytest.fail).halted


def look(brake: Brake, pump: Pump) -> None:
    halt = brake.look()
    if halt is not None:
        pump.on(halt)


def test_a_halt_right_behind_a_resume_is_on_the_disk_when_its_own_row_is() -> None:
    later = Later()
    pump = pump_of(LiveJournal(MemoryStore(MemoryDisk(), later)))
    pump.on(HALT)
    later.run()
    assert pump.halted and pump.stands("kill_switch")
    pump.on(RESUME)
    pump.on(HALT)
    assert pump.core.halted and not pump.halted, "what the disk has to say last is not known yet"
    later.run()
    assert pump.latched == () and not pump.halted
    later.run()
    assert pump.latched == LATCH and pump.halted


def test_a_file_stands_until_the_disk_has_the_halt_that_came_behind_a_resume(tmp_path: Path) -> None:
    disk, later = MemoryDisk(), Later()
    pump = pump_of(LiveJournal(MemoryStore(disk, later)))
    brake = brake_of(pump, tmp_path)
    pump.on(HALT)
    later.run()
    pump.on(RESUME)
    halt_by_socket(brake, tmp_path)
    for _ in range(4):
        look(brake, pump)
        assert stands(disk, tmp_path)
        later.run()
        assert stands(disk, tmp_path)
    look(brake, pump)
    assert not is_latched(tmp_path / FILE) and not brake.filed, "the journal has it now"


def test_a_halt_that_comes_while_a_granted_resume_waits_for_the_loop_is_not_cleared_by_it(tmp_path: Path) -> None:
    disk, later = MemoryDisk(), Later()
    pump = pump_of(LiveJournal(MemoryStore(disk, later)))
    brake = brake_of(pump, tmp_path)
    pump.on(HALT)
    later.run()
    halt_by_socket(brake, tmp_path)
    for _ in range(2):  # the file goes: the journal has a halt
        look(brake, pump)
        later.run()
    pump.on(brake.left_of(RESUME))
    later.run()
    assert pump.halted and stands(disk, tmp_path)
    assert brake.left_of(Resume(ts_event=3, clears=("kill_switch", "reducing"), by="me")).clears == ("reducing",)
    brake.asked = ""
    assert brake.left_of(RESUME) == RESUME
    write_halt_file(tmp_path, "flea kill", WallClock())
    assert brake.left_of(RESUME).clears == ()


# ---- what a start finds


def snapshot_first(pump: Pump) -> None:
    pump.snapshot()
    pump.on(HALT)


def snapshot_after(pump: Pump) -> None:
    pump.on(HALT)
    pump.snapshot()


def snapshot_between(pump: Pump) -> None:
    pump.on(HALT)
    pump.on(RESUME)
    pump.snapshot()
    pump.on(HALT)


def other_state_after(pump: Pump) -> None:
    pump.on(HALT)
    pump.rebase()
    pump.commit()


FOUND: dict[str, Callable[[Pump], None]] = {
    "its row is behind the snapshot": snapshot_first,
    "its row is before the snapshot": snapshot_after,
    "it came behind a resume that the snapshot has": snapshot_between,
    "the state was taken over after it": other_state_after,
}


@pytest.mark.parametrize("where", sorted(FOUND))
def test_a_cold_start_finds_the_halt_wherever_it_is_in_the_journal(where: str, tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 6)
    FOUND[where](pump)
    journal.close()  # nothing was said at its end: it was killed
    journal = open_journal(tmp_path)
    assert resumed(journal, build, TERMS, pytest.fail).gate.closed() == LATCH == journal.last_latches()
    journal.close()


def test_a_halt_whose_row_is_torn_off_is_a_halt_all_the_same(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    drive(pump, 0, 6)
    pump.on(HALT)
    torn = max(row.seq for row in journal.store.rows() if row.kind == EVENT)
    journal.close()
    change(tmp_path / "journal.sqlite", "UPDATE entries SET body=x'00' WHERE seq>=?", torn)
    journal = open_journal(tmp_path)
    assert journal.repaired and resumed(journal, build, TERMS, lambda _: None).halted
    journal.close()


def test_a_halt_file_that_was_moved_aside_by_somebody_who_died_is_back(tmp_path: Path) -> None:
    write_halt_file(tmp_path, "flea kill", WallClock())
    (tmp_path / FILE).rename(tmp_path / LIFTED)
    assert put_back(tmp_path) and not put_back(tmp_path)
    said = read_latch(tmp_path)
    assert said is not None and said.reason == "flea kill"
    (tmp_path / LIFTED).write_text("older")
    assert not put_back(tmp_path) and [entry.name for entry in tmp_path.iterdir()] == [FILE]
    assert read_latch(tmp_path) == said, "the one that stands is the later one"


def test_a_halt_file_that_is_lifted_by_hand_leaves_the_journals_latch(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pump_of(journal).on(HALT)
    journal.close()
    write_halt_file(tmp_path, "again", WallClock())
    assert lift_halt_file(tmp_path, "me", "", WallClock())
    journal = open_journal(tmp_path)
    assert resumed(journal, build, TERMS, pytest.fail).halted
    journal.close()


# ---- a live session over a disk that takes its time


class SlowDisk:
    """A disk that keeps no batch with a halt in it until it is let go."""

    def __init__(self) -> None:
        self.let_go, self.asked = threading.Event(), threading.Event()

    def keeps(self, batches: list[Batch]) -> None:
        if any(row.body.find(b"Halt") >= 0 for batch in batches for row in batch.rows):
            self.asked.set()
            self.let_go.wait(120)


@contextmanager
def slow_disk() -> Iterator[SlowDisk]:
    disk, keep = SlowDisk(), SqliteStore._keep

    def slowly(store: SqliteStore, batches: list[Batch]) -> str:
        disk.keeps(batches)
        return keep(store, batches)

    try:
        with changed(SqliteStore, "_keep", slowly):
            yield disk
    finally:
        disk.let_go.set()


@contextmanager
def published() -> Iterator[list[tuple[str, tuple[str, ...]]]]:
    """Every status that a runner published: its state and its latches."""
    said: list[tuple[str, tuple[str, ...]]] = []
    tell = Runner._tell

    def noted(runner: Runner, *, often: bool = True) -> None:
        tell(runner, often=often)
        said.append((runner.status["state"], tuple(runner.status.get("latches", ()))))

    with changed(Runner, "_tell", noted):
        yield said


def bars(count: int) -> dict[str, list[tuple[int, float, float, float]]]:
    return {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(count)]}


def latched(folder: Path) -> tuple[str, ...]:
    journal = open_journal(folder)
    try:
        return journal.last_latches()
    finally:
        journal.close()


def test_a_start_beside_a_halt_file_says_neither_trading_nor_halted_before_the_disk_has_it(folder: Path) -> None:
    run = resting()
    market = tiny(run, bars(12))

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here:
            Gate(here.server, here.closes(4))
            folder.mkdir(parents=True)
            write_halt_file(folder, "while nobody ran", WallClock())
            with slow_disk() as disk, published() as said:
                async with running(here, folder):
                    async with asyncio.timeout(20):
                        while not disk.asked.is_set():
                            await asyncio.sleep(0.002)
                        before = len(said)
                        while len(said) < before + 5:  # it goes on, and compares, and must not call itself ready
                            await asyncio.sleep(0.01)
                    assert {state for state, _ in said} <= {"starting", "warming"}
                    assert is_latched(folder / FILE)
                    disk.let_go.set()
                    last = await until(folder, lambda status: status["state"] == "halted")
                    assert last["latches"] == ["kill_switch"] and last["halt_durable"]
            states = [state for state, _ in said]
            assert "trading" not in states
            assert all(latches == LATCH for state, latches in said if state == "halted")
            assert not here.customer.orders

    asyncio.run(play())


def test_a_halt_that_is_answered_is_durable_and_status_says_nothing_else_while_the_disk_is_slow(folder: Path) -> None:
    run = resting()
    market = tiny(run, bars(30))
    phrase = clearing_phrase(folder.name, LATCH)

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here:
            Gate(here.server, here.closes(6))
            with slow_disk() as disk:
                async with running(here, folder) as task:
                    await until(folder, lambda status: status["state"] == "trading")
                    answer = await ask(folder, "halt", "enough")
                    assert answer["halt_durable"] and answer["state"] == "halted" and is_latched(folder / FILE)
                    async with asyncio.timeout(20):
                        while not disk.asked.is_set():
                            await asyncio.sleep(0.002)
                    for _ in range(5):
                        status = await ask(folder, "status")
                        assert (status["state"], status["latches"], status["halt_durable"]) == ("halted", [], True)
                        assert is_latched(folder / FILE), "the one thing that would be left of it"
                    with pytest.raises(Declined, match="the halt is not in the journal yet"):
                        await ask(folder, "resume", LATCH, "me", phrase)
                    assert is_latched(folder / FILE)
                    disk.let_go.set()
                    await until(folder, lambda status: status["latches"] == ["kill_switch"])
                    async with asyncio.timeout(20):
                        while is_latched(folder / FILE):
                            await asyncio.sleep(0.002)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            assert latched(folder) == LATCH

    asyncio.run(play())


def test_a_halt_whose_answer_is_lost_stands_as_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> object:
        raise Unanswered("the runner did not answer halt within 5 s")

    folder.mkdir(parents=True)
    monkeypatch.setattr("flea_lab.live.halt.ControlClient.halt", silent)
    found = halt_account(folder, "enough")
    assert found.outcome == "unreached" and is_latched(folder / FILE)

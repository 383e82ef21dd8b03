"""What must not die halts where it dies: an exception in a part that guards orders, a task that ends, a dead thread."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flea_lab.errors import WorkspaceError
from flea_lab.live.account import HALT
from flea_lab.live.brake import Brake
from flea_lab.live.control import ControlServer
from flea_lab.live.control_client import ControlClient
from flea_lab.live.dead_man import DeadMan
from flea_lab.live.journal import LiveJournal, open_journal
from flea_lab.live.latch import is_latched
from flea_lab.live.pump import Pump
from flea_lab.live.reconcile import Reconciler
from flea_lab.live.sender import Sender
from flea_lab.live.store import FILE
from flea_lab.model.market import MS_NS
from flea_lab.risk.gate import Gate as RiskGate
from tests.backtest.tiny import tiny
from tests.live.session import Gate, ask, changed, proxy, running, session, until, world
from tests.live.test_guards_live import resting


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "critical"


def raises(*_: object, **__: object) -> Any:
    raise ValueError("planted")


def ends(*_: object) -> Any:
    raise SystemExit  # the quiet end of a thread


async def dies(*_: object, **__: object) -> Any:
    raise ValueError("planted")


async def returns(*_: object, **__: object) -> Any:
    return None


PARTS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "the reconciler": (Reconciler, "due", raises),
    "the lane of orders": (Sender, "_send", dies),
    "the questions": (Sender, "ask", dies),
    "the journal": (LiveJournal, "append", raises),
    "the pump": (Pump, "flush", raises),
    "the halts": (Brake, "look", raises),
    "the risk gate": (RiskGate, "advance", raises),
    "the control socket": (ControlServer, "_keep_listening", ends),
}


QUICK = ("the reconciler", "the journal", "the lane of orders", "the risk gate", "the halts")
"""Tried always; all of them in the campaign."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread dies on purpose
@pytest.mark.parametrize(
    "part", [part if part in QUICK else pytest.param(part, marks=pytest.mark.slow) for part in sorted(PARTS)]
)
def test_a_fault_in_a_critical_part_halts_and_takes_every_order_back(part: str, folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})
    thing, name, fault = PARTS[part]

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here:
            gate = Gate(here.server, here.closes(8))
            async with running(here, folder) as task:
                await here.at(8)
                await until(folder, lambda said: said["state"] == "trading")
                await here.rests()
                with changed(thing, name, fault):
                    with suppress(WorkspaceError):  # the control socket looks after itself when it is asked
                        await asyncio.to_thread(ControlClient(folder, timeout_s=0.3).status)
                    gate.open(here.closes(12))
                    with pytest.raises(Exception, match=r"planted|its thread is dead"):
                        async with asyncio.timeout(20):
                            await task
            assert not here.customer.open, "taken back before the end"
        halted_in_file = is_latched(folder / HALT)
        journal = open_journal(folder)
        halted_in_journal = "kill_switch" in journal.last_latches()
        journal.close()
        assert (folder / FILE).exists() and (halted_in_file or halted_in_journal)

    asyncio.run(play())


@pytest.mark.parametrize(("thing", "name"), [(Sender, "send_cancels"), (DeadMan, "run")])
def test_a_task_that_must_not_end_ends_the_session_when_it_does(thing: object, name: str, folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(8)]})

    async def play() -> None:
        async with world(run, market) as here:
            with changed(thing, name, returns), pytest.raises(RuntimeError, match="a task that must not end has ended"):
                async with asyncio.timeout(20):
                    await session(here, folder)

    asyncio.run(play())


def test_an_order_that_is_on_its_way_when_the_session_ends_is_taken_back_too(folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(8))
            async with running(here, folder, url=between.url) as task:
                await here.at(8)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(8) * MS_NS)
                await here.rests()
                posted, taken_back = asyncio.Event(), asyncio.Event()

                async def late(method: str, path: str, body: bytes) -> None:
                    if (method, path) == ("POST", "/orders"):
                        posted.set()
                        await taken_back.wait()  # arrives when the venue has said that nothing is open
                    elif method == "DELETE":
                        asyncio.get_running_loop().call_later(0.3, taken_back.set)

                between.rest = late
                gate.open(here.closes(9))
                async with asyncio.timeout(20):
                    await posted.wait()
                with changed(Brake, "verify", dies):
                    await ask(folder, "halt", "enough")
                    with pytest.raises(ValueError, match="planted"):
                        async with asyncio.timeout(20):
                            await task
            await between.at_rest()
            assert not here.customer.open

    asyncio.run(play())


def test_a_verify_that_fails_in_its_own_way_does_not_end_the_halt(folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here:
            Gate(here.server, here.closes(8))
            async with running(here, folder) as task:
                await here.at(8)
                await until(folder, lambda said: said["state"] == "trading")
                with changed(Brake, "verify", dies):
                    await ask(folder, "halt", "enough")
                    with pytest.raises(ValueError, match="planted"):
                        async with asyncio.timeout(20):
                            await task
            assert not here.customer.open
            async with running(here, folder):
                said = await until(folder, lambda said: said["halt_verified"], 20)
                assert said["latches"] == ["kill_switch"]

    asyncio.run(play())

"""Every command that a shell block of the documents shows is run as it stands there, or is listed with a reason."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flea_lab.cli.commands import app
from flea_lab.clock import WallClock
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.control import ControlServer
from flea_lab.live.keys import key_file
from flea_lab.live.lock import lock_account
from tests.docs.cluster import begun
from tests.docs.pages import blocks, commands, named
from tests.docs.rules import AT_ONCE, CLUSTER, LATER, LIVED, NOT_RUN, STATUS, leaf_of, not_run
from tests.docs.world import BARS, World
from tests.laws.source import ROOT
from tests.laws.test_docs import command_line, leaves, unknown_commands
from tests.live.fake_runner import FakeRunner
from tests.live.hooks import hook
from tests.live.processes import Process, status, until

ALL = commands(blocks(ROOT))
RUN = [one for one in ALL if not not_run(one.text)]
OF_A_CLUSTER = [one for one in RUN if leaf_of(one.text) == CLUSTER]


def flea(words: list[str]) -> Result:
    return CliRunner().invoke(app, words)


def lines(leaves: object) -> list[object]:
    """Each different line that calls one of `leaves`, as a parameter with its place as its name."""
    first = {one.text: one for one in reversed(RUN) if leaf_of(one.text) in leaves}  # type: ignore[operator]
    return [pytest.param(one.text, id=one.at) for one in sorted(first.values(), key=lambda one: one.at)]


def went(text: str, words: list[str]) -> Result:
    done = flea(words)
    allowed = {0, 1} if leaf_of(text) in STATUS else {0}
    failed = done.exception is not None and not isinstance(done.exception, SystemExit)
    assert not failed and done.exit_code in allowed, f"{text}\n{words}\n{done.output}\n{done.exception!r}"
    return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as held:
        folder = tmp_path_factory.mktemp("docs")
        patch.setenv("FLEA_HOME", str(folder / "home"))
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        patch.setenv("FLEA_OFFLINE", "1")
        patch.delenv("FLEA_DATA_DIR", raising=False)
        patch.delenv("FLEA_API_KEY", raising=False)
        patch.chdir(folder)
        phone = held.enter_context(hook())
        patch.setenv("FLEA_ALERT_PHONE", f"json://127.0.0.1:{phone.port}/")
        for symbol in ("BTCUSDT", "ETHUSDT"):
            assert flea(["data", "synth", "--symbol", symbol, "--bars", str(BARS)]).exit_code == 0
        made = World(folder)
        made.fill()
        yield made


@pytest.fixture
def answered(world: World) -> Iterator[World]:
    """The same, with a runner of the account that answers."""
    folder = ready_folder("main")
    with lock_account(folder, WallClock()), ControlServer(folder, FakeRunner("main", "c" * 64, 1)):
        yield world


def test_every_command_is_run_or_listed() -> None:
    known = AT_ONCE | LATER | {*LIVED, CLUSTER}
    assert [one for one in RUN if leaf_of(one.text) not in known] == []
    assert len(ALL) > 70


def test_what_is_listed_is_in_the_documents() -> None:
    assert [begins for begins in NOT_RUN if not any(one.text.startswith(begins) for one in ALL)] == []
    there = {leaf_of(one.text) for one in RUN}
    gone = (AT_ONCE | LATER | set(LIVED)) - there
    assert [leaf for leaf in gone if leaf in leaves(command_line())] == []
    assert [one.text.split()[:2] for one in OF_A_CLUSTER] == [["dask", "scheduler"], ["dask", "worker"]]


def test_the_commands_that_the_prose_names_exist() -> None:
    there = [one for one in named(ROOT) if one.text.startswith("flea ")]
    bare = [one.text.replace("[", "").replace("]", "") for one in there]
    assert unknown_commands([text for text in bare if text not in GROUPS], command_line()) == []
    assert len(there) > 60


GROUPS = ("flea schedule", "flea data", "flea tape", "flea alerts")


@pytest.mark.parametrize("text", lines(AT_ONCE))
def test_a_command_works_as_it_is_shown(answered: World, text: str) -> None:
    for words in answered.typed(text):
        went(text, words)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("text", lines(LATER))
def test_a_long_command_works_as_it_is_shown(world: World, text: str) -> None:
    with ExitStack() as held:
        if "--cluster" in text:
            world.cluster = held.enter_context(begun([one.text for one in OF_A_CLUSTER], world.folder))
        for words in world.typed(text):
            went(text, words)


def lived(world: World) -> Iterator[tuple[str, list[str]]]:
    """The lines of a bot's life in the order of `LIVED`, and what is typed for each."""
    different = list(dict.fromkeys(one.text for one in RUN if leaf_of(one.text) in LIVED))
    for text in sorted(different, key=lambda text: LIVED.index(leaf_of(text))):
        for words in world.typed(text):
            yield text, words


UP = {
    "flea sandbox": "sandbox  http",
    "flea record": "record",
    "flea monitor": "http://127.0.0.1",
    "flea schedule run": "schedule  ",
}
"""What a command that goes on until it is interrupted says once it is there."""


class Life:
    """Real processes: what goes on is started, looked at, and interrupted as by Ctrl-C."""

    def __init__(self, world: World) -> None:
        self.world, self.held, self.failed = world, dict[str, Process](), list[str]()
        shutil.move(account_folder("main"), world.folder / "rehearsed")

    def take(self, text: str, words: list[str]) -> None:
        leaf = leaf_of(text)
        if leaf == "flea run" or leaf in UP:
            self.interrupt(leaf)
            self.begin(leaf, text, words)
        elif leaf == "flea stop":
            self.done(text, words)
            assert self.held.pop("flea run").wait(60.0) == 0
        else:
            self.done(text, words)

    def begin(self, leaf: str, text: str, words: list[str]) -> None:
        process = Process(self.world.folder / f"{len(words)}{leaf.replace(' ', '-')}.log", *words)
        self.held[leaf] = process

        def there() -> object:
            assert process.ended is None, f"{text}: {process.said()}"
            return status("main").get("bars", 0) > 0 if leaf == "flea run" else UP[leaf] in process.said()

        until(there, 90.0, text)
        if leaf == "flea sandbox":
            self.world.url = process.said().split()[1]

    def interrupt(self, leaf: str) -> None:
        process = self.held.pop(leaf, None)
        if process is not None:
            os.kill(process.pid, signal.SIGINT)
            wanted = {0} if leaf in ("flea run", "flea sandbox") else {0, 130}  # 130: what an interrupt ends with
            if process.wait(60.0) not in wanted:
                self.failed.append(f"{leaf}: {process.ended}, {process.said()}")

    def done(self, text: str, words: list[str]) -> None:
        try:
            went(text, words)
        except AssertionError as error:
            self.failed.append(str(error))

    def end(self) -> None:
        for process in self.held.values():
            if process.ended is None:
                process.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bot_lives_as_the_pages_tell(world: World) -> None:
    life = Life(world)
    try:
        for text, words in lived(world):
            life.take(text, words)
        for leaf in list(life.held):
            life.interrupt(leaf)
    except AssertionError as error:
        life.failed.append(str(error))  # what went wrong before is said as well
    finally:
        life.end()
    assert life.failed == []


@pytest.mark.slow
def test_a_session_is_driven_from_python_as_shown(world: World) -> None:
    block = next(one for one in blocks(ROOT) if one.page == "docs/live.md" and one.kind == "python")
    for left in (account_folder("main"), key_file("main")):  # by the life above
        if left.exists():
            shutil.move(left, world.folder / f"before-{left.name}")
    text = block.text.replace('launch("NAME", ', "launch(config, unpromoted=True, ")  # as its comment has it
    assert text != block.text
    space: dict[str, Any] = {"config": world.config}
    try:
        exec(compile(text, block.at, "exec"), space)
    finally:
        if "session" in space and space["session"].alive:
            space["session"].stop()
        if "exchange" in space:
            space["exchange"].stop()
    assert not space["session"].alive

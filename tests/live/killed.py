"""What a campaign of kills starts and asks: runners forked from one that has everything compiled; what they left."""

import json
import os
import signal
import sqlite3
import sys
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from flea_lab.backtest.market import Market
from flea_lab.clock import Stopwatch
from flea_lab.config import RunConfig
from flea_lab.errors import FleaError
from flea_lab.execution.order import Order
from flea_lab.journal import EVENT, Entry
from flea_lab.live.account import HALT, LOG
from flea_lab.live.latch import is_latched
from flea_lab.live.store import FILE
from flea_lab.model.trading import Halt, Resume
from flea_lab.sandbox.settings import SandboxSettings
from flea_lab.wiring import live_session
from tests.live.audited import serve
from tests.live.processes import sleep, until

TOO_MANY = 429
"""A request that was answered so was not carried out, and may be sent again: the venue says so."""


class Forked:
    """A process that goes on from this one with `work`, its output in `log`; it ends with the status of `work`."""

    def __init__(self, log: Path, work: Callable[[], int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.log, self._status = log, -1
        self._over = False
        self.watch = Stopwatch()
        self.pid = os.fork()
        if self.pid == 0:
            _become(log, work)

    @property
    def ended(self) -> int | None:
        """The exit status, None while it runs."""
        if not self._over:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._over, self._status = True, os.waitstatus_to_exitcode(status)
        return self._status if self._over else None

    def kill(self) -> None:
        """SIGKILL, and its end."""
        if not self._over:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self._over, self._status = True, os.waitstatus_to_exitcode(status)

    def wait(self, within_s: float) -> int:
        """The exit status."""
        until(lambda: self.ended is not None, within_s, f"the end of {self.pid}")
        return self._status

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def _become(log: Path, work: Callable[[], int]) -> None:
    """The life of a forked process, which never comes back from here."""
    status = 70
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
        status = work()
    except FleaError as error:
        print(f"flea: {error}", file=sys.stderr)
        status = 1
    except BaseException:  # the end of this process, said as an interpreter would say it
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def forked_runner(
    config: RunConfig, url: str, account: str, folder: Path, planted: Callable[[], None] | None
) -> Forked:
    """The real bot of `config` in a process of its own; `planted` is done to it first."""

    def work() -> int:
        if planted is not None:
            planted()
        return live_session(config, None, venue="sandbox", account=account, url=url)

    return Forked(folder / LOG, work)


@contextmanager
def forked_sandbox(
    config: RunConfig, market: Market, settings: SandboxSettings, log: Path, mark: Path
) -> Iterator[str]:
    """The address of an audited sandbox in a process of its own; its last act is at the end of the block."""
    ours, theirs = os.pipe()

    def work() -> int:
        os.close(ours)
        serve(config, market, settings, mark, theirs)
        return 0

    process = Forked(log, work)
    os.close(theirs)
    try:
        with open(ours, encoding="ascii") as said:
            url = said.read()
        if not url:
            raise AssertionError(f"no sandbox: {process.said()}")
        yield url
    finally:
        process.kill()


def audit(url: str) -> dict[str, Any]:
    """What the venue knows; asked twice, so that what a dead process had sent has been taken in."""
    found: dict[str, Any] = {}
    for _ in range(2):
        with urllib.request.urlopen(f"{url}/audit", timeout=60) as answer:
            found = json.load(answer)
    return found


def resting(url: str) -> int:
    """How many orders are open at the venue, asked past its faults."""
    with urllib.request.urlopen(f"{url}/resting", timeout=60) as answer:
        return int(json.load(answer))


def rows(folder: Path, query: str, *given: Any) -> list[tuple[Any, ...]]:
    """What a query of the journal in `folder` gives; nothing where there is no journal yet."""
    if not (folder / FILE).exists():
        return []
    db = sqlite3.connect(f"{(folder / FILE).as_uri()}?mode=ro", uri=True)
    try:
        return db.execute(query, given).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # killed before it had made any
            return []
        raise
    finally:
        db.close()


class Control(NamedTuple):
    """A row of a journal that closes the kill switch, or opens it."""

    seq: int
    halts: bool


_CONTROL = msgspec.msgpack.Decoder(Entry)


def controls(folder: Path) -> list[Control]:
    """Every halt of the journal in `folder`, and every resume that cleared one; read from its rows, by nothing of what
    a runner goes on from."""
    found = []
    for word in ("Halt", "Resume"):
        query = f"SELECT seq, body FROM entries WHERE kind={EVENT} AND instr(body, CAST(? AS BLOB))"
        for seq, body in rows(folder, query, word):
            event = _CONTROL.decode(body)
            if isinstance(event, Halt) or (isinstance(event, Resume) and "kill_switch" in event.clears):
                found.append(Control(seq, isinstance(event, Halt)))
    return sorted(found)


class Promise(NamedTuple):
    """A halt that was answered, or that anybody can see: made when row `seq` was the journal's last."""

    seq: int

    @classmethod
    def now(cls, folder: Path) -> "Promise":
        """One that is made now, in `folder`."""
        return cls(max((seq for (seq,) in rows(folder, "SELECT max(seq) FROM entries") if seq is not None), default=-1))

    def stands(self, folder: Path) -> bool:
        """Whether no resume in the journal has cleared it."""
        return all(one.halts for one in controls(folder) if one.seq > self.seq)

    def broken(self, folder: Path) -> str:
        """What is wrong where nothing on the disk would tell the next start of it; "" where something does."""
        if is_latched(folder / HALT) or [one.halts for one in controls(folder)][-1:] == [True]:
            return ""
        return "no HALT file, and the journal's last word is no halt"


_ORDER = msgspec.msgpack.Decoder(Order)


def broken(there: dict[str, Any], folder: Path, *, at_rest: bool) -> list[str]:
    """What is against the rules, each in a line: duplicates, orphans, fills that nobody gave, accounts that were called
    equal and were not. `at_rest` says that nothing is on its way: then journal and venue are the same."""
    here = {name: (said, body) for name, said, body in rows(folder, "SELECT id, status, body FROM orders")}
    found = [f"orphan: {name} is at the venue and in no row" for name in there["orders"] if name not in here]
    found += [f"orphan: {name} was posted and is in no row" for name, _ in there["posts"] if name not in here]
    found += _twice(there, here) + _unequal(there, folder)
    theirs = {fill_id for fill_id, _, _ in there["fills"]}
    ours = [fill_id for (fill_id,) in rows(folder, "SELECT fill_id FROM fills")]
    if len(set(ours)) != len(ours) or not set(ours) <= theirs:
        found.append(f"fills: {len(ours)} rows, {len(set(ours))} different, {len(set(ours) - theirs)} of no order")
    if at_rest:
        if set(ours) != theirs:
            found.append(f"fills: {len(theirs - set(ours))} are missing")
        for name, (said, _) in here.items():
            right = there["orders"][name]["status"] if name in there["orders"] else ""
            if not (said == right or (not right and said in ("rejected", "not_accepted"))):
                found.append(f"order {name} is {said} here, {right or 'not there'} at the venue")
    return found


def _twice(there: dict[str, Any], here: dict[str, tuple[str, bytes]]) -> list[str]:
    """Duplicates: a post after one that may have arrived, two orders under one id or for one decision, more filled than
    was asked for."""
    found, answers = [], dict[str, list[int]]()
    for name, status in there["posts"]:
        answers.setdefault(name, []).append(status)
    for name, statuses in answers.items():
        if any(status != TOO_MANY for status in statuses[:-1]):
            found.append(f"duplicate: {name} was posted {len(statuses)} times, answered by {statuses}")
    decided = dict[tuple[Any, ...], str]()
    for name in there["orders"]:
        if name not in here:
            continue
        command = _ORDER.decode(here[name][1]).command
        other = decided.setdefault((command.symbol, command.ts_event), name)
        if other != name:
            found.append(f"duplicate: {name} and {other} are of one decision")
    filled = dict[str, int]()
    for _, name, lots in there["fills"]:
        filled[name] = filled.get(name, 0) + lots
    found += [
        f"duplicate: {lots} lots of {name} are filled, {abs(there['orders'][name]['lots'])} were asked for"
        for name, lots in filled.items()
        if lots > abs(there["orders"][name]["lots"])
    ]
    return found


def _unequal(there: dict[str, Any], folder: Path) -> list[str]:
    """Accounts that a runner called equal, and that the venue never had at that moment."""
    truths = dict[int, list[dict[str, Any]]]()
    for ts_ms, account in there["accounts"]:
        truths.setdefault(ts_ms, []).append(account)
    return [
        f"unequal: {ours} was called equal at {ts}, the venue had {truths.get(ts // 1_000_000)}"
        for ts, ours in rows(folder, "SELECT ts, ours FROM reconciles WHERE equal")
        if json.loads(ours) not in truths.get(ts // 1_000_000, [])
    ]


def equals(folder: Path) -> int:
    """How often the account was compared and equal, in all lives."""
    found = rows(folder, "SELECT count(*) FROM reconciles WHERE equal")
    return int(found[0][0]) if found else 0


__all__ = [
    "Forked",
    "Promise",
    "audit",
    "broken",
    "controls",
    "equals",
    "forked_runner",
    "forked_sandbox",
    "resting",
    "rows",
    "sleep",
]

"""Killing an account: latch it, take every order back at the venue, and say so only when the venue has said it twice.

Rules. Nothing is needed of the runner: not that it answers, not its journal, not its config. The latch comes first and
is on disk before the venue is spoken to. A runner that hangs or is stopped between the last look of an order and its
write would send that order when it goes on: its process is ended, and so it never leaves. Orders are taken back by the
venue's own scope, whoever gave them, and again until the venue lists none. An order that was under way may still
arrive, so the venue is asked again when that can no longer be; one that has arrived is taken back and the wait begins
anew. What could not be verified is never called killed. Positions stay as they are.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock, Stopwatch
from flea_lab.errors import FleaError, VenueError, VenueRefusal, WorkspaceError
from flea_lab.live.doorway import is_clear, stands_inside
from flea_lab.live.kill_venue import CancelOnly, OpenOrder
from flea_lab.live.latch import write_halt_file
from flea_lab.live.lock import Holder, holder
from flea_lab.live.socket_path import write_private
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.reach import on_loopback

VENUE = "venue.json"
"""Written by a runner before it connects: where its orders go."""

AGAIN_S = 0.1
LATE_HERE_S = 0.5
LATE_S = 10.0
MARGIN_S = 1.0
DOORWAY_S = 0.5
"""How long an order that has had its last look may take to be written, before its runner hangs."""

END_S = 2.0
"""How long the end of a process may take."""

Told = Callable[[str], None]


class Trades(Struct, frozen=True, kw_only=True):
    """Where the orders of an account go: the kind of venue, how it is spoken to, and the grids that are traded."""

    venue: str
    dialect: dict[str, Any]
    instruments: dict[str, dict[str, Any]] = {}


class Killed(Struct, frozen=True, kw_only=True):
    """What became of a kill. Seconds are counted from its start; negative where it did not come to that.

    "verified": the venue listed no open order, and none again after `late_s`. "unverified": it stands latched where
    `latched_s` says so, and `why` says what could not be done; `left` are the orders that the venue listed last.
    """

    outcome: Literal["verified", "unverified"]
    where: str
    why: str = ""
    runner: str = ""
    found: tuple[OpenOrder, ...] = ()
    left: tuple[OpenOrder, ...] = ()
    positions: tuple[str, ...] = ()
    rounds: int = 0
    late_s: float = 0.0
    latched_s: float = -1.0
    cleared_s: float = -1.0
    verified_s: float = -1.0


def note_venue(folder: Path, venue: str, dialect: Dialect, instruments: Mapping[str, Any] | None = None) -> None:
    """Writes down where the orders of the account in `folder` go, for a kill that can ask nobody else."""
    grids = {name: msgspec.to_builtins(grid) for name, grid in (instruments or {}).items()}
    said = Trades(venue=venue, dialect=msgspec.to_builtins(dialect), instruments=grids)
    write_private(folder / VENUE, msgspec.json.encode(said).decode() + "\n")


def noted_venue(folder: Path) -> Trades | None:
    """Where the orders of the account in `folder` go; None where nobody has said it in a way that can be read."""
    try:
        return msgspec.json.decode((folder / VENUE).read_bytes(), type=Trades)
    except (OSError, ValueError, RecursionError):
        return None


def dialect_for(folder: Path, name: str | None, url: str | None) -> tuple[str, Dialect]:
    """The kind of venue and the dialect of a kill: what is given, else what the runner wrote down, else the sandbox's.

    `ConfigError` where it cannot be.
    """
    noted = noted_venue(folder)
    values: dict[str, Any] = {} if noted is None or name is not None else dict(noted.dialect)
    kind = "live" if noted is None else noted.venue
    if name is not None:
        kind = "paper" if name == "paper" else "live"
        values = {} if name in ("paper", "sandbox") else {"name": name}
    if url is not None:
        base = url.rstrip("/")
        values |= {"rest_url": base, "ws_url": f"ws{base.removeprefix('http')}/ws"}
    return kind, load_dialect(values, f"what {folder / VENUE} says" if noted is not None else "flea kill")


def late_s(dialect: Dialect) -> float:
    """How long after the last sight of the venue an order that was under way may still arrive, in seconds.

    The time after which the venue refuses it, where orders say such a time; on this machine a moment; else a guess.
    """
    if dialect.order_validity_s:
        return dialect.order_validity_s + MARGIN_S
    return LATE_HERE_S if on_loopback(dialect.rest_url) else LATE_S


class Kill:
    """One kill of the account in `folder`; `told` hears what has come to pass, line by line."""

    def __init__(self, folder: Path, reason: str, clock: Clock, *, told: Told | None = None) -> None:
        self._folder, self._reason, self._clock = folder, reason, clock
        self._told = told or (lambda _: None)
        self._watch, self._pause = Stopwatch(), threading.Event()
        self._latched_s = self._cleared_s = -1.0
        self._why_no_latch = self._inside = ""
        self._ended_runner = ""
        self._found: dict[str, OpenOrder] = {}
        self._left: list[OpenOrder] = []
        self._rounds, self._took = 0, False
        self._why, self._said = "", set[str]()

    def latch(self) -> bool:
        """Whether the HALT file is on disk; where it cannot be, the orders are taken back all the same."""
        try:
            file = write_halt_file(self._folder, self._reason, self._clock)
        except WorkspaceError as error:
            self._why_no_latch = str(error)
            self._told(f"NOT latched: {error}")
            return False
        self._latched_s = self._watch.elapsed_s()
        self._inside = self._clear_doorway()
        sends = self._inside or f"no runner of account {self._folder.name} sends an order"
        self._told(f"latched     {file} is on disk: {sends}")
        return True

    def _clear_doorway(self) -> str:
        """Why an order may still leave although it is latched; "" once none does. A runner that stays between the last
        look and the write is ended, where the system shows that it is this process that stands there."""
        if is_clear(self._folder, DOORWAY_S):
            return ""
        runs = holder(self._folder)
        pid = runs.pid if runs is not None else 0
        if runs is not None and pid and stands_inside(self._folder, pid):
            text = runner_text(runs)
            with suppress(OSError):  # it has ended by itself, or is not ours to end: the doorway tells
                os.kill(pid, signal.SIGKILL)
            if is_clear(self._folder, END_S):
                self._ended_runner = f"{text} was in the middle of sending an order: its process was ended"
                self._told(f"ended       {self._ended_runner}")
                return ""
        return f"{runner_text(runs)} is in the middle of sending an order, which may leave when it goes on: end it"

    def paper(self) -> Killed:
        """What became of a kill where orders exist in the runner alone: they end with it, or with its halt."""
        runs = holder(self._folder)
        if runs is None and self._latched_s >= 0:
            return self._ended("verified", "paper", "", 0.0, self._watch.elapsed_s())
        why = self._why_no_latch or f"paper orders live in {runner_text(runs)}: flea status says whether it has halted"
        return self._ended("unverified", "paper", why, 0.0)

    def unknown(self, error: FleaError) -> Killed:
        """What became of a kill that has no way to the venue."""
        return self._ended("unverified", "no venue", str(error), 0.0)

    def take_back(self, venue: CancelOnly, *, wait_s: float, late_s: float) -> Killed:
        """What became of it within `wait_s` and twice `late_s`: every order taken back, and none again in `late_s`."""
        clear_since: float | None = None
        try:
            while True:
                empty = self._round(venue)
                now = self._watch.elapsed_s()
                if not empty and now >= wait_s:
                    why = self._why or f"after {wait_s:g} s the venue still lists {len(self._left)} open orders"
                    return self._ended("unverified", venue.where, why, late_s)
                if not empty:
                    clear_since = None
                elif clear_since is None:
                    clear_since = now
                    self._clear(now, late_s)
                elif now - clear_since >= late_s:
                    break
                self._pause.wait(AGAIN_S)
        except VenueRefusal as error:
            return self._ended("unverified", venue.where, str(error), late_s)
        why = self._why_no_latch or self._inside
        outcome: Literal["verified", "unverified"] = "unverified" if why else "verified"
        return self._ended(outcome, venue.where, why, late_s, now, self._positions(venue))

    def _clear(self, now: float, late_s: float) -> None:
        if self._cleared_s < 0:
            self._cleared_s = now
            taken = f"{len(self._found)} order{'s' * (len(self._found) != 1)} taken back"
            self._told(
                f"taken back  no open order at the venue after {now:.2f} s, {taken}; asked again for {late_s:g} s"
            )

    def _round(self, venue: CancelOnly) -> bool:
        """Whether the venue lists no open order, every one that it listed taken back, and all at once at least once."""
        self._why = ""
        listed = self._tried(lambda: self._note(venue.open_orders()))
        if listed and self._took and not self._left:
            return True
        self._rounds += 1
        took = self._tried(venue.cancel_all)
        self._took = self._took or took
        return took and self._tried(lambda: self._note(venue.open_orders())) and not self._left

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except VenueRefusal:
            raise
        except VenueError as error:
            self._why = str(error)
            if self._why not in self._said:
                self._said.add(self._why)
                self._told(f"not yet     {error}")
            return False
        return True

    def _note(self, orders: list[OpenOrder]) -> None:
        self._left = orders
        self._found |= {order.name: order for order in orders}

    def _positions(self, venue: CancelOnly) -> tuple[str, ...]:
        try:
            return tuple(venue.positions())
        except VenueError as error:
            return (f"not known: {error}",)

    def _ended(
        self,
        outcome: Literal["verified", "unverified"],
        where: str,
        why: str,
        late_s: float,
        verified_s: float = -1.0,
        positions: tuple[str, ...] = (),
    ) -> Killed:
        return Killed(
            outcome=outcome,
            where=where,
            why=why,
            runner=self._ended_runner or runner_text(holder(self._folder)),
            found=tuple(self._found.values()),
            left=tuple(self._left),
            positions=positions,
            rounds=self._rounds,
            late_s=late_s,
            latched_s=self._latched_s,
            cleared_s=self._cleared_s,
            verified_s=verified_s,
        )


def runner_text(runs: Holder | None) -> str:
    """Who holds the account, in words; that its process is stopped where the system says so."""
    if runs is None:
        return "no runner"
    state = ""
    with suppress(OSError, IndexError):  # another system, or it has just gone
        said = Path(f"/proc/{runs.pid}/stat").read_text(encoding="ascii", errors="replace")
        state = said.rpartition(")")[2].split()[0]
    return f"the runner (pid {runs.pid}{', its process is stopped' if state in ('T', 't') else ''})"

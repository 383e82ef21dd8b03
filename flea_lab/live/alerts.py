"""What a person should hear of: a line on the console and in `alerts.jsonl`, at most one a key and minute.

Rules. `put` is for the trading loop: it compares, counts and queues, and waits for no disk and no network. A critical
alert is in the file before it returns, because the process may not live to write it later, and on the disk before any
sink hears of it. What is held back within a minute is counted and said afterwards. Of keys beyond the first `KEYS` one
line is said for all of them; every critical one is in the file.
"""

import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import ALERTS
from flea_lab.live.secrecy import LARGEST, Mask, make_room
from flea_lab.model.alert import SEVERITIES, Kind, Severity

__all__ = ["Alerts", "Kind", "Notice", "Severity", "Sink", "kind_of"]

KEYS = 256
OTHER = "other"  # the key of every key beyond the first KEYS
QUEUED = 1_000
AT_ONCE = 100
LONGEST = 2_000
CLOSE_S = 2.0
"""How long the end waits for a slow reader, at most."""

_NUMBER = re.compile(r"[0-9]+")


class Notice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `held` is how many of this key were not said since its last line. `ts` ns UTC. A critical one has an
    `id`, by which it is known again after a restart."""

    ts: int
    severity: Severity
    key: str
    text: str
    held: int = 0
    kind: Kind = "system"
    id: str = ""

    def line(self) -> str:
        """The notice for a console."""
        moment = datetime.fromtimestamp(self.ts // 1_000_000_000, UTC)
        more = f" (and {self.held} more)" if self.held else ""
        return f"{moment:%Y-%m-%dT%H:%M:%SZ} {self.severity}: {self.text}{more}"


Sink = Callable[[Notice], None]
"""Sends a notice on; called in the thread of the alerts, may take its time and may fail."""


class _Key:
    """What was said of one key: when last, how grave (`told`), and what was held back since, the gravest of it."""

    __slots__ = ("held", "kind", "last_ns", "severity", "text", "told")

    def __init__(self, now_ns: int, severity: Severity = "info", kind: Kind = "system") -> None:
        self.last_ns = now_ns
        self.held = 0
        self.text = ""
        self.told: Severity = severity
        self.severity: Severity = "info"
        self.kind: Kind = kind

    def hold(self, severity: Severity, kind: Kind, text: str) -> None:
        """Counts one that is held back; what is told of them later is the last of the gravest."""
        self.held += 1
        if SEVERITIES.index(severity) >= SEVERITIES.index(self.severity):
            self.severity, self.kind, self.text = severity, kind, text


class Alerts:
    """The alerts of the account in `folder`, worked off by a daemon thread until closed.

    `said`, `held` and `lost` count lines, alerts held back within a minute, and lines that a full queue could not take
    (of these, critical ones are on disk all the same).
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        console: TextIO | None = None,
        sinks: Sequence[Sink] = (),
        mask: Mask | None = None,
        every_s: float = 60.0,
    ) -> None:
        """`mask` takes keys out of every text before anything is made of it. Of one key a line is said `every_s`."""
        self.file = folder / ALERTS
        self.said = self.held = self.lost = 0
        self._clock = clock
        self._console = console or sys.stderr
        self._sinks = tuple(sinks)
        self._every_ns = round(every_s * 1e9)
        self._start, self._numbered, self._told_lost = clock.new_id(), 0, 0
        self._keys: dict[str, _Key] = {}
        self._lock, self._rotating = threading.Lock(), threading.Lock()
        self.mask: Mask = mask or (lambda text: text)
        self._queue: queue.Queue[Notice] = queue.Queue(QUEUED)
        self._closing = threading.Event()
        try:
            self._handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(self._handle, 0o600)
        except OSError as error:
            raise WorkspaceError(f"alerts {self.file}: cannot be written ({error.strerror})") from None
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._thread.start()

    def put(self, severity: Severity, text: str, key: str = "", kind: Kind | None = None) -> None:
        """Takes an alert in constant time: said at once, or counted where its key had a line within the minute.

        Without a key it is the text with its numbers taken out, so that one message about many values is one key;
        without a kind it is what the text is about.
        """
        now_ns = self._clock.now_ns()
        text = " ".join(self.mask(text)[:LONGEST].split())
        key, kind = key[:80] or _NUMBER.sub("#", text[:80]), kind or kind_of(text)
        with self._lock:
            if self._closing.is_set():
                return
            own = key
            if key not in self._keys and len(self._keys) >= KEYS:
                key = OTHER
            known = self._keys.get(key)
            if known is not None and 0 <= now_ns - known.last_ns < self._every_ns and not _graver(severity, known):
                known.hold(severity, kind, text)
                self.held += 1
                said = None
                if severity != "critical" or own == key:
                    return
            else:
                said = self._keys[key] = _Key(now_ns, severity, kind)
                self.said += 1
            notice = Notice(
                ts=now_ns,
                severity=severity,
                key=own if said is None else key,
                text=text,
                held=known.held if known and said else 0,
                kind=kind,
                id=self._next_id(severity),
            )
        if severity == "critical":
            self._write(notice)
        if said is not None:
            self._enqueue(notice)

    def _next_id(self, severity: Severity) -> str:
        if severity != "critical":
            return ""
        self._numbered += 1
        return f"{self._start}-{self._numbered}"

    def close(self) -> None:
        """Says what is still held back and lets go of the file; waits `CLOSE_S` at most for a slow reader."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._thread.join(timeout=CLOSE_S)
        if not self._thread.is_alive():
            os.close(self._handle)

    def __enter__(self) -> "Alerts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _enqueue(self, notice: Notice) -> None:
        try:
            self._queue.put_nowait(notice)
        except queue.Full:
            with self._lock:
                self.lost += 1

    def _work(self) -> None:
        while True:
            closing = self._closing.is_set()
            taken = self._take(0.0 if closing else 0.5)
            for notice in taken:
                if notice.severity != "critical":
                    self._write(notice)
            if any(notice.severity == "critical" for notice in taken):
                self._sync()
            for notice in taken:
                self._say(notice)
            self._digest(everything=closing and not taken)
            if closing and not taken and self._queue.empty():
                return

    def _take(self, wait_s: float) -> list[Notice]:
        """What waits, at most a hundred at a time; nothing where nothing came for `wait_s`."""
        taken: list[Notice] = []
        with suppress(queue.Empty):
            taken.append(self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait())
            while len(taken) < AT_ONCE:
                taken.append(self._queue.get_nowait())
        return taken

    def _digest(self, *, everything: bool) -> None:
        """Queues a line for each key whose minute is over and that held something back; forgets quiet keys."""
        now_ns = self._clock.now_ns()
        due: list[Notice] = []
        with self._lock:
            for key, known in list(self._keys.items()):
                if not everything and 0 <= now_ns - known.last_ns < self._every_ns:
                    continue
                del self._keys[key]
                if known.held:
                    due.append(self._more(now_ns, key, known))
                    if not everything:
                        self._keys[key] = _Key(now_ns, known.severity)
            if self.lost > self._told_lost:
                text = f"{self.lost - self._told_lost} alerts did not fit in line; the critical ones are in {ALERTS}"
                due.append(Notice(ts=now_ns, severity="warning", key="lost", text=text))
                self._told_lost = self.lost
            self.said += len(due)
        for notice in due:
            if notice.severity == "critical":
                self._write(notice)
            self._enqueue(notice)

    def _more(self, now_ns: int, key: str, known: _Key) -> Notice:
        return Notice(
            ts=now_ns,
            severity=known.severity,
            key=key,
            text=f"{known.held} more, the last: {known.text}",
            kind=known.kind,
            id=self._next_id(known.severity),
        )

    def _write(self, notice: Notice) -> None:
        try:
            with self._rotating:
                self._make_room()
                os.write(self._handle, msgspec.json.encode(notice) + b"\n")  # one write, whole lines
        except OSError as error:  # a full disk must not stop the desk: the console still hears the alert, and this
            self._print(f"alerts {self.file}: cannot be written ({error.strerror})")

    def _sync(self) -> None:
        try:
            with self._rotating:
                handle = os.dup(self._handle)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            self._print(f"alerts {self.file}: not on the disk ({error.strerror})")

    def _make_room(self) -> None:
        """Begins the file anew where it is too large; the last ones are kept."""
        if os.fstat(self._handle).st_size < LARGEST:
            return
        make_room(self.file)
        self.file.rename(f"{self.file}.1")
        fresh = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(self._handle)
        self._handle = fresh

    def _say(self, notice: Notice) -> None:
        self._print(notice.line())
        for sink in self._sinks:
            try:
                sink(notice)
            except Exception as error:  # what a sink raises is not ours to know; the others still get theirs
                self._print(f"alert not sent on: {type(error).__name__}")

    def _print(self, line: str) -> None:
        try:
            print(line, file=self._console, flush=True)
        except (OSError, ValueError):
            with self._lock:
                self.lost += 1


def kind_of(text: str) -> Kind:
    """What an alert is about, by its words: those that name no kind are the desk's own.

    >>> kind_of("halted by drawdown"), kind_of("BTCUSDT refused: size"), kind_of("the connection is down")
    ('halt', 'risk', 'system')
    """
    if text.startswith("halted") or "the kill switch" in text or "only orders that reduce" in text:
        return "halt"
    return "risk" if " refused: " in text else "system"


def _graver(severity: Severity, known: _Key) -> bool:
    """Whether a line of the same key and minute would hide something worse: critical after less is never held back."""
    return severity == "critical" and known.told != "critical"

"""What a person should hear of: a line on the console and in `alerts.jsonl`, at most one a key and minute.

`put` is for the trading loop: it compares, counts and queues, nothing else. Only a critical alert is on disk before
it returns, because the process may not live to write it later. What is held back within a minute is counted and said
afterwards.
"""

import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import ALERTS
from flea_lab.live.secrecy import LARGEST, Mask, make_room

Severity = Literal["info", "warning", "critical"]

MINUTE_NS = 60_000_000_000
KEYS = 256
OTHER = "other"  # the key of every key beyond the first KEYS
QUEUED = 1_000
LONGEST = 2_000

_NUMBER = re.compile(r"[0-9]+")


class Notice(Struct, frozen=True, kw_only=True):
    """One line. `held` is how many of this key were not said since its last line. `ts` ns UTC."""

    ts: int
    severity: Severity
    key: str
    text: str
    held: int = 0

    def line(self) -> str:
        """The notice for a console."""
        moment = datetime.fromtimestamp(self.ts // 1_000_000_000, UTC)
        more = f" (and {self.held} more)" if self.held else ""
        return f"{moment:%Y-%m-%dT%H:%M:%SZ} {self.severity}: {self.text}{more}"


Sink = Callable[[Notice], None]
"""Sends a notice on; called in the thread of the alerts, may take its time and may fail."""


class _Key:
    """What was said of one key: when last, and what was held back since."""

    __slots__ = ("held", "last_ns", "severity", "text")

    def __init__(self, now_ns: int) -> None:
        self.last_ns = now_ns
        self.held = 0
        self.text = ""
        self.severity: Severity = "info"


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
    ) -> None:
        """`mask` takes keys out of every text before anything is made of it."""
        self.file = folder / ALERTS
        self.said = self.held = self.lost = 0
        self._clock = clock
        self._console = console or sys.stderr
        self._sinks = tuple(sinks)
        self._keys: dict[str, _Key] = {}
        self._lock, self._rotating = threading.Lock(), threading.Lock()
        self._mask: Mask = mask or (lambda text: text)
        self._queue: queue.Queue[Notice] = queue.Queue(QUEUED)
        self._closing = threading.Event()
        try:
            self._handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(self._handle, 0o600)
        except OSError as error:
            raise WorkspaceError(f"alerts {self.file}: cannot be written ({error.strerror})") from None
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._thread.start()

    def put(self, severity: Severity, text: str, key: str = "") -> None:
        """Takes an alert in constant time: said at once, or counted where its key had a line within the minute.

        Without a key it is the text with its numbers taken out, so that one message about many values is one key.
        """
        now_ns = self._clock.now_ns()
        text = " ".join(self._mask(text)[:LONGEST].split())
        key = key[:80] or _NUMBER.sub("#", text[:80])
        with self._lock:
            if self._closing.is_set():
                return
            if key not in self._keys and len(self._keys) >= KEYS:
                key = OTHER
            known = self._keys.get(key)
            if known is not None and 0 <= now_ns - known.last_ns < MINUTE_NS and not _graver(severity, known):
                known.held += 1
                known.text, known.severity = text, severity
                self.held += 1
                return
            notice = Notice(ts=now_ns, severity=severity, key=key, text=text, held=known.held if known else 0)
            self._keys[key] = entry = _Key(now_ns)
            entry.severity = severity
            self.said += 1
        if severity == "critical":
            self._write(notice, durable=True)
        self._enqueue(notice)

    def close(self) -> None:
        """Says what is still held back and lets go of the file; waits 2 s at most for a slow reader."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._thread.join(timeout=2.0)
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
            try:
                notice = self._queue.get(timeout=0.0 if closing else 0.5)
            except queue.Empty:
                self._digest(everything=closing)
                if closing and self._queue.empty():
                    return
                continue
            if notice.severity != "critical":
                self._write(notice)
            self._say(notice)

    def _digest(self, *, everything: bool) -> None:
        """Queues a line for each key whose minute is over and that held something back; forgets quiet keys."""
        now_ns = self._clock.now_ns()
        due = []
        with self._lock:
            for key, known in list(self._keys.items()):
                if not everything and 0 <= now_ns - known.last_ns < MINUTE_NS:
                    continue
                del self._keys[key]
                if known.held:
                    due.append((key, known))
                    if not everything:
                        self._keys[key] = _Key(now_ns)
            self.said += len(due)
        for key, known in due:
            notice = Notice(
                ts=now_ns, severity=known.severity, key=key, text=f"{known.held} more, the last: {known.text}"
            )
            if known.severity == "critical":
                self._write(notice, durable=True)
            self._enqueue(notice)

    def _write(self, notice: Notice, *, durable: bool = False) -> None:
        try:
            with self._rotating:
                self._make_room()
                os.write(self._handle, msgspec.json.encode(notice) + b"\n")  # one write, whole lines
            if durable:
                os.fsync(self._handle)
        except OSError as error:  # a full disk must not stop the desk: the console still hears the alert, and this
            self._print(f"alerts {self.file}: cannot be written ({error.strerror})")

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


def _graver(severity: Severity, known: _Key) -> bool:
    """Whether a line of the same key and minute would hide something worse: critical after less is never held back."""
    return severity == "critical" and known.severity != "critical"

"""One channel's courier: a thread that hands alerts over, many in one message, and keeps what is critical until it can.

Rules. `offer` is constant time and never waits. One sending takes `limit_s` at most; one that hangs longer has failed,
and none is begun beside it. After a failure the next try waits, twice as long each time; what comes meanwhile goes to
`failed` at once, and what is critical is kept as well. What does not fit into a message is counted in it.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from flea_lab.clock import Stopwatch
from flea_lab.errors import ConfigError
from flea_lab.live.alerts import Notice
from flea_lab.live.alerts_channel import Notifier, NotSent
from flea_lab.model.alert import AlertChannel

QUEUED = 1_000
KEPT = 1_000
"""Critical alerts that are kept for a channel that does not answer; those beyond are on disk, and delivered after a
restart."""

LINES, LINE, KEYS_NAMED = 10, 150, 3
"""A message: lines, letters of each, and keys that are named of what did not fit. Discord takes 2,000 letters."""

FIRST_S, LAST_S = 2.0, 60.0
"""The pause after a failure."""

PACE_S = 3.0
"""Least time between two messages: Telegram takes 20 a minute in a group."""

Delivered = Callable[[Sequence[Notice]], None]
Failed = Callable[["Courier", str, Sequence[Notice]], None]


class Courier:
    """The courier of channel `name`. `sent` counts messages, `over` alerts that found its line full; `failing` says why
    the last message was not taken, "" where it was."""

    def __init__(
        self,
        name: str,
        channel: AlertChannel,
        notifier: Notifier,
        *,
        title: str,
        limit_s: float,
        delivered: Delivered,
        failed: Failed,
        pace_s: float = PACE_S,
        first_s: float = FIRST_S,
    ) -> None:
        """`delivered` hears what a message held; `failed` why one was not taken, and what is new since."""
        self.name, self.channel, self.failing = name, channel, ""
        self.sent = self.over = 0
        self._notifier, self._title, self._limit_s = notifier, title, limit_s
        self._delivered, self._failed, self._pace_s, self._first_s = delivered, failed, pace_s, first_s
        self._queue: queue.Queue[Notice] = queue.Queue(QUEUED)
        self._waiting: list[Notice] = []
        self._more: Counter[str] = Counter()
        self._told_over = 0
        self._closing = threading.Event()
        self._hung: threading.Thread | None = None
        self._watch, self._next_s, self._pause_s = Stopwatch(), 0.0, first_s
        self._thread = threading.Thread(target=self._work, name=f"alerts to {name}", daemon=True)

    def start(self) -> None:
        """Begins to deliver."""
        self._thread.start()

    def offer(self, notice: Notice) -> None:
        """Takes a notice; counted where the line is full."""
        try:
            self._queue.put_nowait(notice)
        except queue.Full:
            self.over += 1

    def close(self, wait_s: float) -> None:
        """Hands over what waits, once, for `wait_s` at most."""
        self._closing.set()
        self._thread.join(wait_s)

    def _work(self) -> None:
        with suppress(ConfigError):  # said with the first message
            self._notifier.prepare()
        while True:
            closing = self._closing.is_set()
            fresh = self._gather(0.0 if closing else 0.2)
            if self.failing and fresh:
                self._failed(self, self.failing, fresh)
            due = self._watch.elapsed_s() >= self._next_s or (closing and not self.failing)
            if due and (self._waiting or self._more or self.over > self._told_over):
                self._deliver()
            if closing and self._queue.empty():
                return

    def _gather(self, wait_s: float) -> list[Notice]:
        """What is new, put to what waits."""
        fresh: list[Notice] = []
        with suppress(queue.Empty):
            fresh.append(self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait())
            while True:
                fresh.append(self._queue.get_nowait())
        self._waiting += fresh
        if self.failing:
            self._keep_critical()
        return fresh

    def _keep_critical(self) -> None:
        critical = [notice for notice in self._waiting if notice.severity == "critical"]
        gone = [notice for notice in self._waiting if notice.severity != "critical"] + critical[KEPT:]
        self._more.update(notice.key for notice in gone)
        for key in [key for key, _ in self._more.most_common()[KEPT:]]:
            self._more["other keys"] += self._more.pop(key)
        self._waiting = critical[:KEPT]

    def _deliver(self) -> None:
        held, over = self._waiting, self.over
        why = self._send(message(held, self._more, over - self._told_over))
        if why:
            self._next_s = self._watch.elapsed_s() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LAST_S)
            fresh = () if self.failing else tuple(held)
            self.failing = why
            self._keep_critical()
            self._failed(self, why, fresh)
            return
        self._waiting, self._told_over, self._pause_s = [], over, self._first_s
        self._more.clear()
        self._next_s = self._watch.elapsed_s() + self._pace_s
        self.sent += 1
        self.failing = ""
        self._delivered(held)

    def _send(self, body: str) -> str:
        """Why it was not taken; "" where it was."""
        if self._hung is not None and self._hung.is_alive():
            return "the last message still hangs"
        said: list[str] = []
        done = threading.Event()

        def work() -> None:
            try:
                self._notifier.send(self._title, body)
                said.append("")
            except NotSent as error:
                said.append(str(error))
            except Exception as error:  # whatever a channel raises: told by its name, its words may hold the address
                said.append(type(error).__name__)
            done.set()

        thread = threading.Thread(target=work, name=f"sending to {self.name}", daemon=True)
        thread.start()
        if not done.wait(self._limit_s):
            self._hung = thread
            return f"no answer within {self._limit_s:g} s"
        return said[0]


def message(notices: Sequence[Notice], more: Counter[str], over: int) -> str:
    """One text of many notices: the critical first, the first `LINES` as they are, the rest counted by key.

    >>> message([Notice(ts=0, severity="info", key="a", text="up")], Counter({"b": 2}), 0)
    'INFO 00:00:00Z up\\nand 2 more of b'
    """
    order = sorted(notices, key=lambda notice: notice.severity != "critical")
    counted = Counter(more)
    counted.update(notice.key for notice in order[LINES:])
    lines = [_line(notice) for notice in order[:LINES]]
    named = counted.most_common(KEYS_NAMED)
    lines += [f"and {n:,} more of {key[:LINE]}" for key, n in named]
    left = counted.total() - sum(n for _, n in named)
    if left:
        lines.append(f"and {left:,} more of {len(counted) - len(named):,} other keys")
    if over:
        lines.append(f"and {over:,} more that found the line full")
    return "\n".join(lines)


def _line(notice: Notice) -> str:
    moment = datetime.fromtimestamp(notice.ts // 1_000_000_000, UTC)
    text = notice.text if len(notice.text) <= LINE else f"{notice.text[: LINE - 1]}…"
    held = f" (and {notice.held:,} more)" if notice.held else ""
    return f"{notice.severity.upper()} {moment:%H:%M:%SZ} {text}{held}"

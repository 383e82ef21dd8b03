"""How late the trading loop is: looked at from a thread of its own, so that a loop that hangs is seen while it hangs.

Rules. Every `EVERY_S` a call is put into the loop, and how long it takes to be answered is one sample; while one is not
answered its age counts as the samples that were due meanwhile, so that a hang is not one sample among many. More than
`alert_s` at the 99th percentile of the last 10 s is told. Once more than `block_s`: nothing that opens or grows a
position leaves until a whole window is back within `alert_s`.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from flea_lab.clock import Stopwatch
from flea_lab.live.telemetry import Telemetry
from flea_lab.model.alert import Severity

EVERY_S = 0.05
WINDOW_S = 10.0
TELL_S = 10.0

AlertPut = Callable[[Severity, str], None]


class Lag(NamedTuple):
    """The loop's lag over the window, in seconds; `samples` were due in it."""

    p50_s: float
    p99_s: float
    max_s: float
    samples: int


class LagWindow:
    """Samples of the last `WINDOW_S`, and what follows from them.

    >>> window = LagWindow(0.1, 1.0)
    >>> window.add(0.0, 1.2)
    >>> window.blocked, window.lag().samples
    (True, 24)
    """

    def __init__(self, alert_s: float, block_s: float) -> None:
        self.alert_s, self.block_s, self.blocked = alert_s, block_s, False
        self._samples: deque[tuple[float, float]] = deque()
        self._blocked_at = 0.0

    def add(self, at_s: float, lag_s: float) -> None:
        """Takes a sample that was answered at `at_s`, and those that were due while it was not."""
        late = lag_s
        while late > 0.0 or late == lag_s:
            self._samples.append((at_s, max(late, 0.0)))
            late -= EVERY_S
        if not lag_s <= self.block_s:
            self.blocked, self._blocked_at = True, at_s
        while self._samples and self._samples[0][0] < at_s - WINDOW_S:
            self._samples.popleft()
        if self.blocked and at_s - self._blocked_at > WINDOW_S and self.lag().p99_s <= self.alert_s:
            self.blocked = False

    def lag(self) -> Lag:
        """The percentiles of the window; zeros where it is empty."""
        ordered = sorted(lag for _, lag in self._samples)
        n = len(ordered)
        if not n:
            return Lag(0.0, 0.0, 0.0, 0)
        return Lag(ordered[n // 2], ordered[min(n - 1, (99 * n) // 100)], ordered[-1], n)


class LoopLag:
    """Watches `loop` from its own daemon thread until closed. `now` is the lag of the window."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        alert: AlertPut,
        *,
        alert_s: float,
        block_s: float,
        telemetry: Telemetry | None = None,
        heeded: Callable[[], bool] = lambda: True,
    ) -> None:
        """`heeded` says whether lag counts now: while a session warms, or where the market waits for it, it does
        not."""
        self.now = Lag(0.0, 0.0, 0.0, 0)
        self._loop, self._alert, self._telemetry, self._heeded = loop, alert, telemetry, heeded
        self._window = LagWindow(alert_s, block_s)
        self._watch, self._closing, self._told_s = Stopwatch(), threading.Event(), 0.0
        self._hangs = False
        self._thread = threading.Thread(target=self._work, name="loop lag", daemon=True)
        self._thread.start()

    @property
    def why_not(self) -> str:
        """Why nothing may open or grow a position; "" where it may."""
        if not (self._window.blocked or self._hangs):
            return ""
        return f"the trading loop hung for more than {self._window.block_s:g} s and has not been quick for 10 s since"

    def close(self) -> None:
        """Looks no more."""
        self._closing.set()
        self._thread.join(timeout=2.0)

    def _work(self) -> None:
        while not self._closing.wait(EVERY_S):
            began, answered = self._watch.elapsed_s(), threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed: the session is over
                return
            while not answered.wait(min(self._window.block_s, 1.0)):
                if self._closing.is_set():
                    return
                if self._heeded() and not self._watch.elapsed_s() - began <= self._window.block_s:
                    self._hangs = True
                    self._alert("critical", f"the trading loop hangs: no answer for {self._window.block_s:g} s")
            at = self._watch.elapsed_s()
            was, heeded = self._window.blocked, self._heeded()
            self._window.add(at, at - began)
            if not heeded:
                self._window.blocked = was
            self._hangs = False
            if was and not self._window.blocked:
                self._alert("info", "the trading loop is quick again: positions may grow")
            if at - self._told_s >= TELL_S:
                self._told_s = at
                self._tell()

    def _tell(self) -> None:
        self.now = lag = self._window.lag()
        if self._heeded() and not lag.p99_s <= self._window.alert_s:
            over = self._window.alert_s * 1e3
            self._alert("warning", f"the trading loop is late: {lag.p99_s * 1e3:.0f} ms p99, over {over:.0f} ms")
        if self._telemetry is not None:
            fields = {
                "lag_p50_ms": round(lag.p50_s * 1e3, 3),
                "lag_p99_ms": round(lag.p99_s * 1e3, 3),
                "lag_max_ms": round(lag.max_s * 1e3, 3),
                "samples": lag.samples,
                "blocked": self._window.blocked,
            }
            self._telemetry.log("lag", fields)

"""Work that is asked for often and done seldom: the latest wins, one at a time, on a thread that ends when idle."""

import threading
from collections.abc import Callable


class Latest:
    """Does `work` soon after `ask`, and again if it was asked for meanwhile, at most once in `period_s`.

    However often it is asked for, what is done last begins after the last asking. `work` does not raise.
    """

    def __init__(self, work: Callable[[], None], period_s: float, name: str) -> None:
        self._work, self._period_s, self._name = work, period_s, name
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._idle.set()
        self._asked = self._running = False
        self.count = 0

    def ask(self) -> None:
        """Asks for the work; returns at once."""
        with self._lock:
            self._asked = True
            self._idle.clear()
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, daemon=True, name=self._name).start()

    def settled(self, timeout_s: float = 60.0) -> bool:
        """Whether nothing is asked for or under way any more; waits for it."""
        return self._idle.wait(timeout_s)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                if not self._asked:
                    self._running = False
                    return
                self._asked = False
            self.count += 1
            self._work()
            with self._lock:
                if not self._asked:
                    self._idle.set()
            pause.wait(self._period_s)

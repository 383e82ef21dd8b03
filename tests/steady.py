"""An event loop for tests whose time a machine that is slow, or that stands still for seconds, cannot make run away.

Its time goes on by `STEP_S` a turn at most, and otherwise as the machine's does. Between two turns everything that has
arrived is taken in, so that no timer of a test, and none of what is tested, comes before an answer that was on its way:
half a second is a hundred turns, however long they take. What client and server do in one loop is ordered by that.
"""

import asyncio
import selectors
import time
from collections.abc import Iterator
from typing import Any

import pytest

STEP_S = 0.005


class _Brief(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  # which one it is, the machine says
    """Waits for `STEP_S` at most, so that an idle loop's time is the machine's."""

    def select(self, timeout: float | None = None) -> Any:
        return super().select(STEP_S if timeout is None else min(timeout, STEP_S))


class SteadyLoop(asyncio.SelectorEventLoop):
    """A loop as any other, but for its time."""

    def __init__(self) -> None:
        self._steady_s = self._seen_s = time.monotonic()
        super().__init__(_Brief())

    def time(self) -> float:
        """Seconds that have gone by, turn by turn."""
        return self._steady_s

    def leap(self, seconds: float) -> None:
        """Lets so much time go by at once, for what is due until then and for nothing that is on its way."""
        self._steady_s += seconds

    def _run_once(self) -> None:
        now_s = time.monotonic()
        self._steady_s += min(now_s - self._seen_s, STEP_S)
        self._seen_s = now_s
        super()._run_once()  # type: ignore[misc]


class _Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = SteadyLoop


@pytest.fixture(scope="module", autouse=True)
def steady() -> Iterator[None]:
    """Every loop of a module that has this fixture is steady."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)

"""An event loop in virtual time: seeded, single-threaded, whose processes can be killed between any two steps.

Rules. Time stands still while anything is ready and jumps to the next timer when nothing is. A handle belongs to the
process in whose context it was made. A process that is killed never steps again: no `finally` of it runs while the
scenario does. One whose loop is blocked keeps its handles, in order, until it goes on. Nothing here may wait for a
thread.
"""

import asyncio
import heapq
from asyncio import Handle, Task
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

from flea_lab.clock import Dice

LAST_STEPS = 20_000
"""Steps that the tasks of killed processes may take to end, once the scenario is over."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: nothing would ever happen again."""


class Process:
    """A simulated process: `kill_at` is the step of its own that it does not live to take."""

    def __init__(self, name: str, dies: Callable[["Process"], None] | None = None) -> None:
        self.name = name
        self.alive = True
        self.steps = 0
        self.kill_at: int | None = None
        self.blocked_until = -1.0
        self.parked: list[Handle] = []
        self.dies = dies

    def context(self) -> Context:
        """A context of this process, for what is started in it from outside."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _NoSelector:
    """Stands where a real loop has its sockets."""

    def close(self) -> None:
        return


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one scenario. `shuffled` picks among all that is ready, else the order is that of the asking."""

    def __init__(self, dice: Dice, *, shuffled: bool = True) -> None:
        super().__init__()
        self._now = 0.0
        self._dice, self._shuffled = dice, shuffled
        self._selector = _NoSelector()
        self._clock_resolution = 1e-9
        self._dead: list[Handle] = []
        self._tasks: list[Task[Any]] = []
        self._processes: list[Process] = []
        self.steps = 0
        self.errors: list[str] = []
        self.set_exception_handler(_note_error)
        self.set_task_factory(_task)

    def time(self) -> float:
        """Virtual seconds since the scenario began."""
        return self._now

    def run_in_executor(self, *asked: Any) -> Any:  # type: ignore[override]
        """Refused: which thread is first is not for a seed to say."""
        raise RuntimeError(f"{asked[1:]} want a thread, and a simulation has none")

    def start(self, work: Coroutine[Any, Any, Any], process: Process, name: str = "") -> Task[Any]:
        """A task of `process`."""
        if process not in self._processes:
            self._processes.append(process)
        return self.create_task(work, name=name or process.name, context=process.context())

    def kill(self, process: Process) -> None:
        """SIGKILL: what is ready or waits for its time is never run."""
        if process.alive:
            process.alive = False
            self._dead += process.parked
            process.parked = []
            if process.dies is not None:
                process.dies(process)

    def block(self, process: Process, seconds: float) -> None:
        """Holds `process` up from its next step on, as a long computation or a slow disk does."""
        until = max(process.blocked_until, self._now) + seconds
        process.blocked_until = until
        self.call_at(until, self._go_on, process, context=Context())

    def bury(self) -> None:
        """Ends every task, those of killed processes as well, so that nothing of this loop is left."""
        self.set_exception_handler(lambda *_: None)
        self._ready.extend(self._dead)  # type: ignore[attr-defined]
        self._dead = []
        for process in self._processes:
            process.alive, process.blocked_until, process.kill_at = True, -1.0, None
            self._ready.extend(process.parked)  # type: ignore[attr-defined]
            process.parked = []
        for _ in range(3):
            self._tasks = [task for task in self._tasks if not task.done()]
            if not self._tasks:
                break
            for task in self._tasks:
                task.cancel()
            last = self.steps + LAST_STEPS
            while any(not task.done() for task in self._tasks) and self.steps < last:
                self.run_until_complete(asyncio.sleep(0))
        self.close()

    def _go_on(self, process: Process) -> None:
        if process.alive and process.blocked_until <= self._now:
            self._ready.extend(process.parked)  # type: ignore[attr-defined]
            process.parked = []

    def _process_events(self, _: Any) -> None:
        return

    def _write_to_self(self) -> None:
        return

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            self._forward(timers)
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if not ready:
            return
        if self._shuffled and len(ready) > 1:
            ready.rotate(-int(self._dice.random() * len(ready)))
        handle = ready.popleft()
        if not handle._cancelled and self._may_run(handle):
            self.steps += 1
            handle._run()

    def _forward(self, timers: list[Any]) -> None:
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if timers:
            self._now = max(self._now, timers[0]._when)
        elif not self._stopping:  # type: ignore[attr-defined]
            raise Deadlock(f"nothing is ready and no timer is set at {self._now:.3f} s")

    def _may_run(self, handle: Handle) -> bool:
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is None:
            return True
        if not process.alive:
            self._dead.append(handle)
            return False
        if process.blocked_until > self._now:
            process.parked.append(handle)
            return False
        process.steps += 1
        if process.kill_at is not None and process.steps >= process.kill_at:
            self._dead.append(handle)
            self.kill(process)
            return False
        return True


def _task(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> Task[Any]:
    task: Task[Any] = Task(work, loop=loop, **given)
    assert isinstance(loop, SimLoop)
    tasks = loop._tasks
    tasks.append(task)
    if len(tasks) > 512 and not len(tasks) & 511:
        loop._tasks = [one for one in tasks if not one.done()]
    return task


def _note_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, SimLoop)
    error = context.get("exception")
    loop.errors.append(f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}".strip())

"""A scheduler at work in this process: lock, alerts, ledger and processes around one `Keeper`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from flea_lab.clock import Clock, Stopwatch, WallClock
from flea_lab.live.account import private_folder
from flea_lab.live.alerts_channel import load_address, parts_of
from flea_lab.live.alerts_post import open_alerts
from flea_lab.live.secrecy import mask_of
from flea_lab.overdue import FOLDER, ledger_file
from flea_lab.schedule.job import load_schedule
from flea_lab.schedule.keeper import Keeper
from flea_lab.schedule.ledger import Ledger, Run
from flea_lab.schedule.lock import only_scheduler
from flea_lab.schedule.process import RealProcesses
from flea_lab.schedule.runner_watch import RunnerWatch
from flea_lab.workspace import Workspace, workspace

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_schedule(
    file: Path,
    *,
    home: Workspace | None = None,
    once: bool = False,
    until: Callable[[], bool] | None = None,
    signals: bool = True,
    console: TextIO | None = None,
    clock: Clock | None = None,
    told: Callable[[str], None] | None = None,
) -> int:
    """How many runs did not end well, after the scheduler of `home` (by default this workspace) was told to end.

    With `once` it ends when nothing is due and nothing runs any more, with `until` when that says so. SIGTERM, SIGINT
    and a closed terminal end it, where `signals` are its own to have. What runs then goes on: the next scheduler takes
    it over.
    """
    schedule = load_schedule(file)
    clock, say = clock or WallClock(), told or _say
    home = (home or workspace()).ready()
    folder = private_folder(home.root / FOLDER)
    addresses = {name: load_address(name) for name in schedule.alerts.channels}
    mask = mask_of(*(part for address in addresses.values() for part in parts_of(address)))
    with (
        only_scheduler(folder),
        open_alerts(folder, clock, mask, schedule.alerts, addresses, console) as alerts,
        _woken(signals) as wake,
    ):
        ledger, processes = Ledger(ledger_file(home)), RealProcesses(home.root)
        try:
            keeper = Keeper(schedule, home, clock, ledger, processes, alerts.put, elapsed_s=Stopwatch().elapsed_s)
            runners = RunnerWatch(alerts.put)
            say(f"schedule  {file}: {len(schedule.jobs)} jobs, ledger {ledger_file(home)}")
            while not wake.ending:
                keeper.step()
                runners.look(keeper.schedule.watch, clock.now_ns())
                if (once and not keeper.busy()) or (until is not None and until()):
                    break
                wake.wait(keeper.wait_s())
            left = keeper.close()
        except Exception as error:  # whatever it is: it must not end in silence
            alerts.put("critical", f"the scheduler ends: {type(error).__name__}: {error}", "scheduler ends")
            raise
        finally:
            processes.let_go()
            ledger.close()
    say(ending(left, wake.ending))
    return keeper.bad


def _say(line: str) -> None:
    print(line, flush=True)  # a journal of the system's hears it at once


def ending(left: list[Run], why: str) -> str:
    """How a scheduler ended, for a person."""
    names = ", ".join(run.job for run in left)
    goes_on = f"; {names} runs on, and is the next scheduler's" if left else ""
    return f"stopped  {why or 'done'}{goes_on}"


class Wake:
    """What the scheduler waits on; `ending` says why it ends, "" while it does not."""

    def __init__(self) -> None:
        self.ending = ""
        self._event = threading.Event()

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or when something happened."""
        self._event.wait(seconds)
        self._event.clear()

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Hears a signal."""
        if number != signal.SIGCHLD:
            self.ending = f"by {signal.Signals(number).name}"
        self._event.set()


@contextmanager
def _woken(signals: bool) -> Iterator[Wake]:
    """A `Wake` that hears the signals of this process, where they are its own to have."""
    wake = Wake()
    if not signals:
        yield wake
        return
    numbers = [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP]
    before = {number: signal.signal(number, wake.on_signal) for number in (*numbers, signal.SIGCHLD)}
    try:
        yield wake
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

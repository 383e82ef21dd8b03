"""Real processes in real time: a few seconds of it here, a quarter of an hour with 10-second jobs where asked for."""

import resource
import signal
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.overdue import GOOD as WELL
from flea_lab.schedule.ledger import Run
from flea_lab.schedule.lock import only_scheduler
from flea_lab.schedule.wording import moment
from tests.schedule.real import CRASHES, GOOD, HANGS, Desk, lasts, until_file
from tests.schedule.test_timing import S_NS

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found again by /proc")


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    found: list[Desk] = []
    yield found
    for desk in found:
        desk.close()


def test_jobs_run_crash_hang_overlap_and_outlive_their_scheduler(tmp_path: Path, desks: list[Desk]) -> None:
    jobs: list[dict[str, Any]] = [
        {"name": "good", "does": GOOD, "every_s": 1},
        {"name": "crashes", "does": CRASHES, "every_s": 1, "retries": 1, "backoff_s": 0.0},
        {"name": "hangs", "does": HANGS, "every_s": 2, "timeout_s": 1.0, "kill_after_s": 0.2},
        {"name": "long", "does": until_file("go"), "every_s": 1},
    ]
    desk = Desk(tmp_path, jobs)
    desks.append(desk)
    first = desk.start()
    desk.wait(lambda: "ok" in desk.statuses("good"))
    desk.wait(lambda: "failed" in desk.statuses("crashes") and ended_deaf(desk))
    desk.wait(lambda: "skipped_overlap" in desk.statuses("long"))
    failed = next(run for run in desk.runs("crashes") if run.status == "failed")
    assert (failed.attempt, failed.exit_code) == (2, 3)
    [code] = {run.exit_code for run in ended_deaf(desk)}
    assert code == -9, "it was deaf, and so was the grandchild that had left its group"
    with pytest.raises(WorkspaceError, match=rf"already running on this workspace \(pid {first.pid}\)"):
        only_scheduler(desk.home / "schedule").__enter__()
    [long] = [run for run in desk.runs("long") if run.status == "running"]
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = desk.start()
    desk.wait(lambda: "took it over" in next(run for run in desk.runs("long") if run.id == long.id).note)
    (tmp_path / "go").touch()
    desk.wait(lambda: next(run for run in desk.runs("long") if run.id == long.id).status == "ok")
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0 and "stopped  by SIGTERM" in desk.said()
    begun = Counter((note.job, note.planned) for note in desk.notes() if note.what == "begins")
    assert {n for (job, _), n in begun.items() if job != "crashes"} == {1}, "nothing ran twice for one planned time"
    assert max(n for (job, _), n in begun.items() if job == "crashes") == 2, "an attempt and its repeat"
    rows = Counter((run.job, run.planned_ns) for run in desk.runs())
    assert set(rows.values()) == {1}
    assert (desk.home / "schedule" / "ledger.sqlite").stat().st_mode & 0o777 == 0o600


def ended_deaf(desk: Desk) -> list[Run]:
    """The runs that took too long and had come to hear no request to end: how soon a process does is the machine's."""
    deaf = {note.planned for note in desk.notes() if note.what == "deaf"}
    return [run for run in desk.runs("hangs") if run.status == "timeout" and moment(run.planned_ns) in deaf]


AWAY_S, FULL_S, FROZEN_S = 45.0, 40.0, 35.0


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_quarter_of_an_hour_of_ten_second_jobs(tmp_path: Path, desks: list[Desk]) -> None:
    jobs: list[dict[str, Any]] = [
        {"name": "good", "does": GOOD, "every_s": 10},
        {"name": "crashes", "does": CRASHES, "every_s": 10, "retries": 1, "backoff_s": 2.0},
        {"name": "hangs", "does": HANGS, "every_s": 20, "timeout_s": 4.0, "kill_after_s": 2.0},
        {"name": "overlaps", "does": lasts(13), "every_s": 10},
        {"name": "minutes", "does": GOOD, "cron": "* * * * *", "zone": "Europe/Berlin"},
    ]
    desk, clock, pause = Desk(tmp_path, jobs), WallClock(), threading.Event()
    desks.append(desk)
    started = clock.now_ns()
    away: list[tuple[int, int]] = []

    def at(second: float) -> None:
        pause.wait(max(started / 1e9 + second - clock.now_ns() / 1e9, 0))

    def gone(begin: int) -> None:
        away.append((begin, clock.now_ns() + 15 * S_NS))  # a start takes seconds, and so may the first alert

    first = desk.start()
    at(240)
    killed = clock.now_ns()
    first.send_signal(signal.SIGKILL)
    first.wait()
    at(240 + AWAY_S)
    second = desk.start()
    gone(killed)
    at(420)
    limited = clock.now_ns()
    resource.prlimit(second.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # no file grows from here on
    at(420 + FULL_S)
    resource.prlimit(second.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    full = limited, clock.now_ns()
    at(600)
    third = desk.start()
    assert third.wait(30) != 0 and f"already running on this workspace (pid {second.pid})" in desk.said()
    at(660)
    frozen = clock.now_ns()
    second.send_signal(signal.SIGSTOP)
    at(660 + FROZEN_S)
    second.send_signal(signal.SIGCONT)
    gone(frozen)
    at(900)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0
    judge(desk, started, clock.now_ns(), away, full)


def judge(desk: Desk, started: int, ended: int, away: list[tuple[int, int]], full: tuple[int, int]) -> None:
    """Every planned time has one row, nothing ran twice or beside itself, and every absence was told in time."""
    runs, said = desk.runs(), desk.said()
    known = min(run.planned_ns for run in runs)
    for name, step in (("good", 10), ("crashes", 10), ("hangs", 20), ("overlaps", 10), ("minutes", 60)):
        first = -(-known // (step * S_NS)) * step * S_NS
        last = max(run.planned_ns for run in runs if run.job == name)
        planned = list(range(first, last + 1, step * S_NS))
        assert [run.planned_ns for run in runs if run.job == name and run.planned_ns >= first] == planned
        assert ended - last < (step + 5) * S_NS
    begun: dict[tuple[str, str], int] = defaultdict(int)
    busy: dict[str, str] = {}
    for note in sorted(desk.notes(), key=lambda one: one.at_s):
        if note.what == "begins":
            begun[note.job, note.planned] += 1
            assert note.job in ("hangs", "crashes") or note.job not in busy, f"two of {note.job} at {note.planned}"
            busy[note.job] = note.planned
        elif note.what == "ends":
            busy.pop(note.job, None)
    assert {n for (job, _), n in begun.items() if job != "crashes"} == {1} and max(begun.values()) == 2
    silent = []
    for run in runs:
        step = {"hangs": 20, "minutes": 60}.get(run.job, 10) * S_NS
        if run.status in WELL and run.ended_ns is not None and run.ended_ns <= run.planned_ns + step:
            continue
        limit = run.planned_ns + step
        limit = next((end for begin, end in away if begin - step <= run.planned_ns <= end), limit)
        if limit > ended:
            continue
        lines = [line for line in said.splitlines() if f"job {run.job}" in line]
        if not any(run.planned_ns - S_NS <= _ns(line) <= limit + S_NS for line in lines):
            silent.append(f"{run.job} {moment(run.planned_ns)} {run.status}")
    assert silent == []
    assert "unrecorded" in said, "the ledger could not be written, and that was said"
    began = [note.at_s for note in desk.notes() if note.what == "begins"]
    assert not [at for at in began if full[0] / 1e9 + 1 <= at <= full[1] / 1e9], "nothing began that was not written"
    assert not [pid for pid in desk.marked() if not _is_last(desk, pid)]
    print(Counter((run.job, run.status) for run in runs))


def _ns(line: str) -> int:
    from datetime import datetime

    try:
        return round(datetime.fromisoformat(line.split()[0]).timestamp()) * S_NS
    except (ValueError, IndexError):
        return 0


def _is_last(desk: Desk, pid: int) -> bool:
    """Whether a process belongs to a run that is still active: the last scheduler left it to the next."""
    active = {run.id.encode() for run in desk.runs() if run.active}
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    return any(b"=" + one in environ for one in active)


def test_the_stub_says_how_a_command_ended(tmp_path: Path) -> None:
    from flea_lab.schedule.process import STUB

    for words, code in ((["false"], 1), (["sh", "-c", "kill -9 $$"], 137), (["no-such-command"], 127)):
        file = tmp_path / "x.exit"
        done = subprocess.run(["python3", "-I", "-S", str(STUB), str(file), *words], capture_output=True, check=False)
        assert done.returncode == code
        assert int(file.read_text()) == (-9 if code == 137 else code)

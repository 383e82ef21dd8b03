"""`flea schedule`, what it prints, and the looks after the runner."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli.schedule import app
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.schedule import process
from flea_lab.schedule.books import AlertPut
from flea_lab.schedule.job import Watched
from flea_lab.schedule.lock import only_scheduler
from flea_lab.schedule.process import PROC, Known, RealProcesses, bears_mark, marked_with, token_of
from flea_lab.schedule.runner_watch import AGAIN_NS, RunnerWatch
from flea_lab.schedule.service import run_schedule
from flea_lab.schedule.table import history_frame
from flea_lab.view.schedule_figure import timeline_figure
from flea_lab.workspace import workspace
from tests.live.hooks import hook
from tests.schedule.test_timing import S_NS

SELDOM = "0 4 29 2 *"
"""Nothing becomes due while a test runs."""


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    return tmp_path / "s.toml"


def flea(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return f"{done.stdout}[{done.exit_code}]"


def test_a_job_is_added_listed_run_once_looked_up_and_removed(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    named = ("--file", str(file))
    assert "added say to" in flea("add", "say", "--every-s", "1", *named, "--", "python", "-I", "-c", "print('hi')")
    flea("add", "fail", "--cron", SELDOM, "--zone", "Europe/Berlin", *named, "python", "x.py")
    listed = flea("list", *named)
    assert "no scheduler has run in this workspace" in listed and "every 1 s" in listed and "Europe/Berlin" in listed
    [head, first, *_] = flea("next", "fail", "-n", "1", *named).splitlines()
    assert head.split() == ["job", "local", "UTC", "in"] and (" 04:00:00 +0" in first) and (":00:00  " in first)
    with pytest.raises(WorkspaceError, match="no schedule has run in this workspace"):
        flea("history")
    bad = run_schedule(file, signals=False, until=lambda: any(history_frame(workspace())["status"] == "ok"))
    ran = history_frame(workspace())["status"]
    absent = ran.isin(["skipped_overlap", "missed"])  # where a second was not enough for what takes a twentieth
    assert bad == sum(absent) and set(ran[~absent]) <= {"ok", "running"}
    shown = flea("history", "say")
    assert "  say  " in shown and "  ok  " in shown and "schedule/logs/say/" in shown
    assert flea("history", "fail").startswith("nothing of fail in ")
    assert "scheduler: NOT running, it ended at" in flea("list", *named)
    with only_scheduler(workspace().root / "schedule"):
        assert "scheduler: running, pid" in flea("list", *named)
        with pytest.raises(WorkspaceError, match=rf"a scheduler is already running .*pid {os.getpid()}"):
            flea("run", "--once", *named)
    assert "removed say" in flea("remove", "say", *named)
    with pytest.raises(ConfigError, match=r"job 'say': not in s.toml, known are fail"):
        flea("next", "say", *named)
    figure = timeline_figure(history_frame(workspace()))
    assert figure.data[0].name == "ended well" and set(figure.data[0].y) == {"say"}


def test_a_look_starts_what_is_due_waits_for_it_and_says_by_its_status_whether_all_is_well(file: Path) -> None:
    command = '["python", "-I", "-c", "raise SystemExit(3)"]'
    job = f'[[jobs]]\nname = "x"\ncommand = {command}\n'
    file.write_text(f'{job}cron = "{SELDOM}"\n')
    assert flea("run", "--once", "--file", str(file)).endswith("[0]"), "new: it owes nothing of before"
    file.write_text(f"{job}every_s = 1\n")
    before = signal.getsignal(signal.SIGTERM)
    while "[0]" in (said := flea("run", "--once", "--file", str(file))):
        pass  # within the same second
    assert said.endswith("[1]") and signal.getsignal(signal.SIGTERM) == before
    assert "  failed  " in flea("history")


def test_a_failure_reaches_the_channels_of_the_schedule_and_the_file_before_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    command = '["python", "-I", "-c", "raise SystemExit(3)"]'
    channel = '[alerts.channels.phone]\nseverity = "critical"\n'
    file.write_text(f'{channel}[[jobs]]\nname = "x"\ncommand = {command}\nevery_s = 1\n')
    with hook() as phone:
        monkeypatch.setenv("FLEA_ALERT_PHONE", f"json://127.0.0.1:{phone.port}/x")
        run_schedule(file, signals=False, until=lambda: "failed: exit status 3" in phone.texts)
    kept = (workspace().root / "schedule" / "alerts.jsonl").read_text()
    assert "failed: exit status 3; log schedule/logs/x/" in kept and str(phone.port) not in kept
    monkeypatch.delenv("FLEA_ALERT_PHONE")
    with pytest.raises(ConfigError, match="no address for alert channel 'phone'"):
        run_schedule(file, signals=False)


def test_a_scheduler_that_breaks_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[watch]\n")

    def breaks() -> bool:
        raise ZeroDivisionError("no such thing")

    with pytest.raises(ZeroDivisionError):
        run_schedule(file, signals=False, until=breaks)
    assert "critical: the scheduler ends: ZeroDivisionError: no such thing" in capsys.readouterr().err


def put_to(told: list[str]) -> AlertPut:
    def put(severity: str, text: str, key: str = "") -> None:
        told.append(f"{severity}: {text}")

    return put


def test_a_runner_that_is_away_is_told_within_its_interval_again_each_hour_and_when_it_is_back() -> None:
    away, told = {"main": "there is none"}, list[str]()
    watch = RunnerWatch(put_to(told), lambda name: away.get(name, ""))
    asked = Watched(runners=("main", "other"), every_s=60.0)
    watch.look(asked, 10**18)
    assert told == [
        "critical: the runner of account 'main' should be running: there is none, since 2001-09-09T01:46:40Z"
    ]
    watch.look(asked, 10**18 + 59 * S_NS)
    watch.look(asked, 10**18 + 120 * S_NS)
    assert len(told) == 1
    watch.look(asked, 10**18 + AGAIN_NS)
    assert len(told) == 2 and told[1] == told[0]
    away.clear()
    watch.look(asked, 10**18 + AGAIN_NS + 60 * S_NS)
    assert told[2] == "info: the runner of account 'main' is there again"


def test_an_account_without_a_runner_is_said_to_have_none(home: Path) -> None:
    told = list[str]()
    watch = RunnerWatch(put_to(told))
    watch.look(Watched(runners=("main",)), 10**18)
    assert told[0].startswith("critical: the runner of account 'main' should be running: there is none")


def asleep(run: str) -> int:
    """How many processes of a run are `sleep`, and no longer what is about to become it."""
    found = [pid for pid in marked_with(run) if (PROC / str(pid) / "cmdline").read_bytes().startswith(b"sleep")]
    return sum(bears_mark(pid, run) for pid in found)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[str]:
    """The id of a run of this test's own, nothing of which outlives it."""
    mark = f"{os.getpid()}-{tmp_path.name}"
    yield mark
    while left := marked_with(mark):  # what one of them began meanwhile is there at the next look
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def processes(home: Path, run: str) -> Iterator[RealProcesses]:
    found = RealProcesses(home)
    yield found
    found.let_go()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found again by /proc")
def test_what_was_started_can_be_found_at_once(
    processes: RealProcesses, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bears, asked = process.bears_mark, list[int]()

    def still_empty(pid: int, mark: str) -> bool:
        asked.append(pid)
        return len(asked) > 3 and bears(pid, mark)

    monkeypatch.setattr(process, "bears_mark", still_empty)
    known = processes.start(run, ("sleep", "600"), tmp_path, tmp_path / "x.log", {})
    assert len(asked) > 3 and {*asked} == {known.pid}, "the environment of a new program reads as empty for a moment"
    assert processes.find(run) == known


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found again by /proc")
def test_a_process_that_has_the_id_of_one_before_it_is_not_mistaken_for_it(
    processes: RealProcesses, run: str, tmp_path: Path
) -> None:
    log = tmp_path / "x.log"
    me = Known(os.getpid(), "another boot-1")
    assert processes.ended(run, me, log) is not None, "our own id, and not the process that was meant"
    assert processes.end(run, me, force=True) == 0, "nobody bears the mark, so nobody is ended"
    assert token_of(os.getpid()) and token_of(2**22 - 1) == ""
    words = ("sleep", "600")
    known = processes.start(run, words, tmp_path, log, {})
    assert processes.find(run) == known and RealProcesses(tmp_path).ended(run, known, log) is None
    assert processes.end(run, known, force=True) >= 1
    while (found := processes.ended(run, known, log)) is None:
        pass
    assert found.code == -9
    while marked_with(run):  # the command was killed with its stub, and may be the later of the two to go
        pass
    other = tmp_path / "y.log"
    known = processes.start(run, ("sh", "-c", "sleep 600 & sleep 600"), tmp_path, other, {})
    while asleep(run) < 2:  # stub and shell are there before these two
        pass
    os.kill(known.pid, signal.SIGKILL)  # the stub alone
    while (found := processes.ended(run, known, other)) is None:
        pass
    assert found.code == -9 and processes.end(run, known, force=True) == 3, "who is left is found by the mark"
    with pytest.raises(WorkspaceError, match="cannot be started"):
        processes.start(run, words, tmp_path / "gone", log, {})

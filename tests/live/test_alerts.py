"""A storm of alerts is a few lines; the loop never waits for a reader; the critical is on disk before it goes on."""

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import Stopwatch
from flea_lab.errors import WorkspaceError
from flea_lab.live import alerts
from flea_lab.live.alerts import Alerts, Notice

SECOND = 1_000_000_000
START = 1_735_689_600 * SECOND


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.ns = START

    def now_ns(self) -> int:
        return self.ns

    def new_id(self) -> str:
        return "1"

    def jitter(self) -> float:
        return 0.0


class Blocked(io.StringIO):
    """A console whose reader has gone to lunch, until told."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.gave_up = threading.Event(), False

    def write(self, text: str) -> int:
        self.gave_up |= not self.free.wait(60)
        return super().write(text)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]


def until(holds: Callable[[], bool]) -> bool:
    watch = Stopwatch()
    while watch.elapsed_s() < 30 and not holds():
        time.sleep(0.01)
    return holds()


def test_a_storm_is_one_line_a_key_and_minute_and_everything_is_counted(tmp_path: Path) -> None:
    clock, console = Hands(), io.StringIO()
    with Alerts(tmp_path, clock, console=console) as found:
        for at in range(10_000):
            clock.ns = START + at * SECOND // 100  # 100 seconds
            found.put("warning", f"book of S{at % 4} is stale", key=f"stale S{at % 4}")
    said = lines(tmp_path)
    a_minute = Counter((line["key"], line["ts"] // (60 * SECOND), line["text"][0].isdigit()) for line in said)
    assert max(a_minute.values()) == 1 and len(said) <= 4 * 3
    heard = sum(1 + line.get("held", 0) for line in said if not line["text"][0].isdigit())
    digests = sum(int(line["text"].split()[0]) for line in said if line["text"][0].isdigit())
    assert heard + digests == 10_000
    assert console.getvalue().count("\n") == len(said)


def test_taking_an_alert_is_quick_though_nobody_reads(tmp_path: Path) -> None:
    console = Blocked()
    found = Alerts(tmp_path, Hands(), console=console)
    began = time.process_time()
    for at in range(10_000):
        found.put("info", "hello", key=f"k{at}")
    took = time.process_time() - began  # whatever else the machine has to do
    assert took < 1.0 and not console.gave_up, took
    console.free.set()
    found.close()
    assert not console.gave_up, "all were taken before anybody read one"
    assert len(lines(tmp_path)) <= alerts.KEYS + 2, "keys beyond the first are one key"


def test_a_full_queue_loses_lines_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "QUEUED", 5)
    console = Blocked()
    found = Alerts(tmp_path, Hands(), console=console)
    for at in range(20):
        found.put("info", "hello", key=f"k{at}")
    assert 14 <= found.lost <= 15
    console.free.set()
    found.close()


def test_a_critical_alert_is_on_disk_before_put_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "QUEUED", 1)
    console = Blocked()
    found = Alerts(tmp_path, Hands(), console=console)
    for at in range(5):
        found.put("critical", f"halted: account differs at seq {at}", key=f"k{at}")
        assert lines(tmp_path)[-1]["text"] == f"halted: account differs at seq {at}"
    console.free.set()
    found.close()
    critical = [line["text"] for line in lines(tmp_path) if line["severity"] == "critical"]
    assert len(critical) == 5, "written once, though the queue was full"


def test_a_critical_alert_is_not_held_back_behind_a_lesser_one_of_its_key(tmp_path: Path) -> None:
    with Alerts(tmp_path, Hands(), console=io.StringIO()) as found:
        found.put("warning", "link down", key="link")
        found.put("critical", "link down for 60 s", key="link")
    assert sorted(line["severity"] for line in lines(tmp_path)) == ["critical", "warning"]


def test_what_was_held_back_is_said_when_its_minute_is_over(tmp_path: Path) -> None:
    clock = Hands()
    with Alerts(tmp_path, clock, console=io.StringIO()) as found:
        for text in ("first", "second", "third"):
            found.put("warning", text, key="k")
        clock.ns += 61 * SECOND
        assert until(lambda: len(lines(tmp_path)) == 2)
        assert lines(tmp_path)[-1]["text"] == "2 more, the last: third"


def test_without_a_key_a_text_is_the_same_whatever_its_numbers(tmp_path: Path) -> None:
    with Alerts(tmp_path, Hands(), console=io.StringIO()) as found:
        found.put("warning", "reconnect 1 failed after 0.5 s")
        found.put("warning", "reconnect 2 failed after 1.0 s")
        found.put("warning", "book is stale")
    assert found.held == 1 and [line["text"] for line in lines(tmp_path)][:2] == [
        "reconnect 1 failed after 0.5 s",
        "book is stale",
    ]


def test_a_clock_that_steps_back_does_not_silence(tmp_path: Path) -> None:
    clock = Hands()
    with Alerts(tmp_path, clock, console=io.StringIO()) as found:
        found.put("warning", "one", key="k")
        clock.ns -= 3_600 * SECOND
        found.put("warning", "two", key="k")
    assert [line["text"] for line in lines(tmp_path)] == ["one", "two"]


def test_a_sink_that_fails_is_named_and_the_others_get_theirs(tmp_path: Path) -> None:
    got: list[Notice] = []

    def failing(notice: Notice) -> None:
        raise RuntimeError("token 123")

    console = io.StringIO()
    with Alerts(tmp_path, Hands(), console=console, sinks=(failing, got.append)) as found:
        found.put("info", "up")
    assert [notice.text for notice in got] == ["up"]
    assert "alert not sent on: RuntimeError\n" in console.getvalue() and "token" not in console.getvalue()
    assert "2025-01-01T00:00:00Z info: up\n" in console.getvalue()


def test_one_alert_is_one_line_of_a_private_file(tmp_path: Path) -> None:
    with Alerts(tmp_path, Hands(), console=io.StringIO()) as found:
        found.put("info", "two\nlines " + "x" * 10_000)
    [line] = lines(tmp_path)
    assert line["text"].startswith("two lines xxx") and len(line["text"]) <= alerts.LONGEST
    assert (tmp_path / "alerts.jsonl").stat().st_mode & 0o777 == 0o600


def test_after_the_end_an_alert_is_no_error(tmp_path: Path) -> None:
    found = Alerts(tmp_path, Hands(), console=io.StringIO())
    found.close()
    found.close()
    found.put("critical", "late")
    assert lines(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"alerts .*alerts\.jsonl: cannot be written \(No such file"):
        Alerts(tmp_path / "none", Hands())

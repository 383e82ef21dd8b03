"""The file of a schedule: what cannot be is one line; adding or removing a job leaves the rest as it was written."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flea_lab.config import LiveSettings
from flea_lab.errors import ConfigError
from flea_lab.runs import ROOT, to_toml
from flea_lab.schedule.edit import add_job, remove_job
from flea_lab.schedule.job import DEFAULT, Job, argv_of, load_schedule, schedule_of
from flea_lab.schedule.table import list_rows, next_rows
from flea_lab.settings import load_settings
from flea_lab.workspace import workspace
from tests.schedule.test_timing import ns

GOOD: dict[str, Any] = {"name": "a", "command": "flea runs", "cron": "0 4 * * *"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"crn": "x"}, r"jobs\[0\].crn: unknown field, did you mean 'cron'\? \(in s.toml\)"),
        ({"cron": None}, r"cron and every_s: one of them, not neither \(job 'a' in s.toml\)"),
        ({"every_s": 10}, r"cron and every_s: one of them, not both \(job 'a' in s.toml\)"),
        (
            {"zone": "Mars"},
            r"zone = 'Mars': no time zone of the IANA table, such as Europe/Berlin \(job 'a' in s.toml\)",
        ),
        ({"cron": "0 24 * * *"}, r"cron = '0 24 \* \* \*': .*\(24\) is higher than the maximum value \(23\)"),
        ({"timeout_s": 0.5}, r"jobs\[0\].timeout_s = 0.5: expected `float` >= 1.0 \(in s.toml\)"),
        ({"retries": 21}, r"jobs\[0\].retries = 21: expected `int` <= 20"),
        ({"name": "A b"}, r"jobs\[0\].name = 'A b': expected `str` matching regex"),
        ({"misfire": "twice"}, r"jobs\[0\].misfire = 'twice': must be one of 'run', 'skip'"),
        ({"on_failure": "none"}, r"jobs\[0\].on_failure = 'none': must be one of 'warning', 'critical'"),
        ({"command": "rm x"}, r"command = 'rm x': a text begins with flea; others are a list"),
        ({"command": "flea runs | mail"}, r"command = 'flea runs \| mail': \| is a shell's, and no shell reads it"),
        ({"command": "flea 'runs"}, r"command = \"flea 'runs\": no closing quotation"),
        ({"command": []}, r"command = \[\]: at least one word"),
        ({"artefact": "../x"}, r"artefact = '../x': a pattern below the workspace, without \.\. \(job 'a'"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_value_limit_and_place(
    tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(to_toml({"jobs": [{**GOOD, **change}]}))
    with pytest.raises(ConfigError, match=line) as found:
        load_schedule(file)
    assert "\n" not in str(found.value)


def test_a_name_that_is_there_twice_a_missing_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    with pytest.raises(ConfigError, match=r"schedule .*s\.toml: no such file"):
        load_schedule(file)
    file.write_text(to_toml({"jobs": [GOOD, GOOD]}))
    with pytest.raises(ConfigError, match=r"jobs: the name 'a' is there twice \(in s.toml\)"):
        load_schedule(file)
    file.write_text('folder = "gone"\n')
    with pytest.raises(ConfigError, match=r"folder = 'gone': no such folder .*gone \(in s.toml\)"):
        load_schedule(file)
    file.write_text('[watch]\nrunners = ["No Name"]\n')
    with pytest.raises(ConfigError, match="account = 'No Name'"):
        load_schedule(file)


def test_flea_and_python_are_this_interpreters_and_no_word_is_a_shells() -> None:
    assert argv_of("flea report 'my config.toml'") == (
        *(sys.executable, "-P", "-m", "flea_lab", "report"),
        "my config.toml",
    )
    assert argv_of(("python", "x.py", "$HOME", "|")) == (sys.executable, "x.py", "$HOME", "|")
    assert argv_of(("flea", "runs")) == argv_of("flea runs")


TEXT = """# ours
folder = "."   # here

[[jobs]]       # the first
name = "a"
command = "flea runs"
cron = "0 4 * * *"

# about the second
[[jobs]]
command = ["python", "x.py"]
name = 'b'
every_s = 60

# about the watch
[watch]
runners = []
"""


def test_a_job_is_added_and_removed_and_every_other_line_stays(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(TEXT)
    add_job(file, {"name": "c", "command": ["flea", "runs"], "every_s": 5})
    assert list(load_schedule(file).jobs) == ["a", "b", "c"]
    assert file.read_text().startswith(TEXT.rstrip())
    remove_job(file, "b")
    assert list(load_schedule(file).jobs) == ["a", "c"]
    assert "# about the watch\n[watch]" in file.read_text() and "# about the second" in file.read_text()
    remove_job(file, "c")
    remove_job(file, "a")
    assert tomllib.loads(file.read_text()) == {"folder": ".", "watch": {"runners": []}}
    with pytest.raises(ConfigError, match=r"job 'a': not in s.toml, known are none"):
        remove_job(file, "a")


def test_what_would_not_load_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(TEXT)
    for values, line in (
        ({**GOOD, "name": "a"}, "the name 'a' is there twice"),
        ({**GOOD, "name": "d", "cron": "x"}, "1 fields, must be 5"),
        ({**GOOD, "name": "d", "zone": "Mars"}, "no time zone"),
    ):
        with pytest.raises(ConfigError, match=line):
            add_job(file, values)
    file.write_text('jobs = [{name = "a", command = "flea runs", every_s = 5}]\n')  # no table of its own to cut out
    with pytest.raises(ConfigError, match="written in a way that this cannot edit; edit the file by hand"):
        remove_job(file, "a")
    assert list(load_schedule(file).jobs) == ["a"]


def test_the_committed_schedule_loads_and_its_commands_are_there(home: Path) -> None:
    import typer.main

    from flea_lab.cli import app

    schedule = load_schedule(DEFAULT)
    assert schedule.folder == ROOT and {"nightly-report", "nightly-replay", "weekly-sweep"} <= set(schedule.jobs)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for one in schedule.jobs.values():
        if one.argv[2:4] == ("-m", "flea_lab"):
            assert one.argv[4] in known, one.name
        else:
            assert (ROOT / one.argv[1]).is_file(), one.name
    rows = list_rows(schedule, workspace(), ns("2026-11-22"))
    assert [row[0] for row in rows] == list(schedule.jobs)
    assert next_rows(schedule, ns("2026-11-22"), 1)[0][2] == "2026-11-22 00:20:00"


PAGE = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")


def test_every_block_of_the_page_is_a_schedule_or_a_configuration(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for text in blocks:
        values = tomllib.loads(text)
        if "live" in values:
            assert load_settings(values["live"], LiveSettings, "the page").reports.demote
        else:
            schedule_of(values, tmp_path / "s.toml")


def test_the_page_states_every_setting_of_a_job_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE))
    for field in msgspec.structs.fields(Job):
        said = rows[field.name].strip().strip("`").strip('"')
        if field.default in (msgspec.NODEFAULT, None, ""):
            assert said in ("required", "", "none"), field.name
        else:
            assert said == str(field.default), field.name

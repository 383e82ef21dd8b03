"""The files beside the page: units that systemd would read, a crontab, an Airflow file that means our jobs."""

import ast
import configparser
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flea_lab.runs import ROOT
from flea_lab.schedule.job import DEFAULT, load_schedule
from flea_lab.schedule.timing import Cron

SYSTEMD, EXAMPLES = ROOT / "docs" / "systemd", ROOT / "docs" / "examples"
SECTIONS = {".service": {"Unit", "Service"}, ".timer": {"Unit", "Timer"}}


@pytest.mark.parametrize("file", sorted(SYSTEMD.iterdir()), ids=lambda file: file.name)
def test_a_unit_has_its_sections_and_calls_a_command_that_is_there(file: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(file.read_text(encoding="utf-8"))
    assert SECTIONS[file.suffix] <= set(unit.sections())
    if file.suffix == ".service":
        words = shlex.split(unit["Service"]["ExecStart"])
        assert words[0].endswith("/.venv/bin/flea") and words[1:3] == ["schedule", "run"]
        assert unit["Service"]["KillMode"] == "process", "what runs is the next scheduler's"
    else:
        assert file.with_suffix(".service").is_file() and unit["Timer"]["Persistent"] == "true"


def test_the_crontab_has_a_line_that_cron_would_read() -> None:
    lines = [line for line in (EXAMPLES / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    [job] = [line for line in lines if "=" not in line.split()[0]]
    Cron(" ".join(job.split()[:5]))
    assert job.endswith("flea schedule run --once")


def test_the_airflow_file_compiles_and_makes_a_dag_of_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Dag:
        def __init__(self, **named: Any) -> None:
            self.dag_id = named["dag_id"]
            made.append(named)

        def __enter__(self) -> "Dag":
            return self

        def __exit__(self, *_: object) -> None:
            return None

    def operator(**named: Any) -> None:
        made[-1]["task"] = named

    named = {"CHECKOUT": str(ROOT), "FLEA_HOME": "there"}
    parts: dict[str, dict[str, Any]] = {
        "airflow": {"DAG": Dag},
        "airflow.models": {"Variable": SimpleNamespace(get=named.__getitem__)},
        "airflow.operators": {},
        "airflow.operators.bash": {"BashOperator": operator},
        "pendulum": {"datetime": lambda *day, tz: (day, tz)},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    text = (EXAMPLES / "airflow_dag.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    space: dict[str, Any] = {}
    exec(compile(text, "airflow_dag.py", "exec"), space)
    jobs = load_schedule(DEFAULT).jobs
    assert {f"flea_{name.replace('-', '_')}" for name in jobs} <= set(space)
    for dag, (name, one) in zip(made, jobs.items(), strict=True):
        assert dag["schedule"] == (one.job.cron or timedelta(seconds=one.job.every_s or 0)), name
        assert dag["max_active_runs"] == 1 and dag["catchup"] is False and dag["start_date"][1] == one.job.zone
        words = shlex.split(dag["task"]["bash_command"])
        assert words[0] in (".venv/bin/flea", ".venv/bin/python") and words[-1] == one.argv[-1]
        assert dag["task"]["retries"] == one.job.retries

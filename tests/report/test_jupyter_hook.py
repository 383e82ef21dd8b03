"""jupyter-scheduler's jobs run as our reports do. The package is not locked: a stand-in of the two names that are read
of it shows how it is met; `run_lab_job` is the real thing."""

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from flea_lab.errors import ConfigError, FleaError
from flea_lab.overdue import ledger_file
from flea_lab.report import jupyter_hook
from flea_lab.schedule.ledger import history
from flea_lab.workspace import workspace


@pytest.fixture
def notebook(home: Path, tmp_path: Path) -> Path:
    cells = [
        new_code_cell("n = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("assert isinstance(n, int)\nprint('n is', n)\nassert n != 13"),
    ]
    file = tmp_path / "job.ipynb"
    kernel = {"name": "python3", "display_name": "p", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)
    return file


def test_a_job_that_fails_is_raised_told_and_in_the_ledger_with_its_notebook_kept(
    notebook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {"ipynb": tmp_path / "out.ipynb", "html": tmp_path / "out.html"}
    with pytest.raises(FleaError, match="the report's notebook failed: AssertionError"):
        jupyter_hook.run_lab_job("mine", notebook, {"n": "13"}, outputs)
    [run] = history(ledger_file(workspace()))
    assert (run.job, run.status, run.exit_code) == ("lab:mine", "failed", 1) and "AssertionError" in run.note
    assert "critical: job lab:mine failed: FleaError" in capsys.readouterr().err
    assert "job lab:mine failed" in (workspace().root / "schedule" / "alerts.jsonl").read_text()
    assert "n is 13" in outputs["ipynb"].read_text() and not outputs["html"].exists()
    assert list((workspace().root / "schedule" / "lab").iterdir()) == []


@pytest.mark.slow
def test_a_job_that_ends_well_leaves_notebook_and_page(notebook: Path, tmp_path: Path) -> None:
    outputs = {"ipynb": tmp_path / "out.ipynb", "html": tmp_path / "out.html"}
    jupyter_hook.run_lab_job("mine", notebook, {"n": "42"}, outputs)
    assert [run.status for run in history(ledger_file(workspace()))] == ["ok"]
    assert "n is 42" in outputs["ipynb"].read_text() and "n is 42" in outputs["html"].read_text()


def test_a_format_that_we_cannot_write_is_refused(notebook: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="output format 'pdf': there are ipynb, html"):
        jupyter_hook.run_lab_job("mine", notebook, {}, {"pdf": tmp_path / "x.pdf"})


class Feature(Enum):
    parameters = "parameters"
    email_notifications = "email_notifications"


def test_its_class_is_made_when_it_is_asked_for_and_hands_the_job_on(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jupyter_hook, "_manager", jupyter_hook._manager.__wrapped__)  # nothing made for others is kept
    monkeypatch.setitem(sys.modules, "jupyter_scheduler", None)
    with pytest.raises(ConfigError, match=r"jupyter-scheduler is not there .*: pip install 'flea-lab\[jobs\]'"):
        _ = jupyter_hook.FleaExecutionManager
    executors: Any = ModuleType("jupyter_scheduler.executors")
    models: Any = ModuleType("jupyter_scheduler.models")
    executors.ExecutionManager, models.JobFeature = type("ExecutionManager", (), {}), Feature
    monkeypatch.setitem(sys.modules, "jupyter_scheduler", ModuleType("jupyter_scheduler"))
    monkeypatch.setitem(sys.modules, "jupyter_scheduler.executors", executors)
    monkeypatch.setitem(sys.modules, "jupyter_scheduler.models", models)
    kind = jupyter_hook.FleaExecutionManager
    assert (kind.__module__, kind.__qualname__) == ("flea_lab.report.jupyter_hook", "FleaExecutionManager")
    assert kind.supported_features() == {Feature.parameters: True, Feature.email_notifications: False}
    assert kind.validate(kind, str(notebook)) and not kind.validate(kind, str(tmp_path / "gone"))
    given: list[Any] = []
    monkeypatch.setattr(jupyter_hook, "run_lab_job", lambda *what: given.append(what))
    manager = kind()
    manager.model = SimpleNamespace(name="mine", parameters={"n": "42"}, output_formats=["html"])
    manager.staging_paths = {"input": str(notebook), "html": str(tmp_path / "x.html")}
    manager.execute()
    assert given == [("mine", notebook, {"n": "42"}, {"html": tmp_path / "x.html"})]
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        _ = jupyter_hook.Other

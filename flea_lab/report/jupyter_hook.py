"""Jobs of jupyter-scheduler, executed as our reports are: by the same function, with a row in the schedule's ledger and
an alert where one fails.

    c.Scheduler.execution_manager_class = "flea_lab.report.jupyter_hook.FleaExecutionManager"

in the configuration of the Jupyter server. jupyter-scheduler is no dependency: the class is made when it is asked for.
Its times and its missed runs are its own (it makes up for none).
"""

import ast
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flea_lab.clock import Clock, WallClock
from flea_lab.errors import ConfigError, FleaError
from flea_lab.live.account import private_folder
from flea_lab.live.alerts_channel import load_address, parts_of
from flea_lab.live.alerts_post import open_alerts
from flea_lab.live.secrecy import mask_of
from flea_lab.model.alert import AlertSettings
from flea_lab.overdue import FOLDER, ledger_file
from flea_lab.schedule.job import DEFAULT, load_schedule
from flea_lab.schedule.ledger import Ledger, Run
from flea_lab.workspace import workspace

PREFIX = "lab:"
FORMATS = ("ipynb", "html")


def __getattr__(name: str) -> Any:
    if name != "FleaExecutionManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _manager()


def run_lab_job(
    name: str,
    notebook: Path,
    parameters: Mapping[str, str],
    outputs: Mapping[str, Path],
    clock: Clock | None = None,
) -> None:
    """Executes `notebook` with `parameters` (values as typed: Python where they are, else text) and writes `outputs` by
    format. What fails is raised, after it stands in the ledger and was told."""
    from flea_lab.report.html import write_html
    from flea_lab.report.run import execute

    clock = clock or WallClock()
    begun_ns, why = clock.now_ns(), ""
    folder = private_folder(workspace().ready().root / FOLDER)
    work = private_folder(folder / "lab") / clock.new_id()
    work.mkdir(mode=0o700)
    try:
        for other in outputs.keys() - set(FORMATS):
            raise ConfigError(f"output format {other!r}: there are {', '.join(FORMATS)}")
        executed = execute(notebook, work, {key: valued(text) for key, text in parameters.items()}, progress=False)
        if "html" in outputs:
            write_html(executed, outputs["html"], name, standalone=True)
    except BaseException as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise
    finally:
        if "ipynb" in outputs and (work / notebook.name).exists():  # of one that failed too: it shows where
            shutil.copyfile(work / notebook.name, outputs["ipynb"])
        shutil.rmtree(work, ignore_errors=True)
        _note(name, begun_ns, clock, why)


def valued(text: str) -> Any:
    """A parameter as it was meant: jupyter-scheduler hands every value on as text.

    >>> valued("42"), valued("[1, 2]"), valued("BTCUSDT")
    (42, [1, 2], 'BTCUSDT')
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _note(name: str, begun_ns: int, clock: Clock, why: str) -> None:
    """A row in the ledger, and an alert where it failed; by the channels of the schedule where it can be read."""
    now_ns, folder = clock.now_ns(), workspace().root / FOLDER
    ledger = Ledger(ledger_file(workspace()))
    try:
        row = Run(
            id=clock.new_id(), job=f"{PREFIX}{name}", planned_ns=begun_ns, due_ns=now_ns, started_ns=begun_ns,
            ended_ns=now_ns, status="failed" if why else "ok", exit_code=1 if why else 0, told=True, note=why,
        )  # fmt: skip
        ledger.add([row])
    finally:
        ledger.close()
    if not why:
        return
    settings = _alerts()
    addresses = {channel: load_address(channel) for channel in settings.channels}
    mask = mask_of(*(part for address in addresses.values() for part in parts_of(address)))
    with open_alerts(folder, clock, mask, settings, addresses) as alerts:
        alerts.put("critical", f"job {PREFIX}{name} failed: {why}", f"lab {row.id}")


def _alerts() -> AlertSettings:
    try:
        return load_schedule(DEFAULT).alerts
    except FleaError:
        return AlertSettings()  # the file of alerts hears it all the same


@cache
def _manager() -> type:
    """jupyter-scheduler's execution manager; `ConfigError` where that is not installed."""
    try:
        from jupyter_scheduler.executors import ExecutionManager  # type: ignore[import-not-found]
        from jupyter_scheduler.models import JobFeature  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConfigError(f"jupyter-scheduler is not there ({error}): pip install 'flea-lab[jobs]'") from None

    class FleaExecutionManager(ExecutionManager):  # type: ignore[misc]
        """Executes a job's notebook by `run_lab_job`."""

        def execute(self) -> None:
            """Executes it; what is raised is the job's failure."""
            job = self.model
            outputs = {form: Path(self.staging_paths[form]) for form in job.output_formats or ()}
            run_lab_job(job.name, Path(self.staging_paths["input"]), job.parameters or {}, outputs)

        @classmethod
        def supported_features(cls) -> dict[Any, bool]:
            """What a job may ask for."""
            can = {"job_name", "parameters", "job_definition", "output_formats", "stop_job", "delete_job"}
            return {feature: feature.value in can for feature in JobFeature}

        def validate(self: Any, input_path: str) -> bool:
            """Whether there is a notebook; jupyter-scheduler calls it on the class."""
            return Path(input_path).is_file()

    # where a process that is spawned for the job finds it again
    FleaExecutionManager.__module__, FleaExecutionManager.__qualname__ = __name__, "FleaExecutionManager"
    return FleaExecutionManager

"""Executes the report's notebook into a run folder: with papermill, in a kernel of this very interpreter.

The folder is made aside and gets its final name last; a run that fails or is interrupted keeps its notebook in a folder
that is called failed, with the reason in one line on top of error.txt.
"""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from msgspec.structs import replace
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from flea_lab import errors, runs
from flea_lab.clock import Clock, WallClock
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, FleaError, WorkspaceError
from flea_lab.report.gallery import refresh_gallery
from flea_lab.report.record import FOLDER_VARIABLE, NOTEBOOK, Record, take_record
from flea_lab.wiring import load_market
from flea_lab.workspace import workspace

PAGE = "report.html"
KERNEL = "python3"
ENGINE = "flea"
START_S = 120.0
STOP_S = 15.0


class Job(NamedTuple):
    """A notebook to execute into a run folder: the run's kind and config, the notebook's one parameter and its value,
    the page's title. `reproduce` is the command that makes the run again, where it is not the usual one of its kind."""

    kind: runs.Kind
    config: runs.Subject
    notebook: Path
    parameter: str
    value: dict[str, Any]
    title: str
    reproduce: str = ""


def run_report(
    config: RunConfig,
    *,
    notebook: Path = NOTEBOOK,
    standalone: bool = False,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Path:
    """The finished run folder of a report on `config`, with report.html and manifest.json in it.

    `standalone` puts plotly.js into the page, `progress` None shows a bar where stderr is a terminal. What fails in the
    notebook with an error of `errors` is raised as that; the line names the folder that keeps what there is.
    """
    check_notebook(notebook)
    load_market(config)  # what is not there is said before there is a folder
    job = Job("backtest", config, notebook, "config", config.to_dict(), f"{config.name}: backtest report")
    return run_job(job, standalone=standalone, progress=progress, clock=clock)


def run_job(
    job: Job,
    *,
    standalone: bool = False,
    page: bool = True,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Path:
    """The finished run folder of `job`; see `run_report`. Without `page` there is none, only the notebook."""
    clock = clock or WallClock()
    config, notebook = job.config, job.notebook
    started = clock.now_ns()
    partial = runs.begin(workspace(), config.name, config.id)
    try:
        runs.save_text(partial, "config.toml", runs.to_toml(config.to_dict()))
        executed = execute(notebook, partial, {job.parameter: job.value}, progress=progress, as_it_goes=page)
        record = take_record(partial)
        if record.config_id != config.id:
            raise WorkspaceError(f"{notebook.name} ran config {record.config_id[:10]}, not {config.id[:10]}")
        written = runs.notebook_digest(notebook) == runs.notebook_digest(partial / notebook.name)
        record = replace(record, hidden=[*record.hidden, *runs.not_as_written(executed.cells, record.cells, written)])
        if page:
            from flea_lab.report.html import write_html  # a third of a second that a verify need not spend

            write_html(executed, partial / PAGE, job.title, standalone=standalone, marks=record.hidden)
        folder = runs.finish(partial, manifest_of(job, record, started, clock.now_ns()))
    except KeyboardInterrupt:
        runs.fail(partial, "interrupted")
        raise
    except FleaError as error:
        folder = runs.fail(partial, str(error), traceback.format_exc())
        raise type(error)(f"{error} [kept: {folder}]") from None
    except OSError as error:
        line = f"report {config.name}: {error.strerror or error}"
        folder = runs.fail(partial, line, traceback.format_exc())
        raise WorkspaceError(f"{line} [kept: {folder}]") from None
    except BaseException as error:
        runs.fail(partial, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    if page:
        refresh_gallery(workspace())
    return folder


def check_notebook(notebook: Path, parameter: str = "config") -> None:
    """Refuses a notebook that is not there, or whose parameters are not the one dict `parameter`: papermill would
    not."""
    try:
        found = set(papermill.inspect_notebook(str(notebook)))
    except FileNotFoundError:
        raise ConfigError(
            f"report notebook {notebook}: no such file; reports run from a checkout of flea_lab"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"report notebook {notebook}: cannot be read ({str(error).splitlines()[0]})") from None
    if found != {parameter}:
        names = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"report notebook {notebook.name}: its parameters are {names}, must be {parameter}")


def execute(
    notebook: Path,
    folder: Path,
    parameters: dict[str, Any],
    *,
    progress: bool | None = None,
    as_it_goes: bool = True,
) -> nbformat.NotebookNode:
    """`notebook` executed with `parameters`, saved under its own name in `folder`, `as_it_goes` or at its end.

    The kernel runs this interpreter, in this workspace, and knows `folder` by the variable of `record`. An interrupt
    stops it at once.
    """
    home = str(workspace().root)
    kernel = kernel_manager({FOLDER_VARIABLE: str(folder), "FLEA_HOME": home, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    out = folder / notebook.name
    given = dict(
        parameters=parameters,
        kernel_name=KERNEL,
        engine_name=ENGINE,
        km=kernel,
        progress_bar=_bar(progress),
        start_timeout=START_S,
        log_output=False,
        request_save_on_cell_execute=as_it_goes,
    )
    with _stopped_at_the_end(kernel):
        _in_a_thread(lambda: papermill.execute_notebook(str(notebook), str(out), **given), kernel)
    return _without_paths(out)


class _Engine(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """papermill's engine in a kernel that the caller holds on to, and which is gone when it returns."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **given: Any) -> Any:
        client = PapermillNotebookClient(
            nb_man, km=given["km"], kernel_name=kernel_name, startup_timeout=given["start_timeout"], log=logger
        )
        return client.execute(cleanup_kc=True)


papermill_engines.register(ENGINE, _Engine)


def kernel_manager(variables: dict[str, str]) -> KernelManager:
    """Manager of one kernel of this interpreter, whatever `python3` is registered as, with `variables` set in it."""
    manager = _EndedAtOnce(
        kernel_name=KERNEL,
        kernel_spec_manager=_ThisInterpreter(variables),
        # without it every start warns that anybody on the machine may listen
        transport_encryption="auto",
    )
    manager.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    return manager


class _EndedAtOnce(KernelManager):
    """Ends its kernel without an interrupt before: a kernel that is interrupted says so on the terminal."""

    async def _async_interrupt_kernel(self) -> None:
        return


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the running interpreter."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__()
        self._spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
            env=dict(variables),
            metadata={"supported_encryption": "curve"},  # ipykernel's own kernelspec declares it so
        )

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002
        return self._spec


def _in_a_thread(work: Any, kernel: KernelManager) -> None:
    """Runs `work` aside, so that an interrupt reaches this thread and not the event loop inside nbclient."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            ensure_event_loop().close()  # the one that nbclient made for this thread

    thread = threading.Thread(target=guarded, name="papermill", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        kernel.shutdown_kernel(now=True)
        thread.join(STOP_S)
        raise
    if failed:
        raise _translated(failed[0]) from failed[0]


def _translated(error: BaseException) -> BaseException:
    """What happened in the kernel, as an exception of this process."""
    if isinstance(error, RuntimeError):  # nbclient's own: the kernel died, or did not start in time
        return FleaError(f"the report's kernel failed: {str(error).splitlines()[0]}")
    if not isinstance(error, PapermillExecutionError):
        return error
    if error.ename == "KeyboardInterrupt":
        return KeyboardInterrupt()
    kind = getattr(errors, error.ename, None)
    line = str(error.evalue).splitlines()[0] if error.evalue else ""
    if isinstance(kind, type) and issubclass(kind, FleaError):
        return kind(line)
    return FleaError(f"the report's notebook failed: {error.ename}: {line}".rstrip(": "))


@contextlib.contextmanager
def _stopped_at_the_end(kernel: KernelManager) -> Iterator[None]:
    try:
        yield
    finally:
        if kernel.has_kernel:
            kernel.shutdown_kernel(now=True)
        kernel.cleanup_resources()


def _bar(progress: bool | None) -> Any:
    if progress is None:
        progress = sys.stderr.isatty()
    return {"desc": "report", "unit": "cell", "leave": False} if progress else False


def _without_paths(out: Path) -> nbformat.NotebookNode:
    """The executed notebook, rewritten without the folders of this machine."""
    done = nbformat.read(out, as_version=4)
    for name in ("input_path", "output_path"):
        if name in done.metadata.get("papermill", {}):
            done.metadata.papermill[name] = os.path.basename(done.metadata.papermill[name])
    runs.save_text(out.parent, out.name, nbformat.writes(done))
    return done


def manifest_of(job: Job, record: Record, started: int, finished: int) -> runs.Manifest:
    """What is known of `job` when its notebook has ended; times are ns since 1970."""
    return runs.Manifest(
        kind=job.kind,
        name=job.config.name,
        config=job.config.to_dict(),
        config_id=job.config.id,
        source=record.source,
        synthetic=record.synthetic,
        data=record.data,
        code=record.code,
        versions=runs.versions(),
        started=runs.iso_utc(started),
        finished=runs.iso_utc(finished),
        metrics=record.metrics,
        result_digest=record.result_digest,
        decisions_digest=record.decisions_digest,
        seed=record.seed,
        reproduce=job.reproduce,
        modules=record.modules,
        kernels=record.kernels or runs.kernels_of(job.config),
        lock=runs.lock_digest(),
        notebook=source_of(job),
        hidden=record.hidden,
    )


def source_of(job: Job) -> runs.Source:
    """Which notebook `job` executes, by its path in the checkout, or its name where it is a person's own."""
    file = job.notebook.resolve()
    inside = file.is_relative_to(runs.ROOT)
    return runs.Source(
        path=file.relative_to(runs.ROOT).as_posix() if inside else file.name,
        digest=runs.notebook_digest(file),
        parameter=job.parameter,
        value=None if job.value == job.config.to_dict() else job.value,
    )

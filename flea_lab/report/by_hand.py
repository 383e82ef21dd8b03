"""A backtest made in a notebook, stored among the runs from there, with what its kernel holds beyond the file.

::

    from flea_lab.report.by_hand import save

    save(result)

`flea report CONFIG` executes a notebook of its own in a new kernel; here it is the person's kernel, so its history is
stored beside the result, and the manifest says in `hidden` why another execution need not come to the same.
"""

import json
import os
import traceback
from typing import Any

import nbformat
import plotly.graph_objects as go
from IPython.display import HTML
from msgspec.structs import replace
from nbformat.v4 import new_code_cell, new_notebook, new_output

from flea_lab import runs
from flea_lab.backtest.result import BacktestResult
from flea_lab.clock import Clock, WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.report import sections
from flea_lab.report.gallery import refresh_gallery
from flea_lab.report.html import PLOTLY_MIME, write_html
from flea_lab.report.pieces import hidden_state
from flea_lab.report.record import FOLDER_VARIABLE, code_of, frames_of, keep, record_of
from flea_lab.report.run import PAGE, Job, manifest_of
from flea_lab.report.wording import tag, text
from flea_lab.workspace import workspace

MARK = "made in an interactive kernel"


def save(result: BacktestResult, *, clock: Clock | None = None) -> HTML:
    """Stores `result` as a finished run, with a page and a place in the gallery; what was done, in words, and why the
    run is marked, where it is. In a notebook that a run executes it is that run that stores it."""
    code = code_of(result)
    if os.environ.get(FOLDER_VARIABLE):
        return keep(result, code)
    now = (clock or WallClock()).now_ns()
    config = result.config
    found = record_of(result, code)
    hidden = [f"{MARK}: {line}" for line in runs.hidden_state(config)]
    partial = runs.begin(workspace(), config.name, config.id)
    try:
        runs.save_text(partial, "config.toml", runs.to_toml(config.to_dict()))
        runs.save_frames(partial, frames_of(result))
        runs.save_text(partial, runs.HISTORY, nbformat.writes(history()))
        write_html(page(result, code), partial / PAGE, f"{config.name}: backtest report", marks=hidden)
        job = Job("backtest", config, runs.REPORT_NOTEBOOK, "config", config.to_dict(), "")
        manifest = manifest_of(job, replace(found, modules=runs.loaded_modules(), hidden=hidden), now, now)
        folder = runs.finish(partial, manifest)
    except OSError as error:
        line = f"save {config.name}: {error.strerror or error}"
        raise WorkspaceError(f"{line} [kept: {runs.fail(partial, line, traceback.format_exc())}]") from None
    except BaseException as error:
        runs.fail(partial, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    refresh_gallery(workspace())
    return HTML(tag("p", f"Stored: <code>{text(folder.name)}</code>", "flea-note") + hidden_state(hidden))


def history() -> nbformat.NotebookNode:
    """What this notebook's kernel has executed, in its order, as a notebook."""
    return new_notebook(cells=[new_code_cell(source) for source in runs.executed_cells()])


def page(result: BacktestResult, code: runs.CodeState) -> nbformat.NotebookNode:
    """The report's first sections as a notebook of outputs."""
    titled: list[tuple[str, Any]] = [
        ("", sections.verdict(result, code)),
        ("", sections.headline(result)),
        ("Equity and drawdown", sections.equity(result)),
        ("Metrics", sections.metrics(result)),
        ("What the guards refused", sections.guards(result)),
        ("Costs", sections.cost_note(result)),
        ("Data quality", sections.data_quality(result)),
        ("Parameters", sections.parameters(result)),
        ("How to reproduce", sections.reproduce(result, code)),
    ]
    outputs = [_output(one) for title, piece in titled for one in (*([tag("h2", title)] if title else []), piece)]
    return new_notebook(cells=[new_code_cell(outputs=[one]) for one in outputs])


def _output(piece: Any) -> nbformat.NotebookNode:
    if isinstance(piece, go.Figure):
        return new_output("display_data", {PLOTLY_MIME: json.loads(piece.to_json())})
    return new_output("display_data", {"text/html": piece if isinstance(piece, str) else piece.data})

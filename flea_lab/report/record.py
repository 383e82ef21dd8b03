"""What a report's notebook leaves for the run that executes it: the frames, and a record of everything else."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from IPython.display import HTML
from msgspec import Struct
from msgspec.structs import replace

from flea_lab import runs
from flea_lab.backtest.result import BacktestResult
from flea_lab.errors import WorkspaceError
from flea_lab.report.wording import tag, text

NOTEBOOK = runs.REPORT_NOTEBOOK
FOLDER_VARIABLE = "FLEA_RUN_FOLDER"
"""Names the folder of the run that executes the notebook; not set when a person does."""
RECORD = "record.json"


class Record(Struct, frozen=True, kw_only=True):
    """The part of a `runs.Manifest` that only the process of the notebook knows; `cells` is what it has executed."""

    config_id: str
    source: str
    synthetic: bool
    seed: int | None
    data: list[dict[str, Any]]
    code: runs.CodeState
    metrics: dict[str, float | None]
    decisions_digest: str
    result_digest: str
    modules: dict[str, str] = {}
    kernels: dict[str, str] = {}
    hidden: list[str] = []
    cells: list[str] = []


def code_of(result: BacktestResult) -> runs.CodeState:
    """The code behind a report of `result`."""
    return runs.code_state(result.config, NOTEBOOK if NOTEBOOK.is_file() else None)


def record_of(result: BacktestResult, code: runs.CodeState) -> Record:
    """The record of `result`."""
    seed = re.search(r"\(seed (\d+)\)", result.source) if result.synthetic else None
    return Record(
        config_id=result.config.id,
        source=result.source,
        synthetic=result.synthetic,
        seed=int(seed.group(1)) if seed else None,
        data=result.data,
        code=code,
        metrics=runs.defined(result.metrics),
        decisions_digest=result.digest,
        result_digest=runs.result_digest(result.metrics, result.digest, result.equity[["ts", "equity_usd"]]),
        kernels=runs.kernels_of(result.config),
    )


def keep(result: BacktestResult, code: runs.CodeState) -> HTML:
    """Stores `result` in the folder of the run that executes this notebook, if one does; what was done, in words."""
    return store(record_of(result, code), frames_of(result), "flea report CONFIG")


def frames_of(result: BacktestResult) -> dict[str, pd.DataFrame]:
    """The frames of `result` that are stored, by name."""
    return {name: getattr(result, name) for name in ("equity", "decisions", "fills", "trades")}


def store(
    record: Record, frames: Mapping[str, pd.DataFrame], command: str, texts: Mapping[str, str] | None = None
) -> HTML:
    """Stores `record`, `frames` and `texts` (by file name) in the folder of the run that executes this notebook, if one
    does; what was done, in words. `command` is the one that stores."""
    said = f"Decisions {record.decisions_digest[:16]}, result {record.result_digest[:16]}"
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return HTML(tag("p", f"{text(said)}. Not stored: <code>{text(command)}</code> stores a run.", "flea-note"))
    folder = Path(named)
    runs.save_frames(folder, frames)
    for name, content in (texts or {}).items():
        runs.save_text(folder, name, content)
    hidden = runs.hidden_state(signals=record.kernels, executed_by_us=True)
    known = replace(
        record,
        modules=runs.loaded_modules(),
        hidden=[*record.hidden, *hidden],
        cells=runs.executed_cells(),
    )
    runs.save_text(folder, RECORD, msgspec.json.encode(known).decode())
    *most, last = frames
    return HTML(tag("p", f"{text(said)}. Stored beside this page, with {', '.join(most)} and {last}.", "flea-note"))


def take_record(folder: Path) -> Record:
    """The record that the notebook left in `folder`, which is then gone: the manifest takes its place."""
    file = folder / RECORD
    try:
        record = msgspec.json.decode(file.read_bytes(), type=Record)
        file.unlink()
    except FileNotFoundError:
        raise WorkspaceError(f"the notebook ended without storing its result in {folder}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise WorkspaceError(f"{file} cannot be read ({error})") from None
    return record

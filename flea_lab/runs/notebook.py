"""A notebook as text: its sources without outputs, its cells one by one, the parameters that were put into it."""

import ast
import json
from pathlib import Path
from typing import Any

from flea_lab.errors import WorkspaceError
from flea_lab.runs.digest import json_digest

INJECTED = "injected-parameters"


def notebook_digest(file: Path) -> str:
    """SHA-256 over the kinds and sources of the cells of `file`: not its outputs, nor parameters that were put in."""
    return json_digest([[cell["cell_type"], source_of_cell(cell)] for cell in read_cells(file) if not injected(cell)])


def cell_digests(file: Path) -> list[str]:
    """SHA-256 of each cell of `file`, shortened to 16 digits: kind, source, outputs."""
    parts = [[cell["cell_type"], source_of_cell(cell), cell.get("outputs")] for cell in read_cells(file)]
    return [json_digest(one)[:16] for one in parts]


def injected_parameters(file: Path) -> dict[str, Any] | None:
    """The values that papermill put into `file`, by name, as its cell has them; None where there is no such cell, or
    it holds anything but values."""
    for cell in read_cells(file):
        if injected(cell):
            return _assigned(source_of_cell(cell))
    return None


def read_cells(file: Path) -> list[dict[str, Any]]:
    """The cells of `file`; `WorkspaceError` where it is no notebook."""
    try:
        cells: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cells"]
        return cells if all("cell_type" in cell for cell in cells) else _refused(file, "a cell without a kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _refused(file, str(error))


def _refused(file: Path, why: str) -> Any:
    raise WorkspaceError(f"notebook {file.name}: cannot be read ({why})")


def source_of_cell(cell: dict[str, Any]) -> str:
    """The text of a cell, which a file may hold line by line."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def injected(cell: dict[str, Any]) -> bool:
    """Whether papermill put this cell in, with parameters."""
    return INJECTED in cell.get("metadata", {}).get("tags", [])


def _assigned(source: str) -> dict[str, Any] | None:
    try:
        lines = ast.parse(source).body
        return {
            line.targets[0].id: ast.literal_eval(line.value)
            for line in lines
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError):
        return None

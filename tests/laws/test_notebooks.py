"""Notebooks are thin: committed without outputs, free of definitions, and none of them is forgotten."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.laws.source import ROOT, plant

NOTEBOOKS = [
    "explore/01_market_data",
    "explore/02_signals",
    "explore/03_sweep",
    "explore/04_new_signal",
    "explore/05_order_flow",
    "explore/06_large_orders",
    "explore/07_vectorbt",
    "live/runner",
    "reports/backtest",
    "reports/operations",
    "reports/schedule",
    "reports/session",
    "reports/walkforward",
]
KERNEL = "python3"  # every environment with ipykernel has it; a kernel of another name is not there on the next machine


def on_disk(root: Path) -> list[Path]:
    return [path for path in sorted((root / "notebooks").rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]


def violations(root: Path) -> list[str]:
    found = []
    for path in on_disk(root):
        name = path.relative_to(root / "notebooks").with_suffix("").as_posix()
        found += [f"{name}: {fault}" for fault in _faults(name, json.loads(path.read_text(encoding="utf-8")))]
    return found


def _faults(name: str, notebook: dict[str, Any]) -> Iterator[str]:
    cells = notebook["cells"]
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    if kernel != KERNEL:
        yield f"asks for the kernel {kernel!r}, not {KERNEL!r}"
    for key in {"widgets", "papermill"} & notebook["metadata"].keys():
        yield f"carries {key} of an execution"
    if not cells or cells[0]["cell_type"] != "markdown":
        yield "does not open with its question"
    tagged = sum("parameters" in cell["metadata"].get("tags", []) for cell in cells)
    if tagged > 1 or (tagged == 0 and name.startswith("reports/")):
        yield f"has {tagged} cells tagged parameters"
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            yield from (f"cell {number} {fault}" for fault in _cell_faults(name, cell))


def _cell_faults(name: str, cell: dict[str, Any]) -> Iterator[str]:
    if cell["outputs"]:
        yield "has outputs"
    if cell["execution_count"] is not None:
        yield "has an execution count"
    source = "".join(cell["source"])
    if re.match(r"\s*%%signal\b", source):
        if not name.startswith("explore/"):
            yield "defines a signal outside explore/"
        return
    for node in ast.walk(ast.parse(_without_magics(source))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"defines {node.name}, which belongs in the package"


def _without_magics(source: str) -> str:
    return "\n".join("pass" if re.match(r"[%!]", line) else line for line in source.splitlines())


def test_notebooks_are_thin_and_committed_without_outputs() -> None:
    assert violations(ROOT) == []


def test_the_notebooks_are_the_expected_ones() -> None:
    found = [path.relative_to(ROOT / "notebooks").with_suffix("").as_posix() for path in on_disk(ROOT)]
    assert found == NOTEBOOKS


def test_the_readme_lists_every_notebook() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\(notebooks/((?:explore|live|reports)/\w+)\.ipynb\)", readme)
    assert sorted(set(listed)) == NOTEBOOKS


def code(source: str, **more: Any) -> dict[str, Any]:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": [source]}
    return {**cell, **more}


QUESTION = {"cell_type": "markdown", "metadata": {}, "source": ["# What?"]}
PARAMETERS = code("config = {}", metadata={"tags": ["parameters"]})
OUTPUT = [{"output_type": "stream", "name": "stdout", "text": ["1"]}]


def draw(tmp_path: Path, name: str, cells: list[dict[str, Any]], **metadata: Any) -> Path:
    notebook = {"cells": cells, "metadata": {"kernelspec": {"name": KERNEL}, **metadata}, "nbformat": 4}
    return plant(tmp_path, {f"notebooks/{name}.ipynb": json.dumps(notebook)})


@pytest.mark.parametrize(
    ("name", "cells", "fault"),
    [
        ("explore/x", [QUESTION, code("1", outputs=OUTPUT)], "cell 1 has outputs"),
        ("explore/x", [QUESTION, code("1", execution_count=3)], "cell 1 has an execution count"),
        ("explore/x", [QUESTION, code("%time 1\ndef f(): ...")], "cell 1 defines f"),
        ("explore/x", [QUESTION, code("if 1:\n    class A: ...")], "cell 1 defines A"),
        ("explore/x", [code("1")], "does not open with its question"),
        ("explore/x", [QUESTION, PARAMETERS, PARAMETERS], "has 2 cells tagged parameters"),
        ("reports/x", [QUESTION, code("1")], "has 0 cells tagged parameters"),
        ("reports/x", [QUESTION, PARAMETERS, code("%%signal a\ndef step(): ...")], "a signal outside explore/"),
    ],
)
def test_a_thick_notebook_is_found(tmp_path: Path, name: str, cells: list[dict[str, Any]], fault: str) -> None:
    [found] = violations(draw(tmp_path, name, cells))
    assert fault in found


def test_a_foreign_kernel_and_widget_state_are_found(tmp_path: Path) -> None:
    found = violations(draw(tmp_path, "explore/x", [QUESTION], kernelspec={"name": "mine"}, widgets={}))
    assert found == [
        "explore/x: asks for the kernel 'mine', not 'python3'",
        "explore/x: carries widgets of an execution",
    ]


def test_a_thin_notebook_passes(tmp_path: Path) -> None:
    cells = [QUESTION, PARAMETERS, code("%%signal a\ndef step(): ..."), code("%load_ext flea_lab\nf = 1\nf")]
    assert violations(draw(tmp_path, "explore/x", cells)) == []

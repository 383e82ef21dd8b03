"""A module stays under 500 lines, a function of the package within 60, and a module is named for what it does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.laws.source import ROOT, plant

MODULE_LINES = 500
FUNCTION_LINES = 60
CODE = ("flea_lab", "pipelines", "bench")
NO_NAME = re.compile(r"(^|_)(utils?|helpers?|managers?|base|misc|common|stuff)(_|$)")


def violations(root: Path) -> list[str]:
    found = []
    for folder in (*CODE, "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            text = path.read_text(encoding="utf-8")
            lines = text.count("\n") + 1
            if lines >= MODULE_LINES:
                found.append(f"{place}: {lines} lines, the limit is {MODULE_LINES - 1}")
            if any(NO_NAME.search(part.removesuffix(".py")) for part in path.relative_to(root).parts):
                found.append(f"{place}: a name that says nothing")
            if folder in CODE:
                found += [f"{place}:{fault}" for fault in _long_functions(ast.parse(text))]
    return found


def _long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines, the limit is {FUNCTION_LINES}"


def test_modules_and_functions_stay_small_and_are_named_for_what_they_do() -> None:
    assert violations(ROOT) == []


def test_a_long_module_a_long_function_and_an_empty_name_are_found(tmp_path: Path) -> None:
    files = {
        "flea_lab/core.py": "x = 1\n" * 499,
        "flea_lab/ledger.py": "def f():\n" + "    x = 1\n" * 60,
        "flea_lab/order_utils.py": "",
        "flea_lab/misc/order.py": "",
        "bench/sweep.py": "def f():\n" + "    x = 1\n" * 59,
        "tests/test_core.py": "x = 1\n" * 498,
    }
    assert violations(plant(tmp_path, files)) == [
        "flea_lab/core.py: 500 lines, the limit is 499",
        "flea_lab/ledger.py:1: f has 61 lines, the limit is 60",
        "flea_lab/misc/order.py: a name that says nothing",
        "flea_lab/order_utils.py: a name that says nothing",
    ]

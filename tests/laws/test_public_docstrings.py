"""Every module, public function and public class of the package says what it is."""

import ast
from pathlib import Path

from tests.laws.source import ROOT, modules, plant


def violations(root: Path) -> list[str]:
    found = []
    for module in modules(root):
        if not ast.get_docstring(module.tree) and module.tree.body:
            found.append(f"{module.inner}: the module has no docstring")
        for node in module.tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not node.name.startswith("_") and not (ast.get_docstring(node) or "").strip():
                found.append(f"{module.inner}:{node.lineno}: {node.name} has no docstring")
    return found


def test_everything_public_says_what_it_is() -> None:
    assert violations(ROOT) == []


def test_a_silent_module_function_or_class_is_found(tmp_path: Path) -> None:
    text = "def f(): ...\ndef _g(): ...\nclass H: ...\nclass I:\n    'Something.'\n    def j(self): ...\n"
    planted = plant(tmp_path, {"flea_lab/core.py": text, "flea_lab/risk/__init__.py": ""})
    assert violations(planted) == [
        "core.py: the module has no docstring",
        "core.py:1: f has no docstring",
        "core.py:3: H has no docstring",
    ]

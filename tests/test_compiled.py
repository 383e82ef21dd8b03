"""Kept machine code belongs to the sources that decide: an edit in any of them compiles afresh."""

import shutil
from pathlib import Path

import pytest

from flea_lab import compiled

PACKAGE = Path(compiled.__file__).parent


@pytest.mark.parametrize("name", ["compiled.py", "money.py", "ledger.py", "model/market.py", "risk/checks.py"])
def test_an_edit_of_what_compiled_code_holds_is_another_hash(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "flea_lab"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "__file__", str(copy / "compiled.py"))
    before = compiled.source_hash()
    with (copy / name).open("a") as file:
        file.write("# edited\n")
    assert compiled.source_hash() != before

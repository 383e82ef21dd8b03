"""Kept machine code belongs to the sources that decide: an edit in any of them compiles afresh."""

import os
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


def test_code_of_new_sources_takes_the_place_of_what_nobody_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "flea_lab" / "compiled"
    other = kept / "notes"
    old, used = kept / ("0" * 16), kept / ("1" * 16)
    for folder, age_s in ((old, compiled.UNUSED_S + 60), (used, compiled.UNUSED_S - 60), (other, 9e8)):
        folder.mkdir(parents=True)
        (folder / "code.nbi").touch()
        at = folder.stat().st_mtime - age_s
        os.utime(folder, (at, at))
    monkeypatch.setattr(compiled, "source_hash", lambda: "1" * 64)
    assert compiled._cache_folder() == str(used)
    assert old.is_dir(), "only when a new one comes"
    monkeypatch.setattr(compiled, "source_hash", lambda: "2" * 64)
    assert compiled._cache_folder() == str(kept / ("2" * 16))
    assert sorted(folder.name for folder in kept.iterdir()) == ["1" * 16, "2" * 16, "notes"]
    assert used.stat().st_mtime >= other.stat().st_mtime + compiled.UNUSED_S, "its use is noted"

"""Chunks on disk: whole or not at all, known broken ones again, read by row and by metric."""

from pathlib import Path

import numpy as np
import pytest

from flea_lab.backtest.chunks import HELD, INDEX, Chunks
from flea_lab.backtest.metrics import METRICS
from flea_lab.errors import WorkspaceError
from flea_lab.signal.kernel import Floats


def numbers(n: int) -> Floats:
    return np.random.default_rng(3).normal(size=(n, len(METRICS)))


@pytest.mark.parametrize("on_disk", [True, False])
def test_rows_and_columns_are_what_was_saved_and_nan_elsewhere(tmp_path: Path, on_disk: bool) -> None:
    said = numbers(10)
    kept = Chunks(10, 4, tmp_path / "chunks" if on_disk else None)
    for number in (2, 0):
        kept.save(number, said[slice(*kept.span(number))])
    said[4:8] = np.nan
    assert np.array_equal(kept.rows(0, 10), said, equal_nan=True)
    assert np.array_equal(kept.rows(3, 9), said[3:9], equal_nan=True)
    assert np.array_equal(kept.column("sharpe"), said[:, METRICS.index("sharpe")], equal_nan=True)
    assert kept.load(1) is None


def test_chunks_found_again_are_cut_as_they_were(tmp_path: Path) -> None:
    first = Chunks(10, 4, tmp_path)
    first.save(1, numbers(4))
    again = Chunks(10, 7, tmp_path)
    assert again.size == 4 and np.array_equal(again.rows(4, 8), numbers(4))


@pytest.mark.parametrize("harm", ["cut", "changed", "empty"])
def test_a_broken_chunk_is_none(tmp_path: Path, harm: str) -> None:
    Chunks(4, 4, tmp_path).save(0, numbers(4))
    [path] = tmp_path.glob("*.npy")
    text = bytearray(path.read_bytes())
    text[-3] ^= 1
    path.write_bytes({"cut": bytes(text[:-8]), "changed": bytes(text), "empty": b""}[harm])
    again = Chunks(4, 4, tmp_path)
    assert again.load(0) is None
    assert not list(tmp_path.glob("*.npy"))


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    Chunks(4, 4, tmp_path)
    with pytest.raises(WorkspaceError, match=r"index.json is not of this sweep of 5 cells"):
        Chunks(5, 4, tmp_path)
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(WorkspaceError, match=r"remove the folder"):
        Chunks(4, 4, tmp_path)


def test_what_is_much_lies_in_files_that_go_with_it() -> None:
    n = HELD // 8 // len(METRICS) + 1
    kept = Chunks(n, n)
    kept.save(0, np.zeros((n, len(METRICS))))
    assert kept._place is not None
    place = kept._place
    assert len(list(place.glob("*.npy"))) == 1 and not kept._held
    del kept
    assert not place.exists()

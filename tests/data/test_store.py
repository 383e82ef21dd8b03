"""What goes into the store comes out, or an error says which file; a failed write changes nothing."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.frames import content_digest
from flea_lab.data.store import CandleStore
from flea_lab.errors import DataError, WorkspaceError

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000
MIN = 60_000
DAY = 86_400_000
KEY = Dataset("binance_um", "BTCUSDT", "1m")
DAILY = Dataset("binance_um", "BTCUSDT", "1d")
REAL = Origin(source="Binance BTCUSDT perp 1m", synthetic=False, file="a.parquet", sha256="a" * 64)
MADE = Origin(source="synthetic market (seed 7)", synthetic=True)


def everything(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "store")


def test_months_are_parts_and_a_read_joins_them(store: CandleStore, make_bars: Make) -> None:
    frame = make_bars(70, step=DAY)
    stored = store.write(DAILY, frame, REAL)
    assert [(part.month, part.rows) for part in stored.partitions] == [
        ("2025-01", 31),
        ("2025-02", 28),
        ("2025-03", 11),
    ]
    assert store.partitions(DAILY) == stored.partitions == store.info(DAILY).partitions
    assert (stored.rows, stored.first_ms, stored.last_ms) == (70, START, START + 69 * DAY)
    assert store.read(DAILY).equals(frame)
    assert stored.partitions[0].digest == content_digest(frame.iloc[:31])
    assert stored.origins == (REAL,) and stored.source == "Binance BTCUSDT perp 1m" and not stored.synthetic


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.sets(st.integers(0, 45), min_size=1, max_size=20),
    cut=st.integers(0, 45),
    volume=st.floats(0, 1e12, allow_nan=False),
    with_buys=st.booleans(),
)
def test_any_sound_frame_comes_back_bit_for_bit_however_it_was_split(
    tmp_path_factory: pytest.TempPathFactory, pairs: set[int], cut: int, volume: float, with_buys: bool
) -> None:
    # Days in pairs: without two neighbours a part would not look daily.
    ts = START + DAY * np.array([2 * pair + at for pair in sorted(pairs) for at in (0, 1)], dtype=np.int64)
    frame = pd.DataFrame({"ts": ts} | {name: np.sqrt(ts) for name in ("open", "high", "low", "close")})
    frame["volume"] = volume
    if with_buys:
        frame["buy_volume"] = volume / 3
    store = CandleStore(tmp_path_factory.mktemp("store"))
    for part in (frame[frame["ts"] >= START + 2 * cut * DAY], frame[frame["ts"] < START + 2 * (cut + 2) * DAY]):
        if len(part):
            store.write(DAILY, part, REAL)
    found = store.read(DAILY)
    assert found.equals(frame)
    assert content_digest(found) == content_digest(frame)


def test_a_range_is_half_open(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(10), REAL)
    assert list(store.read(KEY, START + MIN, START + 3 * MIN)["ts"]) == [START + MIN, START + 2 * MIN]
    assert len(store.read(KEY, end_ms=START + MIN)) == 1
    assert len(store.read(KEY, start_ms=START + 9 * MIN)) == 1


def test_what_is_not_there_is_said_with_what_is(store: CandleStore, make_bars: Make) -> None:
    with pytest.raises(DataError, match=r"binance_um BTCUSDT 1m is not in the store .*; stored: nothing"):
        store.read(KEY)
    store.write(DAILY, make_bars(3, step=DAY), REAL)
    with pytest.raises(DataError, match=r"binance_um BTCUSDT 1m is not in the store .*; stored: binance_um BTCUSDT 1d"):
        store.partitions(KEY)
    with pytest.raises(
        DataError,
        match=r"no bars from 2026-.* to 2026-.*, stored are 2025-01-01T00:00:00Z to 2025-01-03T00:00:00Z",
    ):
        store.read(DAILY, START + 400 * DAY, START + 401 * DAY)
    with pytest.raises(DataError, match=r"start 2025-01-02T00:00:00Z must be before end 2025-01-02T00:00:00Z"):
        store.read(DAILY, START + DAY, START + DAY)


def test_faulty_bars_do_not_go_in(store: CandleStore, make_bars: Make) -> None:
    with pytest.raises(DataError, match=r"binance_um BTCUSDT 1m: row 1 .*: volume -1.0 must not be negative"):
        store.write(KEY, make_bars(volume=[1.0, -1.0, 1.0, 1.0]), REAL)
    with pytest.raises(DataError, match="bars are 1m apart, not 1d"):
        store.write(DAILY, make_bars(), REAL)
    assert not store.root.exists()


def test_equal_overlaps_join_and_the_same_file_twice_changes_nothing(store: CandleStore, make_bars: Make) -> None:
    frame = make_bars(10)
    store.write(KEY, frame.iloc[:6], REAL)
    store.write(KEY, frame.iloc[4:], REAL)
    before = everything(store.root)
    store.write(KEY, frame, REAL)
    assert everything(store.root) == before
    assert store.read(KEY).equals(frame)
    assert store.info(KEY).origins == (REAL,)


def test_a_different_overlap_is_refused_unless_replaced(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(6), REAL)
    other = make_bars(6).iloc[2:]
    other.loc[[3, 5], "volume"] = 99.5
    before = everything(store.root)
    with pytest.raises(
        DataError, match=r"2025-01-01T00:03:00Z is stored with volume 13.0, the new one has 99.5 \(2 rows differ\)"
    ):
        store.write(KEY, other, REAL)
    assert everything(store.root) == before
    store.write(KEY, other, REAL, replace=True)
    assert list(store.read(KEY)["volume"]) == [10.0, 11.0, 12.0, 99.5, 14.0, 99.5]


def test_bars_with_and_without_buy_volume_do_not_mix(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(4), REAL)
    with_buys = make_bars(6, buy_volume=[1.0] * 6)
    with pytest.raises(DataError, match="only the new rows have buy_volume; import them under another venue name"):
        store.write(KEY, with_buys, REAL)
    store.write(KEY, with_buys, REAL, replace=True)
    with pytest.raises(DataError, match="only the stored rows have buy_volume"):
        store.write(KEY, make_bars(2), REAL, replace=True)
    assert store.read(KEY).equals(with_buys)


def test_synthetic_and_recorded_bars_never_mix(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(4), REAL)
    store.write(DAILY, make_bars(4, step=DAY), MADE)
    with pytest.raises(DataError, match="binance_um BTCUSDT 1m holds recorded bars, synthetic ones cannot join"):
        store.write(KEY, make_bars(8), MADE, replace=True)
    with pytest.raises(DataError, match="binance_um BTCUSDT 1d holds synthetic bars, recorded ones cannot join"):
        store.write(DAILY, make_bars(8, step=DAY), REAL)


def test_a_synthetic_market_is_replaced_whole_or_not_at_all(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(4), MADE)
    store.write(KEY, make_bars(4), MADE)
    other = Origin(source="synthetic market (seed 8)", synthetic=True)
    with pytest.raises(
        DataError, match=r"holds another synthetic market \(seed 7\), 2025-.* to 2025-.*: pass --replace"
    ):
        store.write(KEY, make_bars(2, start=START + DAY), other)
    stored = store.write(KEY, make_bars(2, start=START + DAY), other, replace=True)
    assert stored.rows == 2 and stored.origins == (other,)
    assert store.read(KEY).equals(make_bars(2, start=START + DAY))


def damage(file: Path) -> None:
    frame = pd.read_parquet(file)
    frame.loc[1, "close"] += 0.25
    frame.to_parquet(file, index=False)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, "its content has changed since it was stored; remove the folder and import again"),
        (lambda file: file.write_bytes(b"PAR1 no PAR1"), "not a readable parquet file"),
        (lambda file: file.write_bytes(b""), "not a readable parquet file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-30]), "not a readable parquet file"),
        (lambda file: file.unlink(), "missing, though its dataset names it; remove the folder and import again"),
    ],
)
def test_a_changed_part_is_named(
    store: CandleStore, make_bars: Make, harm: Callable[[Path], None], message: str
) -> None:
    store.write(DAILY, make_bars(40, step=DAY), REAL)
    part = store.partitions(DAILY)[1]
    harm(store.root / "candles/binance_um/BTCUSDT/1d" / part.file)
    with pytest.raises(DataError, match=f"{part.file}: {message}"):
        store.read(DAILY)
    assert len(store.read(DAILY, end_ms=START + 31 * DAY)) == 31, "a sound part can still be read"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {"venue": "../..", "symbol": "X", "interval": "1d"}}, "dataset.json: not readable .*venue"),
        ({"dataset": {"venue": "other", "symbol": "X", "interval": "1d"}}, "describes other X 1d with 2 parts"),
        ({"partitions": []}, "with 0 parts, not binance_um BTCUSDT 1d"),
        ({"partitions": "none"}, "dataset.json: not readable"),
    ],
)
def test_a_damaged_manifest_is_named(
    store: CandleStore, make_bars: Make, change: dict[str, object], message: str
) -> None:
    store.write(DAILY, make_bars(40, step=DAY), REAL)
    file = store.root / "candles/binance_um/BTCUSDT/1d/dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=message):
        store.read(DAILY)


def test_a_manifest_cannot_point_outside_its_folder(store: CandleStore, make_bars: Make) -> None:
    store.write(DAILY, make_bars(3, step=DAY), REAL)
    file = store.root / "candles/binance_um/BTCUSDT/1d/dataset.json"
    file.write_text(file.read_text().replace('"file": "2025-01-', '"file": "../2025-01-'))
    with pytest.raises(DataError, match="is not a partition's name"):
        store.read(DAILY)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "é", "x" * 65, "a\n"])
def test_a_name_cannot_leave_the_store(store: CandleStore, name: str) -> None:
    with pytest.raises(DataError, match=r"may hold only letters, digits, _ \. -"):
        Dataset(name, "BTCUSDT", "1m")
    with pytest.raises(DataError, match=r"^symbol .* may hold only"):
        Dataset("binance_um", name, "1m")
    with pytest.raises(DataError, match=r"^symbol .* may hold only"):
        store.read_funding("binance_um", name)
    with pytest.raises(DataError, match=r"interval '\.\./1m' is unknown, known are 1m, 5m"):
        Dataset("binance_um", "BTCUSDT", "../1m")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_leaves_the_dataset_as_it_was(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    frame = make_bars(70, step=DAY)
    store.write(DAILY, frame.iloc[:20], REAL)
    before = everything(store.root)
    real, calls = os.fsync, iter(range(1, 10))
    monkeypatch.setattr(os, "fsync", lambda handle: full_disk() if next(calls) == failing else real(handle))
    with pytest.raises(WorkspaceError, match=r"^store .*binance_um/BTCUSDT/1d: no space left on device$"):
        store.write(DAILY, frame, REAL)
    monkeypatch.undo()
    assert everything(store.root) == before
    assert store.read(DAILY).equals(frame.iloc[:20])


def test_a_rename_that_fails_leaves_nothing_of_a_first_write(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(WorkspaceError, match="no space left on device"):
        store.write(KEY, make_bars(), REAL)
    with pytest.raises(WorkspaceError, match="no space left on device"):
        store.write_funding("binance_um", "BTCUSDT", pd.DataFrame({"ts": [START], "funding_rate": [1e-4]}))
    assert all(not content for content in everything(store.root).values()), "the empty lock files only"
    assert store.list() == () and store.read_funding("binance_um", "BTCUSDT").empty


def test_an_interrupted_write_leaves_nothing_half_written(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    store.write(KEY, make_bars(), REAL)
    before = everything(store.root)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(KEY, make_bars(9), REAL)
    assert everything(store.root) == before


def test_an_interrupt_after_the_last_rename_keeps_the_new_parts(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def late(source: Path, target: Path) -> None:
        real(source, target)
        if target.name == "dataset.json":
            raise KeyboardInterrupt

    store.write(KEY, make_bars(), REAL)
    monkeypatch.setattr(os, "replace", late)
    with pytest.raises(KeyboardInterrupt):
        store.write(KEY, make_bars(9), REAL)
    assert store.read(KEY).equals(make_bars(9))


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, make_bars: Make) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"^store .*file/store/candles.*: not a directory$"):
        CandleStore(tmp_path / "file" / "store").write(KEY, make_bars(), REAL)


def test_a_folder_without_permission_is_one_line(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(WorkspaceError, match=r"^store .*: permission denied$"):
        store.write(KEY, make_bars(), REAL)


def test_a_reader_follows_a_writer_that_came_between(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(KEY, make_bars(4), REAL)
    old = store.info(KEY)
    store.write(KEY, make_bars(8), REAL)
    current, answers = store.info, iter([old])
    monkeypatch.setattr(store, "info", lambda key: next(answers, None) or current(key))
    assert store.read(KEY).equals(make_bars(8))


def test_what_a_dead_process_left_is_swept_by_the_next_write(store: CandleStore, make_bars: Make) -> None:
    store.write(KEY, make_bars(4), REAL)
    folder = store.root / "candles/binance_um/BTCUSDT/1m"
    (folder / "2025-01-0123456789ab.parquet").write_bytes(b"orphan")
    (folder / "dataset.json.part").write_bytes(b"half")
    store.write(KEY, make_bars(8), REAL)
    names = {file.name for file in folder.iterdir()}
    assert names == {".lock", "dataset.json", store.partitions(KEY)[0].file}


def test_the_list_is_in_order(store: CandleStore, make_bars: Make) -> None:
    assert store.list() == ()
    for key in (Dataset("b", "X", "1m"), Dataset("a", "Y", "1m"), Dataset("a", "X", "1m")):
        store.write(key, make_bars(), MADE)
    assert [str(one.dataset) for one in store.list()] == ["a X 1m", "a Y 1m", "b X 1m"]


def test_funding_is_kept_joined_and_checked(store: CandleStore) -> None:
    first = pd.DataFrame({"ts": [START, START + DAY], "funding_rate": [1e-4, -2e-4]})
    assert store.read_funding("binance_um", "BTCUSDT").dtypes.astype(str).to_dict() == {
        "ts": "int64",
        "funding_rate": "float64",
    }
    store.write_funding("binance_um", "BTCUSDT", first)
    more = pd.DataFrame({"ts": [START + DAY, START + 2 * DAY], "funding_rate": [-2e-4, 0.0]})
    assert store.write_funding("binance_um", "BTCUSDT", more).rows == 3
    assert list(store.read_funding("binance_um", "BTCUSDT", START + DAY, START + 2 * DAY)["ts"]) == [START + DAY]
    with pytest.raises(DataError, match=r"funding of binance_um BTCUSDT: 2025-.* is stored with funding_rate 0.0001"):
        store.write_funding("binance_um", "BTCUSDT", first.assign(funding_rate=0.5))
    store.write_funding("binance_um", "BTCUSDT", first.assign(funding_rate=0.5), replace=True)
    assert list(store.read_funding("binance_um", "BTCUSDT")["funding_rate"]) == [0.5, 0.5, 0.0]
    file = store.root / "funding/binance_um/BTCUSDT.parquet"
    assert [one.name for one in file.parent.iterdir() if one.name != ".lock"] == ["BTCUSDT.parquet"]
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"BTCUSDT.parquet: not a readable parquet file"):
        store.read_funding("binance_um", "BTCUSDT")
    first.to_parquet(file)
    with pytest.raises(DataError, match=r"BTCUSDT.parquet: its content has changed"):
        store.read_funding("binance_um", "BTCUSDT")

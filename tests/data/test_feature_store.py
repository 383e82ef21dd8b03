"""Features on disk: bit for bit, by month, with digests; another measure and a changed part are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.dataset import Dataset
from flea_lab.data.features import Featured, FeatureSettings, feature_frame
from flea_lab.data.frames import content_digest
from flea_lab.data.store import CandleStore
from flea_lab.errors import DataError
from flea_lab.signal.kernel import FEATURES

KEY = Dataset("binance_um", "BTCUSDT", "1m")
HOW = FeatureSettings(bucket_volume=10.0, window=5)
START = 1_738_367_940_000  # 2025-01-31T23:59:00Z: the second bar is in another month


def frame(n: int = 4, start: int = START) -> pd.DataFrame:
    rng = np.random.default_rng(start)
    rows = [(float(start + i * 60_000) * 1e6, *rng.uniform(0.0, 1.0, len(FEATURES))) for i in range(n)]
    found = feature_frame(rows)
    found["ts"] = [start + i * 60_000 for i in range(n)]
    found["imbalance"] = found["imbalance"].where(found.index > 0)
    return found


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "store")


def test_features_come_back_bit_for_bit_by_month_and_range(store: CandleStore) -> None:
    stored = store.write_features(KEY, Featured(frame(), HOW), "tape")
    assert [part.month for part in stored.partitions] == ["2025-01", "2025-02"]
    found = store.read_features(KEY)
    assert found.settings == HOW
    assert content_digest(found.frame) == content_digest(frame())
    assert store.features_info(KEY) == stored
    assert store.read_features(KEY, START + 60_000, START + 120_000).frame["ts"].tolist() == [START + 60_000]
    assert store.read_features(KEY, START + 10**9).frame.empty


def test_equal_overlaps_join_where_both_know_nothing_too(store: CandleStore) -> None:
    store.write_features(KEY, Featured(frame().iloc[:3], HOW), "tape")
    store.write_features(KEY, Featured(frame(), HOW), "tape")
    assert content_digest(store.read_features(KEY).frame) == content_digest(frame())
    other = frame()
    other.loc[2, "vpin"] = 0.123
    with pytest.raises(DataError, match=r"features of binance_um BTCUSDT 1m: 2025-02-01T00:01:00Z is stored with vpin"):
        store.write_features(KEY, Featured(other, HOW), "tape")
    store.write_features(KEY, Featured(other, HOW), "tape", replace=True)
    assert store.read_features(KEY).frame["vpin"][2] == 0.123


def test_another_measure_does_not_join(store: CandleStore) -> None:
    store.write_features(KEY, Featured(frame(), HOW), "tape")
    coarse = FeatureSettings(bucket_volume=20.0, window=5)
    with pytest.raises(DataError, match=r"stored as measured with bucket_volume = 10.0, the new ones with 20.0"):
        store.write_features(KEY, Featured(frame(), coarse), "tape")
    store.write_features(KEY, Featured(frame(2), coarse), "tape", replace=True)
    assert store.read_features(KEY).settings == coarse
    assert len(store.read_features(KEY).frame) == 2


def test_a_changed_part_is_found(store: CandleStore) -> None:
    stored = store.write_features(KEY, Featured(frame(), HOW), "tape")
    folder = store.root / "features" / "binance_um" / "BTCUSDT" / "1m"
    (folder / stored.partitions[0].file).write_bytes((folder / stored.partitions[1].file).read_bytes())
    with pytest.raises(DataError, match="its content has changed since it was stored"):
        store.read_features(KEY)


def test_nothing_stored_is_said(store: CandleStore) -> None:
    assert store.features_info(KEY) is None
    with pytest.raises(DataError, match=r"features of binance_um BTCUSDT 1m are not in the store"):
        store.read_features(KEY)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("imbalance", 1.5, r"row 1 \(2025-02-01T00:00:00Z\): imbalance 1.5 is outside -1 to 1"),
        ("vpin", np.inf, "vpin inf is outside 0 to 1"),
        ("ts", START, r"row 1 .*: ts does not rise"),
        ("ts", START + 1, "row 1 .*: ts is off the grid"),
    ],
)
def test_faulty_features_do_not_go_in(store: CandleStore, column: str, value: float, message: str) -> None:
    wrong = frame()
    wrong.loc[1, column] = value
    with pytest.raises(DataError, match=message):
        store.write_features(KEY, Featured(wrong, HOW), "tape")
    with pytest.raises(DataError, match="no column 'ts', found vpin"):
        store.write_features(KEY, Featured(frame()[["vpin"]], HOW), "tape")
    with pytest.raises(DataError, match="no bars"):
        store.write_features(KEY, Featured(frame(0), HOW), "tape")
    assert store.features_info(KEY) is None

"""The demo runs on recorded files where they are, else on a synthetic market, and says which."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.quality import quality
from flea_lab.data.sources import demo
from flea_lab.data.sources.demo import find_demo, load_demo, synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.errors import ConfigError, DataError

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "store")


@pytest.fixture
def recorded(tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two files of BTC, one of ETH and their funding."""
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    make_bars(6).iloc[:4].to_parquet(folder / "binance_um_BTCUSDT_1m_20250101.parquet")
    make_bars(6).iloc[3:].to_parquet(folder / "binance_um_BTCUSDT_1m_20250102.parquet")
    make_bars(5).to_parquet(folder / "binance_um_ETHUSDT_1m_20250101.parquet")
    funding = {"symbol": ["BTCUSDT", "XRPUSDT"], "ts": [START, START], "funding_rate": [1e-4, 2e-4]}
    pd.DataFrame(funding).to_parquet(folder / "binance_um_funding_8h_2025.parquet")
    monkeypatch.setenv("FLEA_DATA_DIR", str(tmp_path / "data"))
    return folder


def test_without_recorded_files_the_market_is_synthetic_and_called_so(
    store: CandleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    found = load_demo(store, ["BTCUSDT", "ETHUSDT"], "5m")
    assert (found.label, found.synthetic) == ("synthetic market (seed 7)", True)
    assert found.datasets == (Dataset("synthetic", "BTCUSDT", "5m"), Dataset("synthetic", "ETHUSDT", "5m"))
    for key in found.datasets:
        info = store.info(key)
        assert info.synthetic and info.source == found.label
        told = quality(store.read(key), "5m")
        assert told.sound and told.missing == 0 and told.bars == 30 * 288
        assert len(store.read_funding("synthetic", key.symbol)) == 90
    assert not store.read(found.datasets[0])["volume"].equals(store.read(found.datasets[1])["volume"])
    digest = store.info(found.datasets[0]).digest
    assert load_demo(store, ["BTCUSDT", "ETHUSDT"], "5m") == found
    assert store.info(found.datasets[0]).digest == digest


def test_an_empty_variable_is_no_folder(store: CandleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_DATA_DIR", " ")
    assert load_demo(store, ["BTCUSDT"], "1d").synthetic


def test_somebodys_own_synthetic_market_is_not_overwritten(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    key = Dataset("synthetic", "BTCUSDT", "1d")
    own = make_bars(3, step=86_400_000)
    store.write(key, own, Origin(source="synthetic trend market (seed 1)", synthetic=True))
    with pytest.raises(DataError, match=r"synthetic BTCUSDT 1d holds another synthetic trend market \(seed 1\)"):
        load_demo(store, ["BTCUSDT"], "1d")
    assert store.read(key).equals(own)


def test_the_demos_own_market_of_another_release_is_replaced(
    store: CandleStore, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    key = Dataset("synthetic", "BTCUSDT", "1d")
    store.write(key, make_bars(3, step=86_400_000), Origin(source="synthetic market (seed 7)", synthetic=True))
    load_demo(store, ["BTCUSDT"], "1d")
    assert store.info(key).rows == 30


def test_recorded_files_are_found_joined_and_labelled(store: CandleStore, make_bars: Make, recorded: Path) -> None:
    found = load_demo(store, ["BTCUSDT"], "1m")
    assert (found.label, found.synthetic) == ("Binance BTCUSDT perp 1m", False)
    assert found.datasets == (Dataset("binance_um", "BTCUSDT", "1m"),)
    assert store.read(found.datasets[0]).equals(make_bars(6))
    info = store.info(found.datasets[0])
    assert [origin.file for origin in info.origins] == [
        "binance_um_BTCUSDT_1m_20250101.parquet",
        "binance_um_BTCUSDT_1m_20250102.parquet",
    ]
    assert info.source == "Binance BTCUSDT perp 1m" and not info.synthetic
    assert list(store.read_funding("binance_um", "BTCUSDT")["funding_rate"]) == [1e-4]
    assert store.read_funding("binance_um", "XRPUSDT").empty
    assert load_demo(store, ["ETHUSDT", "BTCUSDT"], "1m").label == "Binance ETHUSDT, BTCUSDT perp 1m"


def test_a_stored_file_is_not_read_again(store: CandleStore, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_demo(store, ["BTCUSDT"], "1m")
    monkeypatch.setattr(demo, "read_candle_file", lambda *_, **__: pytest.fail("read again"))
    assert load_demo(store, ["BTCUSDT"], "1m") == first


def test_what_is_missing_is_named(store: CandleStore, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"FLEA_DATA_DIR: no file binance_um_SOLUSDT_1m_\*.parquet below .*data"):
        load_demo(store, ["BTCUSDT", "SOLUSDT"], "1m")
    assert store.list() == (), "nothing goes in when a symbol is missing"
    with pytest.raises(DataError, match="no file binance_um_BTCUSDT_5m_"):
        find_demo(recorded, ["BTCUSDT"], interval="5m")
    monkeypatch.setenv("FLEA_DATA_DIR", str(recorded / "nowhere"))
    with pytest.raises(DataError, match=r"FLEA_DATA_DIR: no folder .*nowhere"):
        load_demo(store, ["BTCUSDT"], "1m")


def test_a_corrupt_recorded_file_is_named(store: CandleStore, recorded: Path) -> None:
    (recorded / "binance_um_BTCUSDT_1m_20250101.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"binance_um_BTCUSDT_1m_20250101\.parquet: not a readable \.parquet file"):
        load_demo(store, ["BTCUSDT"], "1m")


def test_what_is_asked_for_must_be_sayable(store: CandleStore) -> None:
    with pytest.raises(DataError, match="demo: no symbol given"):
        load_demo(store, [], "1m")
    with pytest.raises(DataError, match="demo: unknown interval '2m'"):
        load_demo(store, ["BTCUSDT"], "2m")
    with pytest.raises(DataError, match=r"symbol '\.\./x' may hold only"):
        load_demo(store, ["../x"], "1m")
    with pytest.raises(ConfigError, match=r"seed \(-1\) of a synthetic market must be from 0"):
        synthetic_market("BTCUSDT", seed=-1, n_bars=5)


def test_a_kind_is_in_the_label() -> None:
    assert synthetic_market("BTCUSDT", kind="trend", seed=3, n_bars=5)[2] == "synthetic trend market (seed 3)"


@pytest.mark.real_data
def test_the_recorded_demo_says_binance_perp(
    store: CandleStore, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEA_DATA_DIR", str(data_dir))
    found = load_demo(store, ["BTCUSDT", "ETHUSDT"])
    assert found.label == "Binance BTCUSDT, ETHUSDT perp 1m" and not found.synthetic
    assert [store.info(key).rows for key in found.datasets] == [43_199, 60_191]
    assert len(store.read_funding("binance_um", "BTCUSDT")) == 266
    assert load_demo(store, ["BTCUSDT"], "1h", venue="binance_spot").label == "Binance BTCUSDT spot 1h"

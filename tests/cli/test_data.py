"""`flea data` says what it recognised, refuses in one line, and never stores half a file."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from flea_lab.cli.data import app
from flea_lab.data.dataset import Dataset
from flea_lab.data.flow import without
from flea_lab.data.store import CandleStore
from flea_lab.data.tape import TapeWriter
from flea_lab.errors import ConfigError, DataError, FleaError
from flea_lab.sandbox.tape import synthetic_tape

START = 1_735_689_600_000


def bars(count: int = 4, **columns: Any) -> pd.DataFrame:
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    return pd.DataFrame({"ts": [START + at * 60_000 for at in range(count)]} | prices | {"volume": 1.0} | columns)


def flea(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: object) -> FleaError:
    found = flea(*words).exception
    assert isinstance(found, FleaError) and "\n" not in str(found)
    return found


@pytest.fixture
def store(home: Path) -> CandleStore:
    return CandleStore(home / "store")


def test_an_import_says_what_it_recognised(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "BTC_USDT-1m.csv"
    bars(taker_buy_base=0.5).rename(columns={"ts": "open_time"}).to_csv(file, index=False)
    found = flea("import", file, "--venue", "binance_spot")
    assert found.exit_code == 0, found.output
    assert "BTC_USDT-1m.csv: 4 bars, 2025-01-01T00:00:00Z to 2025-01-01T00:03:00Z" in found.output
    assert "time column open_time, unit ms; interval 1m from name" in found.output
    assert "columns open_time -> ts, taker_buy_base -> buy_volume" in found.output
    stored = store.info(Dataset("binance_spot", "BTCUSDT", "1m"))
    assert stored.digest[:12] in found.output and "Binance BTCUSDT spot 1m" in found.output
    assert stored.origins[0].file == file.name and stored.rows == 4


def test_funding_goes_in_by_the_same_command(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "binance_um_funding_8h.parquet"
    pd.DataFrame({"symbol": ["BTCUSDT"], "ts": [START], "funding_rate": [1e-4]}).to_parquet(file)
    found = flea("import", file)
    assert found.exit_code == 0 and "BTCUSDT: 1 settlements, 1 stored" in found.output
    assert len(store.read_funding("binance_um", "BTCUSDT")) == 1
    other = file.rename(tmp_path / "rates.parquet")
    assert "the venue cannot be told from its name or content, pass --venue" in str(refused("import", other))


def test_one_bad_file_does_not_keep_the_others_out(store: CandleStore, tmp_path: Path) -> None:
    names = [tmp_path / f"v_{symbol}_1m.parquet" for symbol in ("A", "B", "C")]
    for name in names:
        bars(volume=-1.0 if "_B_" in name.name else 1.0).to_parquet(name)
    found = flea("import", *names)
    assert isinstance(found.exception, DataError)
    assert str(found.exception) == "1 of 3 files were not imported: v_B_1m.parquet"
    assert (
        "not imported: v_B_1m.parquet: row 0 (2025-01-01T00:00:00Z): volume -1.0 must not be negative" in found.output
    )
    assert [str(one.dataset) for one in store.list()] == ["v A 1m", "v C 1m"]


def test_a_single_bad_file_is_its_own_error(store: CandleStore, tmp_path: Path) -> None:
    assert str(refused("import", tmp_path / "x.csv")).endswith("x.csv: cannot be read: no such file or directory")
    assert store.list() == ()


def test_different_bars_need_replace(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "v_A_1m.parquet"
    bars().to_parquet(file)
    assert flea("import", file).exit_code == 0
    bars(volume=2.0).to_parquet(file)
    message = str(refused("import", file))
    assert "2025-01-01T00:00:00Z is stored with volume 1.0, the new one has 2.0" in message and "--replace" in message
    assert flea("import", file, "--replace").exit_code == 0
    assert set(store.read(Dataset("v", "A", "1m"))["volume"]) == {2.0}


def test_a_synthetic_market_is_called_so(store: CandleStore) -> None:
    found = flea("synth", "--kind", "toxic", "--seed", 3, "--bars", 300, "--symbol", "ETHUSDT")
    assert found.exit_code == 0 and "synthetic toxic market (seed 3)" in found.output
    stored = store.info(Dataset("synthetic", "ETHUSDT", "1m"))
    assert stored.synthetic and stored.source == "synthetic toxic market (seed 3)" and stored.rows == 300
    assert flea("synth", "--kind", "toxic", "--seed", 3, "--bars", 300, "--symbol", "ETHUSDT").exit_code == 0
    again = refused("synth", "--seed", 4, "--bars", 300, "--symbol", "ETHUSDT")
    assert "holds another synthetic toxic market (seed 3)" in str(again)
    assert flea("synth", "--seed", 4, "--bars", 300, "--symbol", "ETHUSDT", "--replace").exit_code == 0
    assert store.info(stored.dataset).source == "synthetic market (seed 4)"


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("--kind", "boom"), ConfigError, "kind 'boom' of a synthetic market is unknown"),
        (("--bars", "0"), ConfigError, "n_bars = 0: expected `int` >= 1"),
        (("--interval", "2m"), DataError, "interval '2m' is unknown, known are 1m"),
        (("--venue", "../x"), DataError, "venue '../x' may hold only"),
        (("--seed", "-1"), ConfigError, "seed (-1) of a synthetic market"),
    ],
)
def test_what_cannot_be_made_is_named(
    store: CandleStore, words: tuple[str, ...], kind: type[FleaError], message: str
) -> None:
    found = refused("synth", *words)
    assert isinstance(found, kind) and message in str(found)
    assert store.list() == ()


def test_the_list_shows_every_dataset(store: CandleStore) -> None:
    assert "nothing is stored in" in flea("list").output
    flea("synth", "--bars", 10)
    flea("synth", "--bars", 10, "--interval", "5m", "--venue", "mine")
    lines = flea("list").output.splitlines()
    assert lines[0].split()[:4] == ["venue", "symbol", "interval", "bars"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["mine", "BTCUSDT", "5m", "10"],
        ["synthetic", "BTCUSDT", "1m", "10"],
    ]


def test_check_counts_holes_and_spells_of_what_is_stored(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "v_A_1m.parquet"
    bars(9, volume=[1, 1, 0, 0, 1, 1, 1, 1, 1]).drop(index=[5, 6]).to_parquet(file)
    flea("import", file)
    for words in (("v", "A", "1m"), ()):
        found = flea("check", *words)
        assert found.exit_code == 0, found.output
        assert "v A 1m: 7 of 9 bars" in found.output
        assert "holes: 1, 2 bars missing" in found.output and "zero-volume spells: 1, 2 bars" in found.output
        assert "flat spells: 1, 5 bars" in found.output and "ledger: 3 rows" in found.output
        assert (
            "candles hole: 1 in 1 row, 120 s together\n"
            "    2025-01-01T00:05:00Z  to 2025-01-01T00:07:00Z  A  2 bars missing; nothing filled in" in found.output
        )
        assert "    2025-01-01T00:02:00Z  to 2025-01-01T00:04:00Z  A  2 bars without a trade; kept" in found.output


def test_check_of_a_faulty_file_ends_with_1_and_stores_nothing(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "anything.csv"
    bars(4, high=[100.0, 99.0, 100.0, 100.0]).to_csv(file, index=False)
    found = flea("check", file)
    assert found.exit_code == 1
    assert "OHLC faults: 1" in found.output
    assert "first fault: row 1 (2025-01-01T00:01:00Z): high 99.0 is below" in found.output
    assert "to 2025-01-01T00:02:00Z  file  1 bar: high below open or close; refused" in found.output
    assert store.list() == ()


def test_check_as_json_holds_every_row(store: CandleStore, tmp_path: Path) -> None:
    file = tmp_path / "v_A_1m.parquet"
    bars(60, volume=[0, 1] * 30).drop(index=[5]).to_parquet(file)
    flea("import", file)
    found = flea("check", "--json")
    [one] = json.loads(found.output)["checked"]
    assert found.exit_code == 0 and (one["name"], one["kind"], one["sound"]) == ("v A 1m", "candles", True)
    assert one["facts"]["missing"] == 1 and len(one["ledger"]) == sum(kind["rows"] for kind in one["kinds"]) == 33
    [hole] = [row for row in one["ledger"] if row["kind"] == "hole"]
    assert (hole["ts_from"], hole["ts_to"]) == ("2025-01-01T00:05:00Z", "2025-01-01T00:06:00Z")


def test_a_tape_is_checked_too_and_its_gap_ends_with_1(store: CandleStore, tmp_path: Path) -> None:
    clean, holed = tmp_path / "clean.tape", tmp_path / "holed.tape"
    for path, events in (
        (clean, synthetic_tape(minutes=2, books=12)),
        (holed, without(synthetic_tape(minutes=2, books=12), 20.0, 50.0)),
    ):
        writer = TapeWriter(path)
        for event in events:
            writer.append(event)
        writer.close()
    found = flea("check", clean)
    assert found.exit_code == 0 and "clean.tape: tape, " in found.output and "ledger: nothing" in found.output
    found = flea("check", holed)
    assert (
        found.exit_code == 1 and "book gap: 1 in 1 row" in found.output and "BTCUSDT  11 after 4; snap" in found.output
    )
    [one] = json.loads(flea("check", holed, "--json").output)["checked"]
    assert one["kind"] == "tape" and not one["sound"] and one["ledger"][0]["resolved"] == "snapshot"


def test_a_capture_is_checked_too_line_by_line(store: CandleStore, tmp_path: Path) -> None:
    def said(k: int, number: int) -> str:
        trade = {"e": "trade", "E": 1_700_000_000_000 + k, "T": 1_700_000_000_000 + k, "s": "BTCUSDT", "t": number,
                 "p": "100.0", "q": "1", "m": False, "X": "MARKET"}  # fmt: skip
        return f"{1_700_000_000_000_000 + 1_000 * k} {json.dumps({'stream': 'btcusdt@trade', 'data': trade})}"

    file = tmp_path / "x.raw"
    file.write_text("\n".join([said(0, 1), said(1, 2), said(2, 5), said(3, 6)[:-20], said(4, 6)]))
    found = flea("check", file, "--venue", "binance_um")
    assert found.exit_code == 1 and "x.raw: capture binance_um, 5 frames, 1 unreadable" in found.output
    assert "trades gap: 1 in 1 row" in found.output and "prints 3 to 4 are missing; told" in found.output
    assert "wire half_frame: 1 in 1 row" in found.output and "x.raw:4:" in found.output


def test_check_says_what_it_takes(store: CandleStore) -> None:
    assert "2 words given" in str(refused("check", "a", "b"))
    assert "so there is nothing to check" in str(refused("check"))
    assert "v A 1m is not in the store" in str(refused("check", "v", "A", "1m"))


def test_a_workspace_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLEA_HOME", str(tmp_path / "file"))
    assert "file is a file, not a folder (set FLEA_HOME)" in str(refused("synth", "--bars", 5))

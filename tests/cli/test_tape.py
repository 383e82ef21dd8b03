"""`flea tape` as a person types it: what it says, what it refuses in one line, and its exit status."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flea_lab.cli import app
from flea_lab.data.dataset import Dataset
from flea_lab.data.store import CandleStore
from flea_lab.data.tape import read_tape
from flea_lab.errors import FleaError
from tests.backtest.test_tape_replay import events
from tests.data.test_tape_work import BEGUN, PRINTS, RECORDS, candle, trade, write


def flea(*words: object) -> Result:
    return CliRunner().invoke(app, ["tape", *map(str, words)])


def refused(*words: object) -> str:
    found = flea(*words).exception
    assert isinstance(found, FleaError) and "\n" not in str(found)
    return str(found)


@pytest.fixture
def tape(home: Path) -> Path:
    (home / "tapes").mkdir(parents=True)
    return write(home / "tapes" / "a.tape", RECORDS)


def test_list_says_what_the_workspace_s_tapes_hold(home: Path, tape: Path) -> None:
    assert flea("list").output.splitlines() == [
        f"{tape}: purpleflea-seed 1m, 15 records, 0.0 MB, format 2",
        "  market 2025-01-01T00:00:01Z to 2025-01-01T00:02:00Z",
        "  heard  2025-01-01T00:00:00Z to 2025-01-01T00:02:00Z; 0 times down, 0 faults",
        "  book X 1, candle X 2, frame 3, funding X 1, heartbeat 2, note 3, trades X 2, trades Y 1",
    ]
    tape.unlink()
    assert flea("list").output == f"no tape in {home / 'tapes'}\n"
    (home / "text").write_text("no")
    assert refused("list", home / "text") == "text is not a tape"
    assert "cannot be read: no such file" in refused("list", home / "none")


def test_check_ends_with_1_where_something_is_wrong(home: Path, tape: Path) -> None:
    sound = flea("check", tape)
    assert sound.exit_code == 0 and "order: 0 records back in time, 0 heartbeats; silent: 1" in sound.output
    faulty = flea("check", write(home / "b.tape", [BEGUN, candle(1), candle(3)]))
    assert faulty.exit_code == 1
    assert "candles hole: 1\n    2025-01-01T00:01:00Z  candles X hole  1 bar is missing" in faulty.output


def test_slice_and_merge_are_inverse(home: Path, tape: Path) -> None:
    cut = "2025-01-01T00:01:00"
    assert flea("slice", tape, home / "1.tape", "--end", cut).exit_code == 0
    assert "2.tape: 8 records" in flea("slice", tape, home / "2.tape", "--start", cut).output
    assert "m.tape: 15 records of 2 tapes" in flea("merge", home / "1.tape", home / "2.tape", home / "m.tape").output
    assert (home / "m.tape").read_bytes() == tape.read_bytes()
    only = flea("slice", tape, home / "y.tape", "--symbols", "Y", "--channels", "trades, candle")
    assert only.exit_code == 0 and list(read_tape(home / "y.tape")) == [trade(30, 1, "Y")]
    assert "start = 'noon' is not an ISO date or time" in refused("slice", tape, home / "n.tape", "--start", "noon")
    assert "by = 'x': must be event or recv" in refused("merge", tape, tape, home / "n.tape", "--by", "x")


def test_convert_puts_candles_and_funding_into_the_store(home: Path, tape: Path) -> None:
    found = flea("convert", tape)
    assert found.exit_code == 0, found.output
    assert (
        "purpleflea-seed X 1m: 2 bars as told, 2025-01-01T00:00:00Z to 2025-01-01T00:01:00Z, 2 stored" in found.output
    )
    assert "purpleflea-seed X: 1 settlements" in found.output
    store = CandleStore(home / "store")
    assert store.info(Dataset("purpleflea-seed", "X", "1m")).rows == 2
    assert len(store.read_funding("purpleflea-seed", "X")) == 1
    made = flea("convert", write(home / "p.tape", [BEGUN, *PRINTS]), "--venue", "mine")
    assert "mine X 1m: 3 bars made of prints" in made.output
    assert "the tape does not say whose it is, pass --venue" in refused("convert", write(home / "q.tape", [trade(1)]))
    assert "no whole 1m bar is on the tape" in refused("convert", home / "q.tape", "--venue", "mine")


def test_convert_by_the_name_of_what_shall_come_out(home: Path, tape: Path) -> None:
    assert "t.parquet: 3 prints" in flea("convert", tape, home / "t.parquet").output
    assert "must end in .tape (from a capture) or .parquet" in refused("convert", tape, home / "t.csv")
    capture = home / "c.raw"
    capture.write_text('1680652700441533 {"stream":"btcusdt@trade","data":{"e":"x"}}\n')
    assert "c.raw: of no venue known here" in refused("convert", capture, home / "c.tape")
    done = flea("convert", capture, home / "c.tape", "--venue", "binance_um")
    assert done.exit_code == 0 and "c.tape: binance_um, 0 events of 1 frames, 0 lines unread" in done.output


def test_replay_says_what_the_core_decided_on_a_tape(home: Path) -> None:
    home.mkdir(exist_ok=True)
    config = home / "one.toml"
    config.write_text('symbols = ["BTCUSDT", "ETHUSDT"]\ninterval = "1m"\nsignals = [{ kernel = "rsi_reversion" }]\n')
    recorded = write(home / "r.tape", events())
    first, second = flea("replay", config, recorded), flea("replay", config, recorded)
    assert first.exit_code == 0, first.output
    assert first.output == second.output and "r.tape: 600 bars, " in first.output
    assert len(first.output.splitlines()[1].removeprefix("decisions ")) == 64


def test_features_of_a_tape_are_stored_for_the_sweeps_of_a_config(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(
        'symbols = ["X"]\ninterval = "1m"\n[[signals]]\nkernel = "book_imbalance"\n[data]\nvenue = "test"\n'
        '[instruments.X]\ntick_size = "0.01"\nlot_size = "0.001"\n'
    )
    (home / "tapes").mkdir(parents=True)
    tape = write(home / "tapes" / "a.tape", RECORDS)
    said = flea("features", config, tape)
    assert said.exit_code == 0, said.output
    held = CandleStore(home / "store").features_info(Dataset("test", "X", "1m"))
    assert held is not None and held.source == "tape a.tape"
    assert f"features of {sum(part.rows for part in held.partitions)} bars, tape a.tape" in said.output

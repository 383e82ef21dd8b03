"""Bad input, case by case: one line that names value, limit and place, an error of flea_lab, nothing half-written."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.market import build_market, require_inputs
from flea_lab.config import RunConfig, alphas, from_dict, load, with_values
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.files import read_candle_file, read_funding_file
from flea_lab.data.store import CandleStore
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError, DataError, FleaError, KernelError, WorkspaceError
from flea_lab.risk.checks import VpinGate
from flea_lab.wiring import load_market, run_fold
from flea_lab.workspace import Workspace

START = 1_735_689_600_000
MIN = 60_000
PLAIN: dict[str, Any] = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}
KEY = Dataset("synthetic", "BTCUSDT", "1m")
MADE = Origin(source="synthetic market (seed 1)", synthetic=True)

TOML = 'symbols = ["BTCUSDT"]\ninterval = "1m"\n{}\n[[signals]]\nkernel = "{}"\n{}\n'


def bars(n: int = 5, step: int = MIN) -> pd.DataFrame:
    """`n` correct bars."""
    made = pd.DataFrame({"ts": START + step * np.arange(n, dtype=np.int64)})
    for name, value in dict(open=100.0, high=101.0, low=99.0, close=100.0, volume=1.0).items():
        made[name] = value
    return made


def changed(row: int, name: str, value: float) -> pd.DataFrame:
    """Correct bars but for one number."""
    made = bars()
    made.loc[row, name] = value
    return made


def toml(folder: Path, top: str = "", kernel: str = "ema_momentum", params: str = "") -> RunConfig:
    """The config in a file made of these parts."""
    file = folder / "run.toml"
    file.write_text(TOML.format(top, kernel, params))
    return load(file)


def imported(folder: Path, frame: pd.DataFrame, name: str = "binance_um_BTCUSDT_1m.csv") -> None:
    """Reads the file that `frame` makes, as an import does."""
    frame.to_csv(folder / name, index=False)
    read_candle_file(folder / name)


def text_file(folder: Path, name: str, content: bytes) -> None:
    """Reads a file of these bytes, as an import does."""
    (folder / name).write_bytes(content)
    read_candle_file(folder / name)


def funding_file(folder: Path, rate: float) -> None:
    """Reads a file of one settlement, as an import does."""
    made = pd.DataFrame({"symbol": ["BTCUSDT"], "ts": [START], "funding_rate": [rate]})
    made.to_csv(folder / "x.csv", index=False)
    read_funding_file(folder / "x.csv")


def kernel_file(folder: Path, source: str) -> None:
    """Names a signal of one's own in a config, with this source."""
    signals = Path(os.environ["FLEA_HOME"]) / "signals"
    (signals / "mine.py").write_text(source)
    from_dict({**PLAIN, "signals": [{"kernel": "mine"}]})


def stored() -> CandleStore:
    """The workspace's store with five bars in it."""
    store = CandleStore(Path(os.environ["FLEA_HOME"]) / "store")
    store.write(KEY, bars(), MADE)
    return store


def tampered() -> None:
    """Reads a part that somebody changed."""
    store = stored()
    part = next(store.root.rglob("*.parquet"))
    changed(2, "close", 100.5).to_parquet(part, index=False)
    store.read(KEY)


@dataclass(frozen=True)
class Case:
    """What is done in an empty folder, whose fault it is, and what the line says."""

    name: str
    act: Callable[[Path], Any]
    error: type[FleaError]
    message: str


CASES = [
    Case("missing config file", lambda f: load(f / "no.toml"), ConfigError, r"config .*/no\.toml: no such file"),
    Case(
        "not TOML", lambda f: toml(f, "risk ="), ConfigError, r"config .*/run\.toml: not TOML \(Invalid value .*line 3"
    ),
    Case(
        "unknown field",
        lambda f: toml(f, "fil_rule = 1"),
        ConfigError,
        r"fil_rule: unknown field, did you mean 'fill_rule'\? \(in run\.toml\)",
    ),
    Case(
        "unknown field of a section",
        lambda f: toml(f, "risk = {max_drawdwn = 0.1}"),
        ConfigError,
        r"risk\.max_drawdwn: unknown field, did you mean 'max_drawdown'\? \(in run\.toml\)",
    ),
    Case(
        "out of range",
        lambda f: toml(f, "risk = {max_drawdown = 1.5}"),
        ConfigError,
        r"risk\.max_drawdown = 1\.5: expected `float` <= 1\.0 \(in run\.toml\)",
    ),
    Case(
        "NaN in a config",
        lambda f: toml(f, "risk = {max_daily_loss = nan}"),
        ConfigError,
        r"risk\.max_daily_loss = nan: expected `float` >= 0\.0 \(in run\.toml\)",
    ),
    Case(
        "wrong type",
        lambda f: toml(f, 'costs = {fee_bps = "5"}'),
        ConfigError,
        r"costs\.fee_bps = '5': expected `float`, got `str` \(in run\.toml\)",
    ),
    Case(
        "unknown choice",
        lambda f: toml(f, 'sizing = {mode = "incremental"}'),
        ConfigError,
        r"sizing\.mode = 'incremental': must be one of 'increment', 'target' \(in run\.toml\)",
    ),
    Case(
        "unknown interval",
        lambda _: from_dict({**PLAIN, "interval": "2m"}),
        ConfigError,
        r"interval = '2m': must be one of '1m', '5m', '15m', '1h', '4h', '1d' \(in config\)",
    ),
    Case(
        "fast not below slow",
        lambda f: toml(f, params="params = {fast = 30, slow = 21}"),
        ConfigError,
        r"fast \(30\) must be shorter than slow \(21\) \(in run\.toml, signals\[0\] ema_momentum\)",
    ),
    Case(
        "oversold not below overbought",
        lambda f: toml(f, kernel="rsi_reversion", params="params = {oversold = 80.0}"),
        ConfigError,
        r"oversold \(80\.0\) must be below overbought \(70\.0\) \(in run\.toml, signals\[0\] rsi_reversion\)",
    ),
    Case(
        "unknown signal",
        lambda f: toml(f, kernel="ema_momentun"),
        ConfigError,
        r"kernel 'ema_momentun' is unknown, known are book_imbalance, .*\(in run\.toml",
    ),
    Case(
        "a feature as a signal",
        lambda f: toml(f, kernel="vpin"),
        ConfigError,
        r"signals\[0\]\.kernel = 'vpin': a feature, not an alpha \(in run\.toml\)",
    ),
    Case(
        "the same signal twice",
        lambda _: from_dict({**PLAIN, "signals": PLAIN["signals"] * 2}),
        ConfigError,
        r"signals = \['ema_momentum', 'ema_momentum'\]: each kernel once \(in config\)",
    ),
    Case(
        "no symbols",
        lambda _: from_dict({**PLAIN, "symbols": []}),
        ConfigError,
        r"symbols = \[\]: at least one symbol is needed \(in config\)",
    ),
    Case(
        "a symbol without a grid",
        lambda _: from_dict({**PLAIN, "symbols": ["DOGEUSDT"]}),
        ConfigError,
        r"symbol 'DOGEUSDT' on 'synthetic' has no instrument: add \[instruments\.DOGEUSDT\]",
    ),
    Case(
        "money beyond 64 bits",
        lambda _: from_dict({**PLAIN, "instruments": {"BTCUSDT": {"tick_size": "1e-6", "lot_size": "1e-6"}}}),
        ConfigError,
        r"initial_cash_usd with BTCUSDT \(in config\) = 100,000 USD is beyond 64-bit money .* at most 40,000",
    ),
    Case(
        "a parameter path that leads nowhere",
        lambda _: with_values(from_dict(PLAIN), {"rsi_reversion.period": 9}),
        ConfigError,
        r"rsi_reversion\.period: no such setting, known are .*ema_momentum\.<parameter>",
    ),
    Case(
        "start after end",
        lambda _: from_dict({**PLAIN, "data": {"start": "2025-02-01", "end": "2025-01-01"}}),
        ConfigError,
        r"data: start \(2025-02-01\) must be before end \(2025-01-01\) \(in config\)",
    ),
    Case(
        "no date",
        lambda _: from_dict({**PLAIN, "data": {"start": "yesterday"}}),
        ConfigError,
        r"data: start = 'yesterday' is not an ISO date or time, such as 2025-05-05T12:00 \(in config\)",
    ),
    Case(
        "VPIN without a bucket size",
        lambda _: from_dict({**PLAIN, "risk": {"vpin": {"source": "bars"}}}),
        ConfigError,
        r"risk\.vpin\.bucket_volume has no BTCUSDT.*\(in config\)",
    ),
    Case(
        "unknown kind of synthetic market",
        lambda _: synth("crash", np.random.default_rng(1), 10),
        ConfigError,
        r"kind 'crash' of a synthetic market is unknown, known are trend, chop, jump, gap, toxic, mixed",
    ),
    Case(
        "unordered candles",
        lambda f: imported(f, bars().iloc[[0, 2, 1, 3, 4]]),
        DataError,
        r"binance_um_BTCUSDT_1m\.csv: row 2 \(2025-01-01T00:01:00Z\): unordered, the row before is later",
    ),
    Case(
        "duplicate candles",
        lambda f: imported(f, bars().iloc[[0, 1, 1, 2, 3, 4]]),
        DataError,
        r"binance_um_BTCUSDT_1m\.csv: row 2 \(2025-01-01T00:01:00Z\): duplicate, the row before has the same time",
    ),
    Case(
        "NaN in candles",
        lambda f: imported(f, changed(3, "close", np.nan)),
        DataError,
        r"binance_um_BTCUSDT_1m\.csv: row 3 \(2025-01-01T00:03:00Z\): close is nan",
    ),
    Case(
        "a high below its close",
        lambda f: imported(f, changed(1, "high", 99.5)),
        DataError,
        r"binance_um_BTCUSDT_1m\.csv: row 1 .*: high 99\.5 is below max\(open, close\) 100\.0",
    ),
    Case(
        "negative volume",
        lambda f: imported(f, changed(1, "volume", -1.0)),
        DataError,
        r"row 1 .*volume -1\.0 must not be negative",
    ),
    Case(
        "wrong interval",
        lambda f: imported(f, bars(), "binance_um_BTCUSDT_5m.csv"),
        DataError,
        r"binance_um_BTCUSDT_5m\.csv: bars are 1m apart, not 5m \(first 2025-01-01T00:00:00Z\)",
    ),
    Case("no rows", lambda f: imported(f, bars(0)), DataError, r"binance_um_BTCUSDT_1m\.csv: no bars"),
    Case(
        "a column missing",
        lambda f: imported(f, bars().drop(columns="close")),
        DataError,
        r"binance_um_BTCUSDT_1m\.csv: no close column \(known names: close, c, close_price\); found ts, open, high",
    ),
    Case(
        "a file that is not there",
        lambda f: read_candle_file(f / "binance_um_BTCUSDT_1m.parquet"),
        DataError,
        r"/binance_um_BTCUSDT_1m\.parquet: cannot be read: no such file or directory",
    ),
    Case(
        "an unreadable file",
        lambda f: text_file(f, "binance_um_BTCUSDT_1m.parquet", b"PAR1 no more"),
        DataError,
        r"binance_um_BTCUSDT_1m\.parquet: not a readable \.parquet file \(.*\)",
    ),
    Case(
        "a file of unknown kind",
        lambda f: text_file(f, "binance_um_BTCUSDT_1m.xlsx", b"PK"),
        DataError,
        r"binance_um_BTCUSDT_1m\.xlsx: unknown kind of file, known are \.parquet, \.feather, \.csv",
    ),
    Case(
        "funding that cannot be",
        lambda f: funding_file(f, 2.0),
        DataError,
        r"x\.csv BTCUSDT: row 0 \(2025-01-01T00:00:00Z\): funding_rate 2\.0 is not within \+-",
    ),
    Case(
        "data that is not stored",
        lambda _: load_market(from_dict(PLAIN)),
        DataError,
        r"synthetic.*BTCUSDT.*1m is not in the store .*; stored: nothing",
    ),
    Case(
        "an empty range",
        lambda _: (stored(), load_market(from_dict({**PLAIN, "data": {"start": "2030-01-01"}}))),
        DataError,
        r"asks for 2030-01-01 to the last, stored are 2025-01-01",
    ),
    Case(
        "too few bars",
        lambda _: (stored(), run_fold(from_dict(PLAIN), load_market(from_dict(PLAIN)).market)),
        DataError,
        r"5 bars are too few: the signals of config 'unnamed' need 70 to warm up",
    ),
    Case(
        "a missing input",
        lambda _: require_inputs(
            build_market(from_dict(PLAIN), {"BTCUSDT": bars()}), alphas(from_dict(PLAIN)), VpinGate(source="bars")
        ),
        DataError,
        r"the VPIN guard needs 'buy_volume', which the candles of BTCUSDT do not have",
    ),
    Case(
        "a stored part that was changed",
        lambda _: tampered(),
        DataError,
        r"its content has changed since it was stored",
    ),
    Case(
        "other bars than those stored",
        lambda _: stored().write(KEY, changed(2, "close", 100.5), MADE),
        DataError,
        r"holds another synthetic market \(seed 1\), 2025-01-01.*pass --replace",
    ),
    Case(
        "a signal that cannot be imported",
        lambda f: kernel_file(f, "import nothing_like_this\n"),
        KernelError,
        r"signal mine\.py: ModuleNotFoundError: No module named 'nothing_like_this'",
    ),
    Case(
        "a signal module without its kernel",
        lambda f: kernel_file(f, "x = 1\n"),
        KernelError,
        r"signal mine\.py: must define a kernel named 'mine', found none",
    ),
    Case(
        "a workspace that is a file",
        lambda f: ((f / "flat").write_text(""), Workspace(f / "flat").ready()),
        WorkspaceError,
        r"workspace .*/flat cannot be made: .* \(set FLEA_HOME\)",
    ),
    Case(
        "a store below a file",
        lambda f: ((f / "store").write_text(""), CandleStore(f / "store").write(KEY, bars(), MADE)),
        WorkspaceError,
        r"store .*/store/.*: not a directory",
    ),
]


def contents(root: Path) -> dict[str, bytes]:
    """Every file below `root` but locks, by path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_ends_in_one_line(case: Case, tmp_path: Path, home: Path) -> None:
    Workspace(home).ready()
    with pytest.raises(case.error, match=case.message) as caught:
        case.act(tmp_path)
    assert type(caught.value) is case.error
    assert "\n" not in str(caught.value)
    assert not [name for name in contents(home) if name.endswith((".part", ".tmp"))], "nothing half-written"


def test_there_are_at_least_twenty_five_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 25
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_refused_write_leaves_what_was_stored(home: Path) -> None:
    store = stored()
    before = contents(home)
    for bad in (changed(2, "close", 100.5), changed(3, "high", 1.0), bars().iloc[[1, 0]]):
        with pytest.raises(DataError):
            store.write(KEY, bad, MADE)
        assert contents(home) == before

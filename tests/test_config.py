"""One validated config with an id: what it refuses, what its id hashes."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.config import DataSettings, RunConfig, alphas, from_dict, load, with_values
from flea_lab.errors import ConfigError
from flea_lab.model.finding import Kind
from flea_lab.risk.tolerance import Fault

PLAIN: dict[str, Any] = {
    "name": "seed",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "1m",
    "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
    "risk": {"vpin": {"source": "bars", "bucket_volume": {"BTCUSDT": 10.0, "ETHUSDT": 100.0}}},
}
CONFIG = from_dict(PLAIN)

DECIDING: list[tuple[str, Any]] = [
    ("symbols", ["BTCUSDT"]),
    ("symbols", ["ETHUSDT", "BTCUSDT"]),
    ("interval", "5m"),
    ("signals", [{"kernel": "ema_momentum"}]),
    ("signals", [{"kernel": "rsi_reversion", "weight": 0.7}, {"kernel": "ema_momentum"}]),
    ("initial_cash_usd", 99_999.0),
    ("ema_momentum.weight", 2.0),
    ("ema_momentum.fast", 8),
    ("ema_momentum.slow", 22),
    ("ema_momentum.z_window", 51),
    ("ema_momentum.volume_window", 21),
    ("ema_momentum.z_scale", 3.5),
    ("rsi_reversion.period", 15),
    ("rsi_reversion.overbought", 71.0),
    ("rsi_reversion.oversold", 29.0),
    ("rsi_reversion.averaging", "wilder"),
    ("combination.min_confidence", 0.31),
    ("combination.min_conviction", 0.16),
    ("sizing.mode", "target"),
    ("sizing.base_fraction", 0.11),
    ("sizing.basis", "initial"),
    ("sizing.rebalance_band", 0.01),
    ("sizing.market_above", 0.71),
    ("sizing.high_urgency_above", 0.81),
    ("risk.max_daily_loss", 0.031),
    ("risk.max_drawdown", 0.11),
    ("risk.max_concentration", 0.26),
    ("risk.concentration_of", "exposure"),
    ("risk.max_order_usd", 50_001.0),
    ("risk.orders.collar_bps", 400.0),
    ("risk.orders.collar_ticks", 11),
    ("risk.orders.worst_price", "collar"),
    ("risk.orders.drift_bps", 100.0),
    ("risk.orders.max_volume_share", 0.1),
    ("risk.orders.duplicate_s", 31.0),
    ("risk.orders.burst_orders", 21),
    ("risk.orders.burst_s", 61.0),
    ("risk.vpin.source", "absent"),
    ("risk.vpin.limit", 0.76),
    ("risk.vpin.window", 51),
    ("risk.vpin.bucket_volume.BTCUSDT", 11.0),
    ("tolerance.max_hole_bars", 0),
    ("tolerance.settle_bars", 2),
    ("tolerance.kinds", ["hole", "off_grid"]),
    ("slicing.above", "none"),
    ("slicing.style", "iceberg"),
    ("slicing.minutes", 31.0),
    ("slicing.every_s", 61.0),
    ("slicing.participation", 0.2),
    ("slicing.patience", 5.0),
    ("slicing.limits", "work"),
    ("slicing.offset_ticks", 1),
    ("slicing.cross_low", 9),
    ("slicing.cross_normal", 2),
    ("slicing.cross_high", 0),
    ("costs.fee_bps", 5.1),
    ("costs.slippage_bps", 1.1),
    ("costs.funding", False),
    ("instruments.BTCUSDT.tick_size", "0.2"),
    ("instruments.BTCUSDT.lot_size", "0.002"),
    ("instruments.ETHUSDT.min_notional_usd", "6"),
    ("instruments.ETHUSDT.funding_interval_h", 4),
]
RUNNING: list[tuple[str, Any]] = [
    ("name", "other"),
    ("data.venue", "binance_um"),
    ("data.start", "2025-01-01"),
    ("data.end", "2026-01-01T12:00"),
    ("deployment.threads", 7),
    ("deployment.chunk", 7),
    ("deployment.memory_mib", 64),
    ("live.reports.due", "nightly-report"),
    ("live.reports.deadline_s", 60.0),
    ("live.reports.every_s", 5.0),
    ("live.reports.demote", True),
    ("live.dialect", {"rest_url": "https://example.org/trading-api"}),
    ("live.history_bars", 300),
    ("live.order_patience_s", 1.0),
    ("live.reconcile_s", 30.0),
    ("live.reconcile_fill_s", 2.0),
    ("live.reconcile_pause_s", 1.0),
    ("live.stale_s", 5.0),
    ("live.max_skew_s", 1.0),
    ("live.frozen_after", 5),
    ("live.unknown_wait_s", 20.0),
    ("live.limit_ttl_s", 120.0),
    ("live.dead_man_s", 20.0),
    ("live.first_orders", 5),
    ("live.first_order_usd", 20.0),
    ("live.weaker_mode", "one_in_flight"),
    ("live.lag_alert_s", 0.2),
    ("live.lag_block_s", 2.0),
    ("alerts.channels", {"phone": {"severity": "critical", "kinds": ["halt"]}}),
    ("alerts.every_s", 30.0),
    ("alerts.send_s", 4.0),
    ("alerts.drawdown_steps", [0.05]),
    ("alerts.balances", True),
    ("alerts.again_h", 1.0),
]


def leaves(values: Any, path: str = "") -> set[str]:
    """Dotted paths of every scalar, positions of lists left out."""
    if isinstance(values, dict):
        return set().union(*(leaves(value, f"{path}.{name}") for name, value in values.items()), set())
    if isinstance(values, list):
        return set().union(*(leaves(value, path) for value in values), set())
    return {path.lstrip(".")}


@pytest.mark.parametrize(("path", "value"), DECIDING, ids=[f"{path}={value}" for path, value in DECIDING])
def test_whatever_decides_changes_the_id(path: str, value: Any) -> None:
    changed = with_values(CONFIG, {path: value})
    assert changed.id != CONFIG.id
    assert len(changed.id) == 64


@pytest.mark.parametrize(("path", "value"), RUNNING)
def test_what_only_says_where_it_runs_does_not(path: str, value: Any) -> None:
    changed = with_values(CONFIG, {path: value})
    assert changed != CONFIG
    assert changed.id == CONFIG.id


def test_the_two_tables_above_name_every_field() -> None:
    names = {"ema_momentum": "signals.params", "rsi_reversion": "signals.params"}
    named = set()
    for path, _ in DECIDING + RUNNING:
        head, _, tail = path.partition(".")
        named.add("signals.weight" if tail == "weight" else f"{names.get(head, head)}.{tail}".rstrip("."))
    known = {p.replace("ETHUSDT", "BTCUSDT") for p in leaves(CONFIG.to_dict())} - {"signals.kernel", "fill_rule"}
    known |= {"live.dialect", "alerts.channels"}  # a table that is empty by default has no leaf
    assert known == {path.replace("ETHUSDT", "BTCUSDT") for path in named if path != "signals"}


@pytest.mark.parametrize("change", [*DECIDING, *RUNNING], ids=str)
def test_a_config_comes_back_from_its_plain_values(change: tuple[str, Any]) -> None:
    config = with_values(CONFIG, dict([change]))
    again = from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.id == config.id


def shuffled(values: Any, draw: Any) -> Any:
    if isinstance(values, dict):
        return {name: shuffled(values[name], draw) for name in draw(st.permutations(list(values)))}
    return [shuffled(value, draw) for value in values] if isinstance(values, list) else values


def test_an_all_default_tolerance_is_no_part_of_the_id_and_any_other_is_whole() -> None:
    assert "tolerance" not in CONFIG.decision_dict()
    assert CONFIG.to_dict()["tolerance"] == {"max_hole_bars": None, "settle_bars": 1, "kinds": ["hole", "resent"]}
    written = from_dict(CONFIG.to_dict() | {"tolerance": {"settle_bars": 1}})
    assert written.id == CONFIG.id
    other = with_values(CONFIG, {"tolerance.settle_bars": 2})
    assert other.decision_dict()["tolerance"] == other.to_dict()["tolerance"]


def test_kinds_are_words_for_faults_and_holes_are_refused_by_their_length() -> None:
    assert set(get_args(Fault)) <= set(get_args(Kind))
    with pytest.raises(ConfigError, match=r"must be one of 'disconnected', 'early_close', 'gap', 'hole'"):
        with_values(CONFIG, {"tolerance.kinds": ["hole", "crossd"]})
    with pytest.raises(ConfigError, match="kinds without 'hole' tolerate no hole: say so with max_hole_bars = 0"):
        with_values(CONFIG, {"tolerance.kinds": ["resent"]})
    with pytest.raises(ConfigError, match=r"tolerance\.settle_bars = 0: expected `int` >= 1"):
        with_values(CONFIG, {"tolerance.settle_bars": 0})


@given(st.data())
def test_the_id_does_not_hang_on_the_order_of_fields(data: st.DataObject) -> None:
    assert from_dict(shuffled(CONFIG.to_dict(), data.draw)).id == CONFIG.id


def test_the_id_does_not_hang_on_how_a_number_is_written_nor_on_defaults_written_out() -> None:
    spelled = {
        **PLAIN,
        "initial_cash_usd": 100_000,
        "signals": [{"kernel": "ema_momentum", "weight": 1, "params": {"z_scale": 3}}, *PLAIN["signals"][1:]],
        "costs": {"fee_bps": 5, "slippage_bps": 1.00},
        "instruments": {"BTCUSDT": {"tick_size": "0.10", "lot_size": 0.001, "min_notional_usd": "5.0"}},
    }
    assert from_dict(spelled).id == CONFIG.id
    assert with_values(CONFIG, {"ema_momentum.fast": np.int64(9), "costs.fee_bps": np.float64(5.0)}).id == CONFIG.id


def test_paths_by_kernel_by_position_and_by_field_are_the_same() -> None:
    one = with_values(CONFIG, {"rsi_reversion.period": 9})
    assert one == with_values(CONFIG, {"signals.1.params.period": 9})
    assert one.signals[1].params["period"] == 9
    assert with_values(CONFIG, {"signals.1.weight": 3.0}) == with_values(CONFIG, {"rsi_reversion.weight": 3.0})
    assert with_values(CONFIG, {"risk.vpin.limit": 0.5}).risk.vpin.limit == 0.5
    assert CONFIG.signals[1].params["period"] == 14, "the config itself is never changed"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rsk.max_drawdown", 0.1, r"rsk\.max_drawdown: no such setting, known are .*risk.* \(in changed config\)"),
        ("risk.max_drawdwn", 0.1, r"risk\.max_drawdwn: unknown field, did you mean 'max_drawdown'\?"),
        ("ema_momentum.fst", 9, r"fst: unknown field, did you mean 'fast'\? .*signals\[0\] ema_momentum"),
        ("ema_momentum.fast", 21, r"fast \(21\) must be shorter than slow \(21\) .*signals\[0\] ema_momentum"),
        ("ema_momentum.fast", 9.5, r"fast = 9\.5: expected `int`, got `float`"),
        ("ema_momentum", 3, r"signals\[0\]\.params = 3: expected `object`, got `int`"),
        ("signals.0", 3, r"signals\[0\] = 3: expected `object`, got `int`"),
        ("signals.9.weight", 1.0, r"signals\.9\.weight: no such setting"),
        ("signals.first", 1.0, r"signals\.first: no such setting"),
        ("name.first", "x", r"name\.first: no such setting"),
        ("risk.max_drawdown.x", 1, r"risk\.max_drawdown\.x: no such setting"),
        ("data.start.x.y", 1, r"data\.start\.x\.y: no such setting"),
        ("", 1, r"unknown field"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_values(CONFIG, {path: value})


def test_the_kernels_of_a_config_are_resolved_with_their_warm_up(home: Path) -> None:
    found = alphas(CONFIG)
    assert [kernel.name for kernel in found.kernels] == ["ema_momentum", "rsi_reversion"]
    assert found.weights.tolist() == [1.0, 0.7]
    assert found.warmup == 70


def test_a_file_gives_its_name_and_every_default(tmp_path: Path) -> None:
    file = tmp_path / "My Trend.toml"
    file.write_text('symbols = ["BTCUSDT"]\ninterval = "1h"\n[[signals]]\nkernel = "ema_momentum"\n')
    config = load(file)
    assert config.name == "my-trend"
    assert config.interval_ms == 3_600_000
    assert str(config.instruments["BTCUSDT"].tick_size) == "0.1"
    assert config.signals[0].params == {"fast": 9, "slow": 21, "z_window": 50, "volume_window": 20, "z_scale": 3.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"config .*run\.toml: no such file"),
        (b"symbols = 1\nrisk", r"config .*run\.toml: not TOML \(Expected '=' .*\)"),
        (b"\xff\xfe", r"config .*run\.toml: cannot be read"),
        (b'symbols = ["BTCUSDT"]\ninterval = "1m"\n', r"signals: required but missing \(in run\.toml\)"),
        (b"[risk]\nmax_drawdown = nan\n", r"\(in run\.toml\)"),
    ],
)
def test_a_file_that_is_no_config_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"live.lag_block_s": 0.05},
            r"lag_block_s \(0\.05\) must be at least lag_alert_s \(0\.1\) \(in changed config\)",
        ),
        ({"live.lag_alert_s": 1.5}, r"lag_block_s \(1\) must be at least lag_alert_s \(1\.5\)"),
        ({"alerts.drawdown_steps": [0.05, 0.02]}, r"drawdown_steps \[0\.05, 0\.02\] must rise, from above 0"),
        ({"alerts.drawdown_steps": [0.02, 0.02]}, r"drawdown_steps \[0\.02, 0\.02\] must rise"),
        ({"alerts.drawdown_steps": [0.0, 0.02]}, r"drawdown_steps \[0\.0, 0\.02\] must rise"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_values(CONFIG, changes)


def test_settings_that_are_equal_or_empty_do_not_contradict() -> None:
    found = with_values(CONFIG, {"live.lag_alert_s": 1.0, "live.lag_block_s": 1.0, "alerts.drawdown_steps": []})
    assert found.live.lag_block_s == 1.0 and found.alerts.drawdown_steps == ()


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config .* cannot be read"):
        load(tmp_path)


def test_the_vpin_guard_needs_a_bucket_size_for_every_symbol() -> None:
    with pytest.raises(ConfigError, match=r"risk\.vpin\.bucket_volume has no ETHUSDT"):
        with_values(CONFIG, {"risk.vpin.bucket_volume": {"BTCUSDT": 1.0}})


def test_what_is_stated_for_a_symbol_that_is_not_traded_is_a_typo() -> None:
    stray: dict[str, Any] = {**PLAIN, "instruments": {"XYZ": {"tick_size": "1", "lot_size": "1"}}}
    with pytest.raises(ConfigError, match=r"instruments.XYZ: not traded here, symbols are BTCUSDT, ETHUSDT"):
        from_dict(stray)
    vpin = {"source": "bars", "bucket_volume": {"BTCUSDT": 10.0, "ETHUSDT": 100.0, "ETHUSD": 100.0}}
    with pytest.raises(ConfigError, match=r"risk.vpin.bucket_volume.ETHUSD: not traded here"):
        from_dict({**PLAIN, "risk": {"vpin": vpin}})


def test_symbols_taken_out_of_a_config_take_their_settings_along() -> None:
    one = with_values(CONFIG, {"symbols": ["ETHUSDT"]})
    assert list(one.instruments) == ["ETHUSDT"]
    assert one.risk.vpin.bucket_volume == {"ETHUSDT": 100.0}


def test_a_grid_is_checked_before_it_is_found_to_be_a_strangers() -> None:
    stray: dict[str, Any] = {**PLAIN, "instruments": {"XYZ": {"tick_size": "1", "lot_size": "1"}}}
    stray["instruments"]["XYZ"]["tick_size"] = "-1"
    with pytest.raises(ConfigError, match=r"tick_size \(-1\) must be at least .* \(in config, \[instruments\.XYZ\]\)"):
        from_dict(stray)


def test_an_account_beyond_64_bits_on_its_grid_is_refused() -> None:
    tiny = {"BTCUSDT": {"tick_size": "0.000001", "lot_size": "0.000001"}}
    with pytest.raises(
        ConfigError, match=r"initial_cash_usd with BTCUSDT \(in config\) = 100,000 USD .* at most 40,000"
    ):
        from_dict({**PLAIN, "instruments": tiny})


def test_a_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        CONFIG.name = "x"  # type: ignore[misc]
    assert isinstance(CONFIG, RunConfig) and msgspec.structs.asdict(CONFIG)["name"] == "seed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": [".."]}, r"symbols\[0\] = '\.\.': expected `str` matching regex"),
        ({"symbols": ["BTCUSDT\n"]}, r"symbols\[0\] = 'BTCUSDT\\n': expected `str` matching regex"),
        ({"symbols": ["BTC/USDT"]}, r"symbols\[0\] = 'BTC/USDT': expected `str` matching regex"),
        ({"symbols": ["BTCUSDT", "BTCUSDT"]}, r"symbols = \['BTCUSDT', 'BTCUSDT'\]: each symbol once"),
        ({"name": "seed\n"}, r"name = 'seed\\n': lower-case letters"),
        ({"name": "../seed"}, r"name = '\.\./seed': lower-case letters"),
        ({"data": {"venue": "../x"}}, r"data\.venue = '\.\./x': expected `str` matching regex"),
    ],
)
def test_names_that_could_leave_a_folder_or_a_line_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict({**PLAIN, **change})


@pytest.mark.usefixtures("home")
def test_toml_may_write_times_without_quotes(tmp_path: Path) -> None:
    text = 'symbols = ["BTCUSDT"]\ninterval = "1m"\nsignals = [{ kernel = "rsi_reversion" }]\n[data]\n'
    quoted, plain = tmp_path / "a.toml", tmp_path / "b.toml"
    quoted.write_text(text + 'start = "2025-01-02"\nend = "2025-01-03T04:00:00Z"\n')
    plain.write_text(text + "start = 2025-01-02\nend = 2025-01-03T04:00:00Z\n")
    assert load(quoted).data.start_ms == load(plain).data.start_ms
    assert load(quoted).data.end_ms == load(plain).data.end_ms == 1_735_876_800_000


def test_a_time_is_kept_to_the_millisecond() -> None:
    for ms in (1, 1_001, 1_009, 1_746_446_400_001):
        text = str(np.datetime64(ms, "ms"))
        assert DataSettings(start=text).start_ms == ms

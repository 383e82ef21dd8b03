"""One validated config with an id: the same frozen object drives sweep, report, replay and the runner.

The decision part (signals, combination, sizing, risk, tolerance, costs, fill rule, account, symbols, interval,
instruments) is what the id hashes. `name`, `data`, `deployment`, `live` and `alerts` say where, on what and how it
runs; changing them does not change the id.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, field

from flea_lab.errors import ConfigError
from flea_lab.execution.slicing import Slicing
from flea_lab.model.alert import AlertSettings
from flea_lab.model.instrument import Instrument, known_instrument
from flea_lab.model.market import INTERVAL_MS
from flea_lab.money import check_headroom
from flea_lab.risk.checks import RiskLimits
from flea_lab.risk.order_checks import OrderChecks
from flea_lab.risk.tolerance import Tolerance
from flea_lab.settings import Bps, Settings, Usd, load_settings
from flea_lab.signal.ensemble import warmup
from flea_lab.signal.kernel import Floats, Kernel
from flea_lab.signal.registry import find_kernel
from flea_lab.strategy.params import AlphaSettings, Combination, Sizing
from flea_lab.venue.dialects import load_dialect
from flea_lab.workspace import workspace

Interval = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
Cash = Annotated[float, Meta(ge=1.0, le=1e9, description="USD")]
Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0, description="seconds")]
Pause = Annotated[float, Meta(ge=0.0, le=3_600.0, description="seconds")]
Symbol = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")]
NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,40}$")


def _epoch_ms(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} = {text!r} is not an ISO date or time, such as 2025-05-05T12:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1000)


class Costs(Settings, frozen=True, kw_only=True):
    """What a fill costs, in basis points of its value, and whether funding is charged."""

    fee_bps: Bps = 5.0
    slippage_bps: Bps = 1.0
    funding: bool = True


class DataSettings(Settings, frozen=True, kw_only=True):
    """Which stored market: venue, and optionally a half-open range of bar opens (ISO dates or times, UTC)."""

    venue: Symbol = "synthetic"
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        start, end = self.start_ms, self.end_ms
        if start is not None and end is not None and not start < end:
            raise ValueError(f"start ({self.start}) must be before end ({self.end})")

    @property
    def start_ms(self) -> int | None:
        return _epoch_ms("start", self.start)

    @property
    def end_ms(self) -> int | None:
        return _epoch_ms("end", self.end)


class Deployment(Settings, frozen=True, kw_only=True):
    """How a run uses this machine; decides nothing. `memory_mib` is what a sweep may hold beside program and market: it
    says how many threads and how large a chunk, where `chunk` does not."""

    threads: Annotated[int, Meta(ge=1, le=256)] = 2
    chunk: Annotated[int, Meta(ge=1, le=100_000, description="combinations in a chunk")] | None = None
    memory_mib: Annotated[int, Meta(ge=1, le=1_048_576, description="MiB")] = 256


class ReportWatch(Settings, frozen=True, kw_only=True):
    """Which job of the schedule a session looks after; none where `due` is empty. `demote` closes the latch "reducing"
    where its report is missing past the deadline."""

    due: Annotated[str, Meta(max_length=41, description="job")] = ""
    deadline_s: Seconds = 3_600.0
    every_s: Seconds = 60.0
    demote: bool = False


class LiveSettings(Settings, frozen=True, kw_only=True):
    """How the live runner behaves; decides nothing. `dialect` picks how the venue is spoken to (`venue.dialects`)."""

    dialect: dict[str, Any] = field(default_factory=dict)
    history_bars: Annotated[int, Meta(ge=1, le=100_000, description="bars")] = 200
    order_patience_s: Pause = 2.0
    reconcile_s: Seconds = 60.0
    reconcile_fill_s: Pause = 1.0
    reconcile_pause_s: Pause = 0.25
    stale_s: Seconds = 10.0
    max_skew_s: Seconds = 2.0
    frozen_after: Annotated[int, Meta(ge=2, le=1_000, description="messages")] = 3
    unknown_wait_s: Seconds = 10.0
    limit_ttl_s: Seconds = 60.0
    dead_man_s: Pause = 15.0
    weaker_mode: Literal["none", "one_in_flight"] = "none"
    first_orders: Annotated[int, Meta(ge=0, le=1_000_000, description="orders")] = 20
    first_order_usd: Usd = 100.0
    lag_alert_s: Seconds = 0.1
    lag_block_s: Seconds = 1.0
    reports: ReportWatch = ReportWatch()

    def __post_init__(self) -> None:
        if not self.lag_alert_s <= self.lag_block_s:
            alert, block = self.lag_alert_s, self.lag_block_s
            raise ValueError(f"lag_block_s ({block:g}) must be at least lag_alert_s ({alert:g})")


class RunConfig(Settings, frozen=True, kw_only=True):
    """Everything a run is. Load it (`load`, `from_dict`, `with_values`); a constructor checks nothing."""

    symbols: tuple[Symbol, ...]
    interval: Interval
    signals: tuple[AlphaSettings, ...]
    name: str = "unnamed"
    combination: Combination = Combination()
    sizing: Sizing = Sizing()
    risk: RiskLimits = RiskLimits()
    tolerance: Tolerance = Tolerance()
    slicing: Slicing = Slicing()
    costs: Costs = Costs()
    fill_rule: Literal["next_open"] = "next_open"
    initial_cash_usd: Cash = 100_000.0
    instruments: dict[str, Instrument] = field(default_factory=dict)
    data: DataSettings = DataSettings()
    deployment: Deployment = Deployment()
    live: LiveSettings = LiveSettings()
    alerts: AlertSettings = AlertSettings()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default written out; `from_dict` of them is this config again."""
        values: dict[str, Any] = plain(msgspec.to_builtins(self))
        return values

    def decision_dict(self) -> dict[str, Any]:
        """The part that decides, as plain values.

        Without `tolerance`, `slicing` and `risk.orders` where they are all default: a config that says nothing of them
        has the id that it had before there were such things.
        """
        values = self.to_dict()
        for name in ("name", "data", "deployment", "live", "alerts"):
            del values[name]
        if self.tolerance == Tolerance():
            del values["tolerance"]
        if self.slicing == Slicing():
            del values["slicing"]
        if self.risk.orders == OrderChecks():
            del values["risk"]["orders"]
        return values

    @property
    def id(self) -> str:
        """SHA-256 of the decision part in canonical JSON, 64 hex digits."""
        text = json.dumps(self.decision_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def interval_ms(self) -> int:
        return INTERVAL_MS[self.interval]


class Alphas(NamedTuple):
    """The signals of a config, resolved: kernels, their validated parameters, weights of shape `(n_alphas,)`."""

    kernels: tuple[Kernel, ...]
    params: tuple[Settings, ...]
    weights: Floats

    @property
    def warmup(self) -> int:
        """Bars up to and including the first on which every alpha can be ready."""
        return warmup(self.kernels, self.params)


def load(path: str | Path) -> RunConfig:
    """The config in a TOML file. `ConfigError` names the file for a typo, an impossible value or a missing file."""
    path = Path(path)
    values = read_toml(path, "config")
    values.setdefault("name", re.sub(r"[^a-z0-9_-]", "-", path.stem.lower()))
    return from_dict(values, path.name)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The plain values of a TOML file; `ConfigError` names `what` it was meant to be, and the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{what} {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{what} {path}: not TOML ({error})") from None


def from_dict(values: Mapping[str, Any], place: str = "config") -> RunConfig:
    """A validated config from plain values: kernels known, parameters complete, instruments resolved."""
    values = plain(values)
    stated = values.get("instruments") if isinstance(values, dict) else None
    for name, grid in stated.items() if isinstance(stated, dict) else ():
        load_settings(grid, Instrument, f"{place}, [instruments.{name}]")
    config = load_settings(values, RunConfig, place)
    _check(config, place)
    load_dialect(config.live.dialect, f"{place}, [live.dialect]")
    signals = tuple(_complete(alpha, i, place) for i, alpha in enumerate(config.signals))
    instruments = {symbol: _instrument(config, symbol, place) for symbol in config.symbols}
    for symbol, grid in instruments.items():
        check_headroom(config.initial_cash_usd, grid.unit_den, f"initial_cash_usd with {symbol} (in {place})")
        check_headroom(config.risk.max_order_usd, grid.unit_den, f"risk.max_order_usd with {symbol} (in {place})")
    return msgspec.structs.replace(config, signals=signals, instruments=instruments)


def with_values(config: RunConfig, changes: Mapping[str, Any], place: str = "changed config") -> RunConfig:
    """`config` with the values at dotted paths changed, validated again.

    A path is a field ("risk.max_drawdown"), or a signal's parameter by kernel name ("ema_momentum.fast",
    "ema_momentum.weight") or position ("signals.0.params.fast").
    """
    values = config.to_dict()
    for path, value in changes.items():
        _set(values, path, value.item() if isinstance(value, np.generic) else value, place)
    if "symbols" in changes:
        for by_symbol in (values["instruments"], values["risk"]["vpin"]["bucket_volume"]):
            for gone in set(config.symbols) - set(values["symbols"]):
                by_symbol.pop(gone, None)
    return from_dict(values, place)


def alphas(config: RunConfig) -> Alphas:
    """The kernels a config names with their validated parameters; workspace kernels come from `FLEA_HOME`."""
    folder = workspace().signals
    kernels = tuple(find_kernel(alpha.kernel, folder, config.name) for alpha in config.signals)
    params = tuple(k.load(a.params, config.name) for k, a in zip(kernels, config.signals, strict=True))
    return Alphas(kernels, params, np.array([alpha.weight for alpha in config.signals]))


def _check(config: RunConfig, place: str) -> None:
    if not NAME.fullmatch(config.name):
        raise ConfigError(f"name = {config.name!r}: lower-case letters, digits, _ and -, at most 41 (in {place})")
    if not config.symbols:
        raise ConfigError(f"symbols = []: at least one symbol is needed (in {place})")
    if len(set(config.symbols)) < len(config.symbols):
        raise ConfigError(f"symbols = {list(config.symbols)}: each symbol once (in {place})")
    if not config.signals:
        raise ConfigError(f"signals = []: at least one signal is needed (in {place})")
    names = [alpha.kernel for alpha in config.signals]
    if len(set(names)) < len(names):
        raise ConfigError(f"signals = {names}: each kernel once (in {place})")
    vpin = config.risk.vpin
    for where, by_symbol in (("instruments", config.instruments), ("risk.vpin.bucket_volume", vpin.bucket_volume)):
        for symbol in by_symbol:
            if symbol not in config.symbols:
                traded = ", ".join(config.symbols)
                raise ConfigError(f"{where}.{symbol}: not traded here, symbols are {traded} (in {place})")
    if vpin.source != "absent":
        for symbol in config.symbols:
            if symbol not in vpin.bucket_volume:
                raise ConfigError(
                    f"risk.vpin.bucket_volume has no {symbol}, "
                    f"but source {vpin.source!r} needs a size a symbol (in {place})"
                )


def _complete(alpha: AlphaSettings, position: int, place: str) -> AlphaSettings:
    kernel = find_kernel(alpha.kernel, workspace().signals, place)
    if not kernel.is_alpha:
        raise ConfigError(f"signals[{position}].kernel = {alpha.kernel!r}: a feature, not an alpha (in {place})")
    params = kernel.load(alpha.params, f"{place}, signals[{position}] {alpha.kernel}")
    return msgspec.structs.replace(alpha, params=msgspec.to_builtins(params))


def _instrument(config: RunConfig, symbol: str, place: str) -> Instrument:
    stated = config.instruments.get(symbol)
    if stated is not None:
        return stated
    return load_settings(known_instrument(config.data.venue, symbol, place), Instrument, place)


def _set(values: Any, path: str, value: Any, place: str) -> None:
    steps = path.split(".")
    names = [alpha["kernel"] for alpha in values["signals"]]
    if steps[0] in names:
        own = ["weight"] if steps[1:] == ["weight"] else ["params", *steps[1:]]
        steps = ["signals", str(names.index(steps[0])), *own]
    at = values
    for step in steps[:-1]:
        at = at[int(step)] if isinstance(at, list) and step.isdigit() and int(step) < len(at) else _child(at, step)
    if isinstance(at, list) and steps[-1].isdigit() and int(steps[-1]) < len(at):
        at[int(steps[-1])] = value
    elif isinstance(at, dict):
        at[steps[-1]] = value
    else:
        known = ", ".join(sorted({*values, *(f"{name}.<parameter>" for name in names)}))
        raise ConfigError(f"{path}: no such setting, known are {known} (in {place})")


def _child(at: Any, step: str) -> Any:
    return at.get(step) if isinstance(at, dict) else None


PLAIN = frozenset((str, int, float, bool, type(None)))


def plain(values: Any) -> Any:
    """`values` as JSON knows them: numpy's numbers as Python's, times of TOML as text, sequences as lists."""
    if type(values) in PLAIN:  # most are: whether they are one of many kinds takes ten times as long to ask
        return values
    if isinstance(values, Mapping):
        return {str(key): plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    if isinstance(values, date):  # TOML writes times without quotes too
        return values.isoformat()
    return values.item() if isinstance(values, np.generic) else values

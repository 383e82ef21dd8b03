"""nautilus_trader on the events of `bench/replay.py`, run by an interpreter that has it (see `environment`).

The folder holds `bars.npz`, `trades.npz`, `deltas.npz` and `singles.npz`. Its own objects are made before the clock
starts; timed is `BacktestEngine.run`, which hears every event in its simulated exchange, its data engine and one
strategy.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
PACKAGE = "nautilus_trader"
MONEY = "10000000 USDT"


def environment(cache: Path) -> tuple[Path | None, str]:
    """An interpreter with nautilus_trader, made in `cache` where there is none; else None and why."""
    python = cache / "nautilus" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if _has_it(python):
        return python, ""
    if os.environ.get("FLEA_OFFLINE") == "1":
        return None, "FLEA_OFFLINE=1 forbids installing it"
    steps = (
        [_newest_python(), "-m", "venv", "--clear", str(cache / "nautilus")],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGE],
    )
    for step in steps:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            ran = subprocess.run(step, capture_output=True, text=True, timeout=900)
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, f"{' '.join(step[1:4])}: {error}"
        if ran.returncode != 0:
            said = (ran.stderr or ran.stdout).strip().splitlines() or ["nothing said"]
            return None, f"{' '.join(step[1:4])}: {said[-1]}"
    return (python, "") if _has_it(python) else (None, f"{PACKAGE} was installed and cannot be imported")


def _newest_python() -> str:
    """The newest interpreter here up to 3.13: its recent versions ask for 3.12, older ones install an older peer."""
    best = sys.version_info[:2], sys.executable
    pyenv = Path.home() / ".pyenv" / "versions"
    for minor in (12, 13):
        here = [shutil.which(f"python3.{minor}"), *sorted(pyenv.glob(f"3.{minor}.*/bin/python3"))]
        for path in filter(None, here):
            ran = subprocess.run([str(path), "-c", "import ensurepip, venv"], capture_output=True)
            if ran.returncode == 0 and (3, minor) > best[0]:
                best = (3, minor), str(path)
    return best[1]


def _has_it(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", f"import {PACKAGE}.backtest.engine"], capture_output=True).returncode == 0


def run_all(folder: Path) -> Any:
    """A pass over every kind of event; returns what each counted and its CPU seconds."""
    import numpy as np

    settings = json.loads((folder / "settings.json").read_text())
    made: dict[str, list[Any]] = {}
    for kind, build in (("bars", _bars), ("trades", _trades), ("deltas", _deltas), ("singles", _deltas)):
        with np.load(folder / f"{kind}.npz") as held:
            made[kind] = build({name: held[name].tolist() for name in held.files})

    def one_pass() -> dict[str, Any]:
        found: dict[str, Any] = {"version": _version()}
        for kind, events in made.items():
            orders = [False, True] if kind == "bars" else [False]
            for ordering in orders:
                name = "orders" if ordering else kind
                given = events[: 2 * settings["order_bars"]] if ordering else events
                found[name] = _timed(kind, given, ordering)
        return found

    return one_pass


def _version() -> str:
    from importlib.metadata import version

    return version(PACKAGE)


def _instruments() -> list[Any]:
    from nautilus_trader.test_kit.providers import TestInstrumentProvider

    return [TestInstrumentProvider.btcusdt_perp_binance(), TestInstrumentProvider.ethusdt_perp_binance()]


def _timed(kind: str, events: list[Any], ordering: bool) -> dict[str, Any]:
    from nautilus_trader.backtest.config import BacktestEngineConfig
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.config import LoggingConfig, RiskEngineConfig
    from nautilus_trader.model.enums import AccountType, BookType, OmsType
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money

    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(), run_analysis=False
        )
    )
    book = BookType.L2_MBP if kind in ("deltas", "singles") else BookType.L1_MBP
    engine.add_venue(
        Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money.from_str(MONEY)], None, book_type=book
    )
    instruments = _instruments()
    for instrument in instruments:
        engine.add_instrument(instrument)
    watcher = _strategy(kind, instruments, ordering)
    engine.add_strategy(watcher)
    engine.add_data(events, validate=False)
    began = time.process_time()
    engine.run()
    cpu_s = time.process_time() - began
    engine.dispose()
    return {"cpu_s": cpu_s, "events": len(events), "seen": watcher.seen, "told": watcher.told()}


def _bars(held: dict[str, list[Any]]) -> list[Any]:
    from nautilus_trader.model.data import Bar, BarType
    from nautilus_trader.model.objects import Price, Quantity

    kinds = [BarType.from_str(f"{one.id}-1-MINUTE-LAST-EXTERNAL") for one in _instruments()]
    grids = [(one.price_precision, one.size_precision) for one in _instruments()]
    made = []
    for row, ts, *prices, volume in zip(*(held[n] for n in ("row", "ts", "o", "h", "l", "c", "v")), strict=True):
        digits, whole = grids[row]
        levels = [Price(price, digits) for price in prices]
        made.append(Bar(kinds[row], *levels, Quantity(volume, whole), ts, ts))
    return made


def _trades(held: dict[str, list[Any]]) -> list[Any]:
    from nautilus_trader.model.data import TradeTick
    from nautilus_trader.model.enums import AggressorSide
    from nautilus_trader.model.identifiers import TradeId
    from nautilus_trader.model.objects import Price, Quantity

    one = _instruments()[0]
    return [
        TradeTick(
            one.id,
            Price(price, one.price_precision),
            Quantity(qty, one.size_precision),
            AggressorSide.BUYER if buy else AggressorSide.SELLER,
            TradeId(str(i)),
            ts,
            ts,
        )
        for i, (ts, price, qty, buy) in enumerate(zip(held["ts"], held["price"], held["qty"], held["buy"], strict=True))
    ]


def _deltas(held: dict[str, list[Any]]) -> list[Any]:
    from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
    from nautilus_trader.model.enums import BookAction, OrderSide, RecordFlag
    from nautilus_trader.model.objects import Price, Quantity

    one = _instruments()[0]
    messages: list[list[Any]] = []
    ends = [a != b for a, b in zip(held["message"], [*held["message"][1:], -1], strict=True)]
    for message, ts, buy, price, qty, end in zip(
        *(held[name] for name in ("message", "ts", "buy", "price", "qty")), ends, strict=True
    ):
        side = OrderSide.BUY if buy else OrderSide.SELL
        order = BookOrder(side, Price(price, one.price_precision), Quantity(qty, one.size_precision), 0)
        action = BookAction.UPDATE if qty else BookAction.DELETE
        flags = int(RecordFlag.F_LAST) if end else 0
        if message == len(messages):
            messages.append([])
        messages[message].append(OrderBookDelta(one.id, action, order, flags, message, ts, ts))
    return [OrderBookDeltas(one.id, deltas) for deltas in messages]


def _strategy(kind: str, instruments: list[Any], ordering: bool) -> Any:
    from decimal import Decimal

    from nautilus_trader.indicators import ExponentialMovingAverage
    from nautilus_trader.model.data import BarType
    from nautilus_trader.model.enums import AggressorSide, BookType, OrderSide
    from nautilus_trader.trading.strategy import Strategy

    class Watcher(Strategy):
        """Averages of bars and, where it may, an order at every crossing; counts prints; looks at the book's top."""

        def __init__(self) -> None:
            super().__init__()
            self.seen = self.orders = self.buys = 0
            self.top = (0.0, 0.0)
            self.averages: dict[Any, Any] = {}
            self.side: dict[Any, Any] = {}

        def on_start(self) -> None:
            for instrument in instruments:
                if kind == "bars":
                    bars = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
                    pair = ExponentialMovingAverage(9), ExponentialMovingAverage(21)
                    self.averages[bars] = (*pair, instrument)
                    for average in pair:
                        self.register_indicator_for_bars(bars, average)
                    self.subscribe_bars(bars)
            if kind == "trades":
                self.subscribe_trade_ticks(instruments[0].id)
            if kind in ("deltas", "singles"):
                self.subscribe_order_book_deltas(instruments[0].id, BookType.L2_MBP)

        def on_bar(self, bar: Any) -> None:
            self.seen += 1
            fast, slow, instrument = self.averages[bar.bar_type]
            if not (ordering and slow.initialized):
                return
            way = OrderSide.BUY if fast.value > slow.value else OrderSide.SELL
            before = self.side.get(instrument.id)
            if way != before:
                self.side[instrument.id] = way
                qty = instrument.make_qty(Decimal(1 if before is None else 2))
                self.submit_order(self.order_factory.market(instrument.id, way, qty))
                self.orders += 1

        def on_trade_tick(self, tick: Any) -> None:
            self.seen += 1
            self.buys += tick.aggressor_side == AggressorSide.BUYER

        def on_order_book_deltas(self, deltas: Any) -> None:
            self.seen += 1
            book = self.cache.order_book(deltas.instrument_id)
            bid, ask = book.best_bid_price(), book.best_ask_price()
            if bid is not None and ask is not None:
                self.top = round(float(bid), 6), round(float(ask), 6)

        def told(self) -> Any:
            return {"bars": self.orders, "trades": self.buys, "deltas": list(self.top), "singles": list(self.top)}[kind]

    return Watcher()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    from engines.turns import serve

    serve(run_all(Path(sys.argv[-1])))

"""Small recorded markets and stages for the sandbox's tests."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from flea_lab.model.instrument import Instrument
from flea_lab.sandbox.order import OrderRequest
from flea_lab.sandbox.play import Playlist
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage
from flea_lab.settings import load_settings

MINUTE = 60_000
HOUR = 60 * MINUTE
T0 = 1_735_689_600_000
"""2025-01-01 in ms UTC: the open of bar 0."""
GRID = Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001"), min_notional_usd=Decimal(5))
NAN = float("nan")


def a_playlist(
    n: int = 10,
    symbols: Sequence[str] = ("X", "Y"),
    holes: Sequence[tuple[str, int]] = (),
    settled: Sequence[tuple[int, str, float]] = (),
    interval_ms: int = MINUTE,
) -> Playlist:
    """`n` bars that open at 100 + bar (X) or 200 + bar (Y), and close half higher; `holes` are (symbol, bar).

    `settled` are (bar, symbol, rate), stamped at the bar's open.
    """
    shape = (len(symbols), n)
    bars, opens, closes = np.full((*shape, 6), NAN), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for s, symbol in enumerate(symbols):
        for i in range(n):
            if (symbol, i) not in holes:
                price = 100.0 * (s + 1) + i
                bars[s, i] = price, price + 1.0, price - 1.0, price + 0.5, 10.0 + i, 4.0
                opens[s, i], closes[s, i] = GRID.ticks(price), GRID.ticks(price + 0.5)
    open_ms = T0 + interval_ms * np.arange(n)
    return Playlist(
        symbols=tuple(symbols),
        interval_ms=interval_ms,
        grids=(GRID,) * len(symbols),
        open_ms=open_ms,
        bars=bars,
        open_ticks=opens,
        close_ticks=closes,
        fund_at=np.array([bar for bar, _, _ in settled], np.int64),
        fund_row=np.array([symbols.index(symbol) for _, symbol, _ in settled], np.int64),
        fund_rate=np.array([rate for _, _, rate in settled], np.float64),
        fund_ms=np.array([int(open_ms[bar]) for bar, _, _ in settled], np.int64),
    )


def settings(**values: Any) -> SandboxSettings:
    """Settings that play everything, 5 bp a fill and no slippage, on any port."""
    plain = {"port": 0, "start": "2025-01-01", "days": 30.0, **values}
    return with_costs(load_settings(plain, SandboxSettings, "test"), 5.0, 0.0)


def a_stage(playlist: Playlist | None = None, **values: Any) -> Stage:
    """A stage with every channel wanted."""
    stage = Stage(a_playlist() if playlist is None else playlist, settings(**values))
    stage.wanted = set(stage.channels)
    return stage


def bar(stage: Stage, scenes: Any) -> None:
    """Plays the scenes of one bar."""
    for scene in scenes:
        scene.play()
        if scene.ends_bar:
            return


def asked(name: str = "a", **values: Any) -> OrderRequest:
    """An order request: to buy 1 X at the market, unless said otherwise."""
    plain: dict[str, Any] = {"symbol": "X", "side": "buy", "type": "market", **values}
    if "size_usd" not in plain:
        plain.setdefault("size", "1")
    for key in ("size", "size_usd", "limit_price"):
        if key in plain:
            plain[key] = Decimal(plain[key])
    return OrderRequest(client_order_id=name, **plain)

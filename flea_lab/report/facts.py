"""What a report says in numbers that the backtest itself does not carry: computed from its frames, drawn elsewhere."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flea_lab.backtest.curve import curve_metrics
from flea_lab.backtest.result import BacktestResult

DAY_MS = 86_400_000
DAILY_BELOW_DAYS = 93
"""A shorter run is shown day by day, a longer one month by month."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Costs:
    """Profit before costs, what was paid (negative: received), profit after; USD."""

    gross_usd: float
    fees_usd: float
    slippage_usd: float
    funding_usd: float

    @property
    def paid_usd(self) -> float:
        return self.fees_usd + self.slippage_usd + self.funding_usd

    @property
    def net_usd(self) -> float:
        return self.gross_usd - self.paid_usd


def costs(result: BacktestResult) -> Costs:
    """Where the profit went. Before costs means at the opens that orders filled at, without fees and funding."""
    fees, slippage, funding = (result.metrics[f"{name}_usd"] for name in ("fees", "slippage", "funding"))
    net = float(result.equity["equity_usd"].iloc[-1]) - result.config.initial_cash_usd
    return Costs(net + fees + slippage + funding, fees, slippage, funding)


def days(result: BacktestResult) -> float:
    """How long it could trade, in days."""
    ts = result.equity["ts"]
    return float(int(ts.iloc[-1]) - int(ts.iloc[0])) / DAY_MS


def benchmark_metrics(result: BacktestResult) -> dict[str, float]:
    """`curve_metrics` of buy and hold."""
    per_year = 365.0 * DAY_MS / result.config.interval_ms
    return curve_metrics(result.benchmark["equity_usd"], result.config.initial_cash_usd, per_year)


def period_returns(result: BacktestResult) -> pd.DataFrame:
    """Returns as fractions on a calendar: a row a week and a column a weekday, or a row a year and a column a month.

    Days and months are UTC; one without a bar is NaN. A bar belongs to the day it opened on.
    """
    opens = result.equity["ts"].to_numpy(np.int64) - result.config.interval_ms
    moments = opens.astype("datetime64[ms]")
    unit = "D" if days(result) < DAILY_BELOW_DAYS else "M"
    period = moments.astype(f"datetime64[{unit}]")
    last = pd.Series(result.equity["equity_usd"].to_numpy()).groupby(period).last()
    before = last.shift(1, fill_value=result.config.initial_cash_usd)
    index = pd.DatetimeIndex(last.index)
    by_day = unit == "D"
    names = WEEKDAYS if by_day else MONTHS
    rows = (
        (index - pd.to_timedelta(index.day_of_week, unit="D")).strftime("%d %b %Y") if by_day else index.strftime("%Y")
    )
    columns = np.array(names)[index.day_of_week if by_day else index.month - 1]
    cells = pd.DataFrame({"row": rows, "column": columns, "change": (last / before - 1.0).to_numpy()})
    table = cells.pivot(index="row", columns="column", values="change")
    return table.reindex(index=list(dict.fromkeys(cells["row"])), columns=list(names))


def signal_curves(result: BacktestResult) -> dict[str, pd.DataFrame]:
    """By signal, frames of ts and growth: the running sum of direction x confidence x the next bar's return.

    That is the signal followed alone, in equal parts over the symbols, from each close to the next, without costs and
    without compounding; a fraction. It says whether a signal was right, not what could have been earned.
    """
    moves = pd.concat([_next_moves(result, symbol) for symbol in result.config.symbols])
    said = result.signals.merge(moves, on=["ts", "symbol"], how="left")
    said["gain"] = (said["direction"] * said["confidence"] * said["move"]).fillna(0.0) / len(result.config.symbols)
    curves = {}
    for name, part in said.groupby("source", sort=False):
        growth = part.groupby("ts", sort=True)["gain"].sum().cumsum()
        curves[str(name)] = pd.DataFrame({"ts": growth.index.to_numpy(), "growth": growth.to_numpy()})
    return curves


def signal_facts(result: BacktestResult) -> pd.DataFrame:
    """A row a signal: weight; shares of bars on which it counted, of those long; mean confidence; agreement; growth.

    A signal counts when its confidence reaches the combination's minimum and it has a direction. `agreed` is the share
    of orders sent whose side was that of the signal, counting. `growth` is the end of its `signal_curves`.
    """
    signals, least = result.signals, result.config.combination.min_confidence
    counts = (signals["confidence"] >= least) & (signals["direction"] != 0.0) & signals["direction"].notna()
    sent = result.decisions.loc[result.decisions["code"] == 0, ["ts", "symbol", "side"]]
    curves = signal_curves(result)
    weights = {alpha.kernel: alpha.weight for alpha in result.config.signals}
    rows = []
    for name, part in signals.assign(counts=counts).groupby("source", sort=False):
        counting = part[part["counts"]]
        met = sent.merge(counting[["ts", "symbol", "direction"]], on=["ts", "symbol"], how="left")
        same = np.where(met["side"] == "buy", met["direction"] > 0.0, met["direction"] < 0.0)
        rows.append(
            {
                "signal": name,
                "weight": weights.get(str(name), math.nan),
                "counted": len(counting) / len(part),
                "long": (counting["direction"] > 0.0).mean() if len(counting) else math.nan,
                "confidence": counting["confidence"].mean() if len(counting) else math.nan,
                "agreed": float(same.mean()) if len(same) else math.nan,
                "growth": float(curves[str(name)]["growth"].iloc[-1]),
            }
        )
    return pd.DataFrame(rows)


def refused(result: BacktestResult) -> dict[str, int]:
    """How many intents each check refused: the five guards always, other checks where they refused any."""
    counts = {name.removeprefix("veto_"): int(n) for name, n in result.metrics.items() if name.startswith("veto_")}
    guards = {guard["guard"] for guard in result.guards}
    return {name: n for name, n in counts.items() if n or name in guards}


def first_refusal_ms(result: BacktestResult, check: str) -> int | None:
    """When `check` first refused an intent, ms UTC, or None."""
    when = result.decisions.loc[result.decisions["check"] == check, "ts"]
    return int(when.iloc[0]) if len(when) else None


def _next_moves(result: BacktestResult, symbol: str) -> pd.DataFrame:
    """From each close of `symbol` to the next bar's, as a fraction; NaN at the last."""
    candles = result.candles[symbol]
    closes = candles["close"].to_numpy(np.float64)
    moves = np.append(closes[1:] / closes[:-1] - 1.0, np.nan)
    return pd.DataFrame({"ts": candles["ts"] + result.config.interval_ms, "symbol": symbol, "move": moves})

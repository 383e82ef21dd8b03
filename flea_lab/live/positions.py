"""The positions of an account and what they brought: cost, profit, fees and funding, symbol by symbol and in all.

Profit is counted at the last close that was decided. Realised and unrealised are before fees and funding, so that
equity is the opening cash plus both, less fees and funding, plus what was adopted from the venue without explanation.
"""

from typing import Any

from flea_lab.core import TradingCore
from flea_lab.ledger import COST, FEES, FUNDING, LOTS, MARK, REALISED
from flea_lab.money import USD, value_uusd

TOTALS = ("realised_usd", "unrealised_usd", "fees_usd", "funding_usd")


def positions_of(core: TradingCore) -> dict[str, dict[str, float]]:
    """By symbol: `qty` signed in base units, `entry` the average price paid (0 when flat), `mark`, `cost_usd` signed,
    `realised_usd`, `unrealised_usd`, `fees_usd`, `funding_usd` (positive: paid), and what may still be bought and sold
    by open orders, `buying` and `selling`, in base units."""
    found = {}
    for symbol, s in core.ledger.row.items():
        grid, row = core.instruments[symbol], core.ledger.book[s].tolist()
        value = value_uusd(row[LOTS], row[MARK], grid.unit_num, grid.unit_den)
        qty = grid.qty(row[LOTS])
        buys, sells = core.router.blotter.exposed(symbol)
        found[symbol] = {
            "qty": qty,
            "entry": row[COST] / USD / qty if qty else 0.0,
            "mark": grid.price(row[MARK]),
            "cost_usd": row[COST] / USD,
            "realised_usd": row[REALISED] / USD,
            "unrealised_usd": (value - row[COST]) / USD,
            "fees_usd": row[FEES] / USD,
            "funding_usd": row[FUNDING] / USD,
            "buying": grid.qty(buys),
            "selling": grid.qty(sells),
        }
    return found


def profit_of(core: TradingCore) -> dict[str, Any]:
    """The account's totals: `TOTALS`, and `adopted_usd`, the cash that a comparison with the venue left unexplained."""
    by_symbol = positions_of(core).values()
    ledger = core.ledger
    totals: dict[str, Any] = {name: sum(held[name] for held in by_symbol) for name in TOTALS}
    cost, realised, fees, funding = (int(ledger.book[:, at].sum()) for at in (COST, REALISED, FEES, FUNDING))
    explained = ledger.opening_uusd - cost + realised - fees - funding
    return totals | {"adopted_usd": (ledger.cash_uusd - explained) / USD}


def worked(core: TradingCore) -> list[dict[str, Any]]:
    """The orders that are worked in slices, as plain values, quantities in base units."""
    return [
        {
            "parent_id": one.command.parent_id,
            "symbol": one.command.symbol,
            "side": one.command.side,
            "style": one.command.style,
            "ordered": core.instruments[one.command.symbol].qty(one.command.lots),
            "filled": core.instruments[one.command.symbol].qty(one.filled_lots),
            "left": core.instruments[one.command.symbol].qty(core.router.parents.left(one)),
            "until_ns": one.command.until_ns,
            "from": list(one.command.intent.signal_sources),
        }
        for one in core.router.parents.active()
    ]

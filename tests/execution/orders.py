"""Orders and reports for tests."""

from typing import Any

from flea_lab.execution.order import KINDS
from flea_lab.model.trading import Fill, NewOrder, OrderIntent, OrderReport

__all__ = ["KINDS", "a_report", "an_intent", "an_order"]


def an_intent(side: str = "buy", usd: float = 100.0, ticks: int = 10_000) -> OrderIntent:
    return OrderIntent(
        symbol="X",
        side=side,  # type: ignore[arg-type]
        size_usd=usd,
        order_type="limit",
        urgency="normal",
        signal_sources=("a",),
        ts_event=1,
        price_ticks=ticks,
        size_uusd=round(usd * 1e6),
        conviction=0.5,
    )


def an_order(name: str = "1", lots: int = 5, side: str = "buy") -> NewOrder:
    return NewOrder(
        client_order_id=name,
        symbol="X",
        side=side,  # type: ignore[arg-type]
        lots=lots,
        price_ticks=100,
        order_type="limit",
        ts_event=1,
        intent=an_intent(side),
    )


def a_report(kind: type[OrderReport], name: str = "1", **values: Any) -> OrderReport:
    if kind is not Fill:
        return kind(client_order_id=name, ts_event=2, **values)
    values = dict(symbol="X", side="buy", lots=1, price_ticks=100, fee_uusd=0, reference_ticks=100) | values
    return Fill(client_order_id=name, ts_event=2, **values)

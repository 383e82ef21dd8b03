"""What one order must pass besides the guards, as settings; `risk.watch` holds orders against them.

With the defaults nothing of this acts on a desk that decides once a bar, on bars of a minute or more.
"""

from typing import Annotated, Literal

from msgspec import Meta

from flea_lab.settings import Settings

Wide = Annotated[float, Meta(gt=0.0, le=10_000.0, description="basis points")]


class OrderChecks(Settings, frozen=True, kw_only=True):
    """What an order must pass besides the guards.

    `collar_bps` or `collar_ticks`, whichever is wider, is how far a price may be from the reference; with `worst_price`
    "collar" a market order is valued for `max_order_usd` at the worst price within it. `drift_bps` is how far the
    reference may have moved since the last bar. `max_volume_share` is of a minute's volume.
    """

    collar_bps: Wide = 500.0
    collar_ticks: Annotated[int, Meta(ge=0, le=100_000, description="ticks")] = 10
    worst_price: Literal["slippage", "collar"] = "slippage"
    drift_bps: Wide | None = None
    max_volume_share: Annotated[float, Meta(gt=0.0, le=100.0, description="a share of a minute's volume")] | None = None
    duplicate_s: Annotated[float, Meta(ge=0.0, le=3_600.0, description="seconds")] = 30.0
    burst_orders: Annotated[int, Meta(ge=1, le=100_000, description="orders")] = 20
    burst_s: Annotated[float, Meta(gt=0.0, le=86_400.0, description="seconds")] = 60.0

    def acts_on_bars(self, bar_s: float) -> str:
        """Which of these may refuse an order of a desk that decides once a bar of `bar_s`; "" for none.

        >>> OrderChecks().acts_on_bars(60.0), OrderChecks(duplicate_s=90.0).acts_on_bars(60.0)
        ('', 'duplicate_s')
        """
        if self.worst_price != "slippage":
            return "worst_price"
        if self.drift_bps is not None:
            return "drift_bps"
        if self.max_volume_share is not None:
            return "max_volume_share"
        if self.duplicate_s >= bar_s:
            return "duplicate_s"
        return "burst_orders" if self.burst_orders < self.burst_s // bar_s + 1 else ""

"""What a sandbox exchange is told: where it plays from, how fast, how it fills and what it charges."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from flea_lab.sandbox.faults import FaultSettings
from flea_lab.settings import Bps, Fraction, Settings, Usd

MakerBps = Annotated[float, Meta(ge=-100.0, le=1_000.0, description="basis points, negative for a rebate")]
Speed = Annotated[float, Meta(ge=1.0, le=1_000.0, description="times the recorded speed")]


class SandboxSettings(Settings, frozen=True, kw_only=True):
    """Settings of one sandbox.

    `pace` "acked" moves the market only when every acknowledging connection has worked off the last heartbeat, and
    stands still while there is none; a number plays that many times faster than it was recorded. Playing begins with
    the first bar that opens at or after `start` (default: `days` before the end) and lasts `days`; all bars before it
    are history. Fees and slippage that are None are those of the configuration. `clock` "wall" shifts the recorded
    market to now and states the machine's time plus `clock_skew_s` as the venue's. `faults` spoil what
    leaves the sandbox.
    """

    port: Annotated[int, Meta(ge=0, le=65_535, description="TCP port on 127.0.0.1, 0 for any free one")] = 8712
    pace: Literal["acked"] | Speed = "acked"
    start: str | None = None
    days: Annotated[float, Meta(gt=0.0, le=36_500.0, description="days")] = 1.0
    matching: Literal["next_open", "book"] = "next_open"
    latency_ms: Annotated[int, Meta(ge=0, le=60_000, description="venue ms until an order works (book)")] = 0
    queue_ahead: Fraction = 1.0
    steps: Annotated[int, Meta(ge=4, le=240, description="books a bar and symbol")] = 12
    levels: Annotated[int, Meta(ge=1, le=20, description="levels a side")] = 20
    maker_fee_bps: MakerBps | None = None
    taker_fee_bps: Bps | None = None
    slippage_bps: Bps | None = None
    leverage: Annotated[float, Meta(ge=1.0, le=100.0, description="gross exposure over equity")] = 10.0
    faucet_usd: Usd = 100_000.0
    requests_per_minute: Annotated[int, Meta(ge=1, le=100_000_000, description="requests a minute")] = 1_000_000
    clock: Literal["market", "wall"] = "market"
    clock_skew_s: Annotated[float, Meta(ge=-86_400.0, le=86_400.0, description="seconds")] = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1
    faults: FaultSettings = FaultSettings()

    def __post_init__(self) -> None:
        if self.matching == "next_open" and self.latency_ms:
            raise ValueError(f"latency_ms ({self.latency_ms}) needs matching 'book': next_open fills at the next open")
        if self.clock == "market" and self.clock_skew_s:
            raise ValueError(f"clock_skew_s ({self.clock_skew_s}) needs clock 'wall'")
        self.start_ms  # noqa: B018  (refuses what is no time)

    @property
    def start_ms(self) -> int | None:
        """`start` in ms UTC."""
        if self.start is None:
            return None
        try:
            moment = datetime.fromisoformat(self.start)
        except ValueError:
            raise ValueError(f"start = {self.start!r} is not an ISO date or time, such as 2025-05-05T12:00") from None
        return round((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1000)


def with_costs(settings: SandboxSettings, fee_bps: float, slippage_bps: float) -> SandboxSettings:
    """`settings` with the fees and the slippage that it leaves open."""
    return msgspec.structs.replace(
        settings,
        maker_fee_bps=fee_bps if settings.maker_fee_bps is None else settings.maker_fee_bps,
        taker_fee_bps=fee_bps if settings.taker_fee_bps is None else settings.taker_fee_bps,
        slippage_bps=slippage_bps if settings.slippage_bps is None else settings.slippage_bps,
    )

"""What was found wrong with what a venue said: one row of the data ledger."""

from typing import Literal, get_args

from msgspec import Struct

FindingKind = Literal[
    "gap",
    "duplicate",
    "out_of_order",
    "crossed",
    "locked",
    "empty",
    "zero",
    "nan",
    "negative",
    "unsorted",
    "too_many_levels",
    "time_regress",
    "seq_regress",
    "checksum",
    "frozen",
    "trade_gap",
    "trade_duplicate",
    "candle_resent",
    "candle_corrected",
    "candle_gap",
    "clock_jump",
    "half_frame",
]
"""Every fault that has a name; whoever finds, plants or reports one uses these."""

FINDING_KINDS: tuple[FindingKind, ...] = get_args(FindingKind)


class Finding(Struct, frozen=True, kw_only=True):
    """One fault in what a channel said of a symbol. Times are ns UTC; `ts_to` None while it lasts."""

    channel: str
    symbol: str
    kind: FindingKind
    ts_from: int
    ts_to: int | None = None
    detail: str = ""
    venue: str | None = None
    resolved: bool = False

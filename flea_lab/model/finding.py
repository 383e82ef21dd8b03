"""What is wrong with data, said once: the kinds of fault, one found fault, and the wish for a fresh book."""

from typing import Literal

from msgspec import Struct

Channel = Literal["book", "trades", "candles", "funding", "clock", "wire"]

Kind = Literal[
    "start",
    "gap",
    "duplicate",
    "out_of_order",
    "time_regress",
    "checksum",
    "crossed",
    "locked",
    "empty",
    "unsorted",
    "zero",
    "negative",
    "nan",
    "too_many_levels",
    "old_snapshot",
    "overflow",
    "disconnected",
    "spike",
    "hole",
    "late_correction",
    "resent",
    "early_close",
    "off_grid",
    "impossible_bar",
    "late_trade",
    "stale",
    "frozen",
    "clock_jump",
    "clock_skew",
    "time_unit",
    "half_frame",
    "zero_volume",
    "flat",
]
"""The kinds of fault, the same words in detectors, tests and reports. The channel says where.

start: no fault, the reason to ask for a book's first snapshot. gap: numbered messages missing (book, trades).
duplicate: a number told before. out_of_order: a number older than one already told. time_regress: the venue's time
goes back. checksum: the venue's own sum over the book differs from ours. crossed, locked: best bid above, at the best
ask. empty: a side without levels. unsorted: levels not best first. zero, negative, nan: such a price or size where a
positive number is due. too_many_levels: more than the venue sends. old_snapshot: a snapshot that the buffered diffs do
not join. overflow: more diffs buffered than allowed while waiting for a snapshot. disconnected: the connection was
lost. spike: a price far from the one before.
hole: minutes without a bar. late_correction: a closed bar told again with other values. resent: told again unchanged,
or its partial after it. early_close: called complete before its minute was over. off_grid: a bar that does not close
on its interval. impossible_bar: high below low and the like. late_trade: a print of a minute already closed.
stale: nothing new by venue time when it was needed. frozen: messages keep coming and say nothing new.
clock_jump: venue time leaps against our own. clock_skew: the two clocks differ too much. time_unit: a time that is
only sensible in another unit. half_frame: bytes that are no whole message (channel wire).
zero_volume, flat: bars without a trade, bars that do not move; facts of a market, no faults.
"""


class Finding(Struct, frozen=True, kw_only=True, tag=True):
    """One fault: which channel and symbol, from when to when (ns UTC, venue time), what, and how it was answered.

    `ts_to` is None while the fault lasts. `resolved` says in a word or two what made it good ("snapshot", "ignored",
    "dropped"), "" while nothing has.
    """

    kind: Kind
    channel: Channel
    symbol: str
    ts_from: int
    ts_to: int | None = None
    detail: str = ""
    resolved: str = ""
    venue: str = ""


class Resync(Struct, frozen=True, kw_only=True, tag=True):
    """A command: fetch a fresh snapshot of `symbol`'s book, for `reason`."""

    symbol: str
    reason: Kind

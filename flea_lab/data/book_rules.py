"""How each venue numbers, sums and joins its book messages, as data."""

from typing import Literal

from msgspec import Struct

from flea_lab.errors import DataError
from flea_lab.model.vouched import Proof

Continuity = Literal["next", "linked", "range", "rising", "time", "offsets", "whole"]
"""How a diff shows that none is missing before it.

next: `seq` is one more than the last. linked: `prev_seq` is the last `seq`. range: `first_seq` is one more than the
last `seq`. rising: `seq` grows, with holes (proves nothing missing only as far as the connection does). time: no
number, only time. offsets: every level has a number of its own, and an older one never replaces a newer. whole: no
diffs at all.
"""

Join = Literal["exact", "covers", "straddles"]
"""Which diff may be the first after a snapshot of number S.

exact: the one that begins where the snapshot ends. covers: one that begins no later and ends after S (Binance spot:
`first_seq` <= S + 1 <= `seq`). straddles: one that holds S itself, `first_seq` <= S <= `seq` (Binance futures): their
snapshots do not always hold yet what the diff that ends with S says, so that it is applied as well, and nothing can be
read before it.
"""

Sum = Literal["", "okx", "kraken"]


class BookRules(Struct, frozen=True, kw_only=True):
    """The rules of one venue's book channel.

    `buffered`: diffs that come before the snapshot are kept and joined to it by number; else the venue sends the
    snapshot in the same stream, and what came before it is over. `checksum` with `checked` levels a side: no more
    than those are served. `levels` is the most that a snapshot may hold a side (None: any). `keep`: a venue that
    stops telling of levels beyond that many wants them forgotten. `natural` are states of the venue's true book in
    which nothing can be traded and nothing is wrong: there is no book to read while they last ("zero": its snapshots
    name levels of no size, removed ones).
    """

    name: str
    continuity: Continuity
    proof: Proof
    buffered: bool = False
    joins: Join = "exact"
    checksum: Sum = ""
    checked: int | None = None
    levels: int | None = None
    keep: int | None = None
    natural: tuple[Literal["crossed", "locked", "empty", "zero"], ...] = ()


_RULES = (
    BookRules(name="seed", continuity="next", proof="sequence", levels=20),
    BookRules(name="binance_spot", continuity="range", proof="sequence", buffered=True, joins="covers", levels=5_000),
    BookRules(name="binance_um", continuity="linked", proof="sequence", buffered=True, joins="straddles", levels=1_000),
    BookRules(name="binance_cm", continuity="linked", proof="sequence", buffered=True, joins="straddles", levels=1_000),
    BookRules(name="deribit", continuity="linked", proof="sequence", natural=("empty",)),
    BookRules(name="kraken_futures", continuity="next", proof="sequence"),
    BookRules(name="okx", continuity="time", proof="checksum", checksum="okx", checked=25, levels=400),
    BookRules(name="bitget", continuity="time", proof="checksum", checksum="okx", checked=25),
    BookRules(
        name="kraken_spot",
        continuity="time",
        proof="checksum",
        checksum="kraken",
        checked=10,
        levels=1_000,
        keep=1_000,
    ),
    BookRules(name="bybit_inverse", continuity="rising", proof="connection"),
    BookRules(name="coinbase", continuity="time", proof="connection"),
    BookRules(name="bitmex", continuity="time", proof="connection"),
    BookRules(name="dydx", continuity="offsets", proof="connection", natural=("crossed", "locked", "zero")),
    BookRules(name="hyperliquid", continuity="whole", proof="whole", levels=20),
    BookRules(name="snapshots", continuity="whole", proof="whole"),
)

RULES: dict[str, BookRules] = {rules.name: rules for rules in _RULES}
"""The rules by venue; "snapshots" is any venue that sends whole books only."""


def book_rules(name: str) -> BookRules:
    """The rules called `name`. `DataError` where nobody knows them."""
    rules = RULES.get(name)
    if rules is None:
        raise DataError(f"no book rules are called {name!r}: {', '.join(RULES)}")
    return rules

"""What a core remembers between two events, and which code may go on from it."""

import msgspec
from msgspec import Struct

from flea_lab.data.features import FeatureState
from flea_lab.errors import DataError
from flea_lab.execution.parents import Parent
from flea_lab.model.market import Candle, Funding
from flea_lab.risk.watch import Given

STATE_VERSION = 2
"""Of the fields of `CoreState` and what they mean: another number is of other code. 1 was not written."""

GO_BACK = (
    "go on with the code that saved it, or close every position and order at the venue and move the journal away: "
    "the next session then begins anew"
)


class CoreState(Struct, frozen=True, kw_only=True):
    """What a core remembers between two events, as plain values and the bytes of its arrays."""

    version: int = STATE_VERSION
    cash_uusd: int
    arrays: dict[str, bytes]
    funding_rate: dict[str, float]
    settled_ns: dict[str, int]
    settling: list[Funding]
    waiting: list[Candle]
    bar_ns: int
    decided_ns: int
    trade_from_ns: int
    convictions: dict[str, float]
    toxicity: dict[str, float]
    minted: int
    features: dict[str, FeatureState] = {}
    given: list[Given] = []
    marked: dict[str, int] = {}
    parents: list[Parent] = []
    hours: dict[str, list[tuple[int, float, int]]] = {}


class _Numbered(Struct):
    version: int = 1


def read_state(body: bytes) -> CoreState:
    """The state that a core dumped, from its msgpack; `DataError` says what to do where it is of other code."""
    found = msgspec.msgpack.decode(body, type=_Numbered).version
    if found != STATE_VERSION:
        raise DataError(f"the saved state of the core has version {found}, this code reads {STATE_VERSION}: {GO_BACK}")
    return msgspec.msgpack.decode(body, type=CoreState)

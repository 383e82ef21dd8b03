"""Frames read in one pass: whatever that reads is, to the bit, what the long way reads, and never what it refuses."""

import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.model.market import BookDelta, BookSnapshot, Trade
from flea_lab.model.packed import PackedLevels, plain
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.reading import FrameError
from flea_lab.venue.scan import MOST, NOTHING, scan
from flea_lab.venue.speech import Push
from flea_lab.venue.wire import Wire

NOW = 1_700_000_000_123_456_789
T0 = 1_700_000_000_000


def a_wire(**values: Any) -> Wire:
    return Wire(load_dialect(values, "a test"), ["BTCUSDT", "ETHUSDT"], "1m", {})


def frame(channel: str, data: dict[str, Any], **given: Any) -> bytes:
    whole = {"channel": channel, "symbol": "BTCUSDT", "seq": 7, "ts": T0, "data": data} | given
    return json.dumps(whole, separators=(",", ":")).encode()


BOOK = {"type": "snapshot", "bids": [[97000.1, 0.5], [96999.9, 2.25]], "asks": [[97000.2, 1e-3], [97001, 3]]}
DIFF = {"type": "delta", "bids": [[96999.9, 0], [97000.1, 0.5]], "asks": []}
PRINT = {"id": 12, "price": 97000.2, "size": 1.384, "side": "sell"}


def slowly(wire: Wire, raw: bytes) -> Any:
    try:
        return wire.push(raw, NOW)
    except FrameError:
        return None


def agree(wire: Wire, raw: bytes) -> bool:
    """Whether `raw` was read in one pass; then the long way must read the same."""
    quick = wire.quick(raw, NOW)
    if quick is None:
        return False
    (kind, symbol), seq, said, price = quick
    told = slowly(wire, raw)
    assert isinstance(told, Push) and (told.kind, told.symbol, told.seq) == (kind, symbol, seq), raw
    assert told.said == said and type(told.said) is type(said), raw
    if isinstance(said, BookSnapshot):
        assert said.bids == said.bids.pairs() and price == (said.bids[0][0] if said.bids else 0.0)  # type: ignore[attr-defined]
        assert [side.best for side in (said.bids, said.asks)] == [
            side[0][0] if side else 0.0 for side in (said.bids, said.asks)
        ]  # type: ignore[attr-defined]
    elif isinstance(said, Trade):
        assert price == said.price
    return True


@pytest.mark.parametrize(("channel", "data"), [("orderbook_l2", BOOK), ("orderbook_l2", DIFF), ("trades", PRINT)])
def test_what_nearly_every_frame_says_is_read_in_one_pass_once_its_channel_is_known(channel: str, data: Any) -> None:
    wire = a_wire()
    assert not agree(wire, frame(channel, data))
    slowly(wire, frame(channel, data))
    assert agree(wire, frame(channel, data))
    assert agree(wire, frame(channel, data).replace(b",", b", ").replace(b":", b" : ")) is False  # spelt otherwise
    assert not agree(wire, frame(channel, data, symbol="XYZ"))
    assert not agree(a_wire(time_unit="s"), frame(channel, data))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"0.5", b'"0.5"'), (b"0.5", b"-0.5"), (b"0.5", b"0"), (b"0.5", b"5e-1"), (b"0.5", b"00.5"), (b"0.5", b".5"),
        (b"0.5", b"0."), (b"0.5", b"0.50000000000000000001"), (b"0.5", b"NaN"), (b"0.5", b"1e999"), (b"0.5", b"null"),
        (b"96999.9", b"97000.1"), (b"96999.9", b"97000.3"), (b"97000.1", b"97000.2"), (b"97000.1", b"98000"),
        (b'"type":"snapshot"', b'"type":"whole"'), (b'"type":"snapshot",', b'"type":"snapshot","type":"delta",'),
        (b'"asks"', b'"bids"'), (b'"seq":7', b'"seq":7,"seq":8'), (b'"seq":7', b'"seq":"7"'),
        (b'"seq":7', b'"seq":7.5'),
        (b'"seq":7', b'"seq":-7'), (b"}}", b"}}}"), (b"}}", b"}} "), (b"}}", b"}"), (b"[97001,3]", b"[97001,3,4]"),
        (b"[97001,3]", b"[97001]"), (b"[97001,3]", b"[]"), (b"[97001,3]", b"97001,3"),
        (b'"BTCUSDT"', b'"BTCUSD\\u0054"'),
        (b"1700000000000", b"1700000000"), (b"1700000000000", b"17000000000000000"), (b"1700000000000", b"0"),
        (b"1700000000000", b"99999999999.6"), (b"1700000000000", b"8999999999999.6"), (b'"ts"', b'"tz"'),
        (b"97000.2,0.001", b"97000.2,0.001\x00"), (b'"data"', b'"\xc3\xa4"'), (b'"bids":[[', b'"bids":[[['),
    ],
)  # fmt: skip
def test_what_is_not_sound_or_not_plain_is_left_to_the_long_way(old: bytes, new: bytes) -> None:
    wire = a_wire()
    slowly(wire, frame("orderbook_l2", BOOK))
    raw = frame("orderbook_l2", BOOK)
    assert agree(wire, raw) and old in raw
    assert not agree(wire, raw.replace(old, new, 1))


def test_times_with_a_fraction_empty_sides_and_other_ids_are_read_as_the_long_way_does() -> None:
    wire = a_wire()
    for channel, data in (("orderbook_l2", BOOK), ("trades", PRINT)):
        slowly(wire, frame(channel, data))
        for ts in (T0 + 0.5, T0 + 1.5, T0 + 0.499):
            assert agree(wire, frame(channel, data, ts=ts))
        assert agree(wire, frame(channel, data | {"ts": T0 - 5}))
    assert agree(wire, frame("orderbook_l2", BOOK | {"bids": []})) and agree(
        wire, frame("orderbook_l2", BOOK | {"asks": []})
    )
    assert not agree(wire, frame("trades", PRINT | {"id": "a-1"})) and not agree(
        wire, frame("trades", PRINT | {"side": "b"})
    )
    raw = frame("trades", {name: value for name, value in PRINT.items() if name != "id"})
    assert agree(wire, raw)
    assert agree(wire, b'{"channel":"trades","symbol":"BTCUSDT","data":{"price":1,"size":2,"side":"buy"}}')


def test_every_change_of_one_byte_is_read_alike_or_not_at_all() -> None:
    wire, dice = a_wire(), random.Random(5)
    alphabet = b'0123456789.,:[]{}"-+eE \\x\x00\xffabtyps'
    read = 0
    for channel, data in (("orderbook_l2", BOOK), ("orderbook_l2", DIFF), ("trades", PRINT)):
        whole = frame(channel, data)
        slowly(wire, whole)
        for at in range(len(whole)):
            for letter in dice.sample(sorted(alphabet), 9):
                for changed in (
                    whole[:at] + bytes([letter]) + whole[at + 1 :],
                    whole[:at] + bytes([letter]) + whole[at:],
                    whole[:at] + whole[at + 1 :],
                ):
                    read += agree(wire, changed)
    assert read > 500


numbers = st.one_of(
    st.floats(min_value=0.0, max_value=1e7, exclude_min=True, allow_subnormal=False),
    st.decimals(min_value="0.00000001", max_value=10**9, places=8).map(float),
    st.integers(1, 2**60),
)


@given(st.lists(st.tuples(numbers, numbers), max_size=8), st.lists(st.tuples(numbers, numbers), max_size=8))
def test_numbers_are_the_same_to_the_bit(bids: list[Any], asks: list[Any]) -> None:
    wire = WIRE
    bids, asks = sorted(bids, reverse=True), sorted(asks)
    agree(wire, frame("orderbook_l2", {"bids": bids, "asks": asks}))
    agree(wire, frame("orderbook_l2", {"type": "delta", "bids": bids, "asks": asks}))
    for price, size in bids:
        agree(wire, frame("trades", PRINT | {"price": price, "size": size}))


WIRE = a_wire()
for _channel, _data in (("orderbook_l2", BOOK), ("trades", PRINT)):
    slowly(WIRE, frame(_channel, _data))


def test_a_book_of_too_many_levels_is_left_to_the_long_way() -> None:
    out = np.empty(2 * MOST)
    sides = [[[1.0 + n, 1.0] for n in range(count)] for count in (MOST, MOST + 1)]
    found = [scan(frame("orderbook_l2", {"bids": [], "asks": side}), out)[0] for side in sides]
    assert found[0] != NOTHING and found[1] == NOTHING


def test_packed_levels_are_the_tuple_of_their_pairs() -> None:
    pairs = ((3.0, 1.0), (2.0, 0.5))
    packed = PackedLevels(np.array(pairs).tobytes(), 3.0)
    assert packed == pairs and pairs == packed and hash(packed) == hash(pairs) and repr(packed) == repr(pairs)
    assert len(packed) == 2 and packed[0] == (3.0, 1.0) and packed[:1] == pairs[:1] and list(packed) == list(pairs)
    assert tuple(reversed(packed)) == pairs[::-1] and not PackedLevels(b"", 0.0) and packed != pairs[:1]
    assert PackedLevels(np.array(pairs).tobytes(), 3.0) == packed and (2.0, 0.5) in packed
    told = {"symbol": "X", "ts_event": 1, "ts_recv": 2, "seq": 3}
    encode = msgspec.msgpack.Encoder(enc_hook=plain).encode
    book = BookSnapshot(**told, bids=packed, asks=())  # type: ignore[arg-type]
    assert encode(book) == encode(BookSnapshot(**told, bids=pairs, asks=()))
    assert isinstance(WIRE.quick(frame("orderbook_l2", DIFF), NOW)[2], BookDelta)  # type: ignore[index]
    with pytest.raises(NotImplementedError, match="set cannot be encoded"):
        plain(set())

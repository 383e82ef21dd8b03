"""Books and prints as nearly every venue message has them, read from the bytes of a frame in one compiled pass.

Rules. What is read here is exactly what the long way would read, to the bit: numbers of at most 2^53 / 10^22, whose
quotient is the nearest float. Anything else (an escape, an exponent, a number as text, a key that is not known, a level
that cannot be, a crossed book) is not read here at all: the long way does, and says what is wrong with it.
"""

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import compiled

MOST = 4_096
"""Levels of both sides together that are read here."""

NOTHING, SNAPSHOT, DELTA, BUY, SELL = range(5)

Floats = npt.NDArray[np.float64]
Scanned = tuple[int, int, int, int, int, int, int, float, float]
"""What the frame is (0: to be read the long way), where its head ends, its number (-1: none), its time (-1: none), how
many numbers of bids, and of bids and asks, were written, the print's id (-1: none), then best bid and best ask, or
price and size. A best price that is not there is 0."""

Read = tuple[int, int, int, int, int, int, int, float, float]
_TENS = 10.0 ** np.arange(23)
_EXACT = 2**53
_DIGITS = 18


@compiled
def _skip(raw: bytes, i: int) -> int:
    """Behind spaces."""
    while raw[i] == 32:
        i += 1
    return i


@compiled
def _colon(raw: bytes, i: int) -> int:
    """Behind the colon after a key that ends before `i`; -1 where there is none."""
    i = _skip(raw, i)
    return _skip(raw, i + 1) if raw[i] == 58 else -1


@compiled
def _number(raw: bytes, i: int) -> tuple[int, float, int]:
    """Where the number at `i` ends, its value, and the same as a whole number (-1: it is none); -1 where it is to be
    read the long way."""
    # An index without a sign is not looked at for counting from the end.
    start, whole, value = i, i, 0
    while 48 <= raw[np.uint64(i)] <= 57:
        value = value * 10 + (raw[np.uint64(i)] - 48)
        i += 1
    whole = i - start
    if whole == 0 or (raw[start] == 48 and whole > 1):
        return -1, 0.0, -1
    digits = 0
    if raw[i] == 46:
        i += 1
        point = i
        while 48 <= raw[np.uint64(i)] <= 57:
            value = value * 10 + (raw[np.uint64(i)] - 48)
            i += 1
        digits = i - point
        if digits == 0:
            return -1, 0.0, -1
    if whole + digits > _DIGITS or value > _EXACT or raw[i] | 32 == 101:
        return -1, 0.0, -1
    if digits == 0:
        return i, float(value), value
    return i, value / _TENS[digits], -1


@compiled
def _levels(raw: bytes, i: int, out: Floats, at: int, sign: float, delta: bool) -> tuple[int, int]:
    """Where the levels at `i` end, and up to where `out` then holds them from `at` on; -1 where one cannot be."""
    if raw[i] != 91:
        return -1, at
    i = _skip(raw, i + 1)
    if raw[i] == 93:
        return i + 1, at
    last = -np.inf
    while True:
        if raw[i] != 91 or at + 2 > len(out):
            return -1, at
        i, price, _ = _number(raw, _skip(raw, i + 1))
        if i < 0:
            return -1, at
        i = _skip(raw, i)
        if raw[i] != 44:
            return -1, at
        i, size, _ = _number(raw, _skip(raw, i + 1))
        if i < 0:
            return -1, at
        i = _skip(raw, i)
        if raw[i] != 93 or not price > 0.0 or not (size > 0.0 or delta) or not (delta or sign * price > last):
            return -1, at
        out[at], out[at + 1] = price, size
        at += 2
        last = sign * price
        i = _skip(raw, i + 1)
        if raw[i] == 93:
            return i + 1, at
        if raw[i] != 44:
            return -1, at
        i = _skip(raw, i + 1)


_SEQ, _TS, _DATA, _TYPE, _BIDS, _ASKS, _ID, _PRICE, _SIZE, _SIDE = (2**n for n in range(10))


@compiled
def _word(raw: bytes, i: int) -> tuple[int, int]:
    """Where the text at `i` ends, and its letters as one number; -1 where it has none, more than eight, or others
    than a to z."""
    if raw[i] != 34:
        return -1, 0
    i += 1
    start, found = i, 0
    while 97 <= raw[i] <= 122 and i < start + 8:
        found = found * 32 + (raw[i] - 96)
        i += 1
    return (i + 1, found) if raw[i] == 34 else (-1, 0)


def _spelt(word: str) -> int:
    found = 0
    for letter in word:
        found = found * 32 + ord(letter) - 96
    return found


_W_SEQ, _W_TS, _W_DATA, _W_TYPE = _spelt("seq"), _spelt("ts"), _spelt("data"), _spelt("type")
_W_BIDS, _W_ASKS, _W_ID, _W_PRICE = _spelt("bids"), _spelt("asks"), _spelt("id"), _spelt("price")
_W_SIZE, _W_SIDE, _W_BUY, _W_SELL = _spelt("size"), _spelt("side"), _spelt("buy"), _spelt("sell")
_W_CHANNEL, _W_SYMBOL = _spelt("channel"), _spelt("symbol")
_W_SNAPSHOT, _W_DELTA = _spelt("snapshot"), _spelt("delta")


@compiled
def _key(raw: bytes, i: int) -> tuple[int, int]:
    """Where the value of the key at `i` begins, and the key; -1 where it is none that is known."""
    i, word = _word(raw, i)
    if i < 0:
        return -1, 0
    key = 0
    if word == _W_SEQ:
        key = _SEQ
    elif word == _W_TS:
        key = _TS
    elif word == _W_DATA:
        key = _DATA
    elif word == _W_TYPE:
        key = _TYPE
    elif word == _W_BIDS:
        key = _BIDS
    elif word == _W_ASKS:
        key = _ASKS
    elif word == _W_ID:
        key = _ID
    elif word == _W_PRICE:
        key = _PRICE
    elif word == _W_SIZE:
        key = _SIZE
    elif word == _W_SIDE:
        key = _SIDE
    return (_colon(raw, i), key) if key else (-1, 0)


@compiled
def _text(raw: bytes, i: int) -> int:
    """Where the text at `i` ends; -1 where it is none, or not plain."""
    if raw[i] != 34:
        return -1
    i += 1
    while raw[i] != 34:
        if raw[i] < 32 or raw[i] == 92:
            return -1
        i += 1
    return i + 1


@compiled
def _head(raw: bytes) -> int:
    """Where a frame's channel and symbol, which come first, end; -1 where they do not."""
    if raw[0] != 123:
        return -1
    i = 1
    for name in (_W_CHANNEL, _W_SYMBOL):
        i, word = _word(raw, _skip(raw, i))
        if i < 0 or word != name:
            return -1
        i = _colon(raw, i)
        if i < 0:
            return -1
        i = _text(raw, i)
        if i < 0:
            return -1
        i = _skip(raw, i)
        if raw[i] != 44:
            return -1
        i += 1
    return i


@compiled
def _time(raw: bytes, i: int) -> tuple[int, int]:
    """Where the time at `i` ends, and the time in whole units of the wire, which is above 0."""
    i, value, whole = _number(raw, i)
    if i < 0 or not value > 0.0:
        return -1, 0
    return i, int(np.rint(value)) if whole < 0 else whole


@compiled
def _data(raw: bytes, i: int, out: Floats) -> Read:
    """Where a push's data at `i` ends, what was in it (a bit each), its time, where bids and asks end in `out`, the
    print's id, price and size; -1 where it is to be read the long way. A diff has the bit of its size too."""
    seen, kind, stamp, number, price, size = 0, SNAPSHOT, -1, -1, 0.0, 0.0
    bids, asks = 0, 0
    none = -1, 0, NOTHING, -1, 0, 0, -1, 0.0, 0.0
    if raw[i] != 123:
        return none
    while True:
        i, key = _key(raw, _skip(raw, i + 1))
        if i < 0 or seen & key:
            return none
        seen |= key
        if key in (_TYPE, _SIDE):
            i, word = _word(raw, i)
            kind = NOTHING
            if key == _TYPE:
                kind = SNAPSHOT if word == _W_SNAPSHOT else DELTA if word == _W_DELTA else NOTHING
            else:
                kind = BUY if word == _W_BUY else SELL if word == _W_SELL else NOTHING
            if kind == NOTHING:
                return none
        elif key == _BIDS:
            i, bids = _levels(raw, i, out, 0, -1.0, kind == DELTA)
            asks = bids
        elif key == _ASKS:
            if not seen & _BIDS:
                return none
            i, asks = _levels(raw, i, out, bids, 1.0, kind == DELTA)
        elif key == _TS:
            i, stamp = _time(raw, i)
        elif key == _ID:
            i, _, number = _number(raw, i)
            if number < 0:
                return none
        elif key == _PRICE:
            i, price, _ = _number(raw, i)
        elif key == _SIZE:
            i, size, _ = _number(raw, i)
        else:
            return none
        if i < 0:
            return none
        i = _skip(raw, i)
        if raw[i] == 125:
            return i + 1, seen, kind, stamp, bids, asks, number, price, size
        if raw[i] != 44:
            return none


@compiled
def scan(raw: bytes, out: Floats) -> Scanned:
    """What the bytes of a frame say (`Scanned`), its levels in `out`: price, size, price, size, bids and then asks.

    Reads at most one byte beyond the end, which is the zero that every `bytes` ends with, and stops at it.
    """
    none = NOTHING, 0, -1, -1, 0, 0, -1, 0.0, 0.0
    head = _head(raw)
    if head < 0:
        return none
    i, seen, seq, stamp = head - 1, 0, -1, -1
    said, kind, within, bids, asks, number, price, size = 0, NOTHING, -1, 0, 0, -1, 0.0, 0.0
    while True:
        i, key = _key(raw, _skip(raw, i + 1))
        if i < 0 or seen & key:
            return none
        seen |= key
        if key == _SEQ:
            i, _, seq = _number(raw, i)
            if seq < 0:
                return none
        elif key == _TS:
            i, stamp = _time(raw, i)
        elif key == _DATA:
            i, said, kind, within, bids, asks, number, price, size = _data(raw, i, out)
        else:
            return none
        if i < 0:
            return none
        i = _skip(raw, i)
        if raw[i] == 125:
            break
        if raw[i] != 44:
            return none
    if i + 1 != len(raw):
        return none
    stamp = within if within >= 0 else stamp
    said &= ~_TS
    if said & ~_ID == _PRICE | _SIZE | _SIDE:
        if not (price > 0.0 and size > 0.0):
            return none
        return kind, head, seq, stamp, 0, 0, number, price, size
    if said & ~_TYPE != _BIDS | _ASKS or (kind == DELTA and seq < 0):
        return none
    if kind == SNAPSHOT:
        bid = out[0] if bids else 0.0
        ask = out[bids] if asks > bids else 0.0
        if bids and asks > bids and not bid < ask:
            return none
        return kind, head, seq, stamp, bids, asks, -1, bid, ask
    return kind, head, seq, stamp, bids, asks, -1, 0.0, 0.0

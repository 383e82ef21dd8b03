"""What one connection is sent instead of the frames that are meant for it (pure), by a `FaultPlan`.

Rules. Private frames and control frames are never changed; they are lost only with their connection. A frame that is
made up or left out without a hole counts in `seq` as if the venue had meant it, so that nothing but its content shows
it; `gap`, `duplicate` and `out_of_order` show in `seq` and nowhere else.
"""

from typing import Any

from flea_lab.sandbox.api import Frame, Json
from flea_lab.sandbox.faults import BOOK, CANDLE, FLOW, LINK, PRICE, PUSH, TRADES, FaultPlan

Key = tuple[str, str]


class FaultLine:
    """The faults of one connection."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._shift: dict[Key, int] = {}
        self._held: dict[Key, tuple[Frame, bool]] = {}
        self._late: dict[Key, Frame] = {}
        self._ids: dict[str, int] = {}
        self._frozen: dict[Key, tuple[Frame, int]] = {}
        self._skewed = self._seconds = 0

    def ending(self, at_s: float) -> str:
        """The kind of fault that ends the connection with the frame that is sent now, "" for none."""
        return self._plan.first(LINK, at_s)

    def frames(self, frame: Frame, at_s: float) -> list[Frame]:
        """What goes out instead of `frame`, in order."""
        if frame.account_id:
            return [frame]
        key = frame.channel, frame.symbol
        due = self._plan.first
        numbered = frame._replace(seq=frame.seq + self._shift.get(key, 0))
        held = self._held.pop(key, None)
        found = self._timed(self._spoiled(numbered, key, at_s), at_s)
        if held is not None:
            return self._swapped(found, *held)
        match due(PUSH[:3], at_s) if found else "":
            case "gap":
                del found[0]
            case "duplicate":
                found.insert(0, found[0])
            case "out_of_order":
                self._held[key] = found.pop(0), False
        return found

    def _swapped(self, found: list[Frame], held: Frame, hidden: bool) -> list[Frame]:
        """The held frame after the one that came next; `hidden`: their numbers do not show it."""
        if not found:
            return [held]
        first, *rest = found
        if hidden:
            first, held = first._replace(seq=held.seq), held._replace(seq=first.seq)
        return [first, held, *rest]

    def _spoiled(self, frame: Frame, key: Key, at_s: float) -> list[Frame]:
        """By the channel's own faults."""
        due = self._plan.first
        if frame.channel.startswith("candle_"):
            kinds = CANDLE if frame.data["complete"] else ("complete_omitted",)
            found = self._candle(frame, key, due(kinds, at_s))
        else:
            found = [self._thawed(frame, key, at_s)]
            if frame.channel == "orderbook_l2":
                kind = due(BOOK, at_s)
                if kind:
                    return [found[0]._replace(data=_bad_book(found[0].data, kind))]
            elif frame.channel == "trades":
                found = self._burst(found[0], key, at_s)
        if found and frame.channel != "funding":
            kind = due(PRICE, at_s)
            if kind:
                factor = self._plan.amount(kind) if kind == "price_spike" else 0.0
                found[0] = found[0]._replace(data=_bad_price(found[0].data, kind, factor))
        return found

    def _candle(self, frame: Frame, key: Key, kind: str) -> list[Frame]:
        late = self._late.pop(key, None)
        found = [frame]
        match kind:
            case "missing_minute":
                self._add(key, -1)
                found = []
            case "partial_resent":
                self._add(key, 1)
                partial = {**frame.data, "complete": False, "v": frame.data["v"] / 2}
                partial.pop("bv", None)
                found.append(frame._replace(seq=frame.seq + 1, data=partial))
            case "complete_omitted":
                found = [frame._replace(data={name: v for name, v in frame.data.items() if name != "complete"})]
            case "late_correction":
                self._late[key] = frame._replace(data={**frame.data, "c": frame.data["h"]})
            case "late_close":
                self._held[key] = frame, True
                found = []
        if late is not None and found:
            self._add(key, 1)
            found.append(late._replace(seq=found[-1].seq + 1, ts_ms=frame.ts_ms))
        return found

    def _burst(self, frame: Frame, key: Key, at_s: float) -> list[Frame]:
        """The trade, and where a burst is due as many copies with numbers of their own."""
        number = frame.data["id"]
        if number is not None:
            number += self._ids.get(frame.symbol, 0)
            frame = frame._replace(data={**frame.data, "id": number})
        if not self._plan.first(TRADES, at_s):
            return [frame]
        count = int(self._plan.amount("burst"))
        self._add(key, count)
        self._ids[frame.symbol] = self._ids.get(frame.symbol, 0) + count
        copies = [
            frame._replace(seq=frame.seq + n, data=frame.data if number is None else {**frame.data, "id": number + n})
            for n in range(1, count + 1)
        ]
        return [frame, *copies]

    def _thawed(self, frame: Frame, key: Key, at_s: float) -> Frame:
        """The frame, or what was frozen under the frame's number."""
        if frame.channel == "funding":
            return frame
        if key not in self._frozen and self._plan.first(FLOW, at_s):
            self._frozen[key] = frame, self._plan.lasts("frozen")
        if key not in self._frozen:
            return frame
        first, left = self._frozen[key]
        if left > 1:
            self._frozen[key] = first, left - 1
        else:
            del self._frozen[key]
        return first._replace(seq=frame.seq)

    def _timed(self, found: list[Frame], at_s: float) -> list[Frame]:
        """By the faults of a clock."""
        if not found:
            return found
        plan = self._plan
        if not self._skewed and plan.due("clock_skew", at_s):
            self._skewed = plan.lasts("clock_skew")
        if not self._seconds and plan.due("time_seconds", at_s):
            self._seconds = plan.lasts("time_seconds")
        if plan.due("time_regress", at_s):
            found[0] = _moved(found[0], -plan.amount("time_regress"))
        if self._skewed:
            self._skewed -= 1
            found = [_moved(frame, plan.amount("clock_skew")) for frame in found]
        if self._seconds:
            self._seconds -= 1
            found = [_in_seconds(frame) for frame in found]
        return found

    def _add(self, key: Key, count: int) -> None:
        self._shift[key] = self._shift.get(key, 0) + count


def _moved(frame: Frame, by_s: float) -> Frame:
    """The frame with its times `by_s` later; the open of a candle is no time of the clock."""
    by_ms = round(by_s * 1_000)
    data = {**frame.data, "ts": frame.data["ts"] + by_ms} if "ts" in frame.data else frame.data
    return frame._replace(ts_ms=frame.ts_ms + by_ms, data=data)


def _in_seconds(frame: Frame) -> Frame:
    data = {name: value / 1_000 if name in ("t", "ts") else value for name, value in frame.data.items()}
    return frame._replace(ts_ms=frame.ts_ms / 1_000, data=data)  # type: ignore[arg-type]


def _bad_book(data: Json, kind: str) -> Json:
    """The book with a fault of `kind`; a delta or an empty side is bent as far as it goes."""
    bids, asks = [list(level) for level in data["bids"]], [list(level) for level in data["asks"]]
    if not bids or not asks:
        return data
    best, worst = asks[0][0], asks[-1][0]
    match kind:
        case "book_crossed":
            bids[0][0] = best * 1.001
        case "book_empty":
            bids = []
        case "book_zero":
            asks[0][1] = 0.0
            data = {**data, "type": "snapshot"}
        case "book_deep":
            asks += [[worst * (1.0 + n * 1e-4), 1.0] for n in range(1, 31)]
        case "book_unsorted":
            bids, asks = bids[::-1], asks[::-1]
            data = {**data, "type": "snapshot"}
        case "book_strings":
            bids, asks = ([[str(price), str(size)] for price, size in side] for side in (bids, asks))
    return {**data, "bids": bids, "asks": asks}


def _bad_price(data: Json, kind: str, factor: float) -> Json:
    """A candle's close (with its high), a print's price or the whole book's prices, as no market has them."""

    def bad(price: float) -> Any:
        return {"price_spike": price * factor, "price_zero": 0.0, "price_negative": -price}.get(kind, "NaN")

    if "c" in data:
        found = {**data, "c": bad(data["c"])}
        if kind == "price_spike":
            found |= {"h": max(data["h"], found["c"]), "l": min(data["l"], found["c"])}
        return found
    if "price" in data:
        return {**data, "price": bad(data["price"])}
    return {**data, **{side: [[bad(price), size] for price, size in data[side]] for side in ("bids", "asks")}}

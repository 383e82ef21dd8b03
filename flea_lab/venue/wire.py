"""Frames and bodies of market data into messages, read through a dialect. Pure.

Whatever cannot be believed is a `FrameError` that names channel, symbol, field and value, never another exception.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from flea_lab.errors import ConfigError
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import (
    INTERVAL_MS,
    MS_NS,
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    Heartbeat,
    Trade,
)
from flea_lab.model.trading import OrderReport
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.levels import check_levels, falls, rises
from flea_lab.venue.protocol import Played, VenueClock
from flea_lab.venue.quick import QuickReader
from flea_lab.venue.reading import UNREADABLE, FrameError, explained, read_body, shown
from flea_lab.venue.shapes import (
    AnyFrame,
    BookData,
    CandleRow,
    FundingData,
    GridRow,
    HealthBody,
    Number,
    SettlementRow,
    TradeData,
)
from flea_lab.venue.speech import CRITICAL, KINDS, PRIVATE, Beat, Complaint, Kind, Push, Quick, Subscribed

Market = Candle | Trade | BookSnapshot | BookDelta | Funding | Heartbeat | Played

S_BELOW = 1e11
LATEST_MS = 9.0e12
INF = math.inf
MANY: tuple[Kind, ...] = ("book", "trades")
STATED = ("tick_size", "lot_size", "min_notional_usd")


class Wire:
    """Reads and writes one dialect for these symbols at one interval."""

    beat_s = 0.0

    def __init__(
        self, dialect: Dialect, symbols: Sequence[str], interval: str, instruments: Mapping[str, Instrument]
    ) -> None:
        if interval not in INTERVAL_MS:
            raise ConfigError(f"interval = {interval!r}: must be one of {', '.join(map(repr, INTERVAL_MS))}")
        self.dialect, self.symbols, self.interval = dialect, tuple(symbols), interval
        self.theirs = {symbol: dialect.theirs(symbol) for symbol in self.symbols}
        self.ours = {theirs: symbol for symbol, theirs in self.theirs.items()}
        if not self.symbols or len(self.ours) != len(self.symbols):
            raise ConfigError(f"symbols {list(self.symbols)} must be different, and different as the venue spells them")
        self.instruments = dict(instruments)
        self.channel: dict[Kind, str] = {
            kind: getattr(dialect.channels, kind).replace("{interval}", interval) for kind in KINDS
        }
        self._kind: dict[str, Kind] = {channel: kind for kind, channel in self.channel.items() if channel}
        self._critical = tuple(self.channel[kind].encode() for kind in CRITICAL if self.channel[kind])
        self._step_ns = INTERVAL_MS[interval] * MS_NS
        self._frame = msgspec.json.Decoder(AnyFrame, strict=False)
        self._candle = msgspec.json.Decoder(CandleRow, strict=False)
        self._book = msgspec.json.Decoder(BookData, strict=False)
        self._trade = msgspec.json.Decoder(TradeData, strict=False)
        self._reader = QuickReader()
        self.quick: Callable[[bytes, int], Quick | None] = self._reader.read
        self._funding = msgspec.json.Decoder(FundingData, strict=False)
        self._read: dict[Kind, Callable[[AnyFrame, str, int], Market | OrderReport | None]] = {
            "candle": self._read_candle,
            "book": self._read_book,
            "trades": self._read_trade,
            "funding": self._read_funding,
        }

    def reads(self, kind: Kind, decode: Callable[[bytes, str, int], OrderReport | None]) -> None:
        """Lets `decode(data, symbol, time)` read the private channel `kind`."""

        def read(frame: AnyFrame, symbol: str, ts_recv: int) -> OrderReport | None:
            return decode(bytes(frame.data), symbol, ts_recv if frame.ts is None else self.ns(frame.ts, "ts"))

        self._read[kind] = read

    def begin(self, now_ns: int) -> None:
        """A connection leaves nothing behind here."""

    def asked(self, kinds: Sequence[Kind]) -> set[tuple[str, str]]:
        """As `Speech.asked`."""
        return {
            (self.channel[kind], theirs)
            for kind in kinds
            for theirs in (("",) if kind in PRIVATE else tuple(self.ours))
        }

    def beat(self, now_ns: int) -> Beat:  # noqa: ARG002
        """Nothing: the venue tells the time itself."""
        return Beat()

    def subscriptions(self, kinds: Sequence[Kind], ack: bool, symbols: Sequence[str] | None = None) -> tuple[bytes]:
        """As `Speech.subscriptions`: one frame asks for everything."""
        return (self.subscription(kinds, ack, symbols),)

    def subscription(self, kinds: Sequence[Kind], ack: bool, symbols: Sequence[str] | None = None) -> bytes:
        """The frame that asks for these channels, once after the connect; of all symbols unless some are named."""
        asked: dict[str, Any] = {
            "action": "subscribe",
            "channels": [self.channel[kind] for kind in kinds],
            "symbols": [self.theirs[symbol] for symbol in (self.symbols if symbols is None else symbols)],
        }
        if self.dialect.book == "delta" and "book" in kinds:
            asked["book"] = "delta"
        if ack:
            asked["ack"] = True
        return msgspec.json.encode(asked)

    def acknowledgement(self, ts_event: int) -> bytes:
        """The frame that says that everything up to `ts_event` has been worked off."""
        return msgspec.json.encode({"action": "ack", "ts": self.stamp(ts_event)})

    def stamp(self, ts_ns: int) -> int:
        """A time in the unit of the wire, rounded down."""
        return ts_ns // (1_000 * MS_NS if self.dialect.time_unit == "s" else MS_NS)

    def push(self, raw: bytes, ts_recv: int) -> Push | Subscribed | Complaint | list[Push] | None:
        """What one frame says; None for a frame that says nothing to us."""
        try:
            frame = self._frame.decode(raw)
        except UNREADABLE as error:
            fault = explained(error, raw, "frame")
        else:
            if frame.symbol is not None and frame.channel is not None:
                told = self._pushed(frame, ts_recv)
                if isinstance(told, Push) and told.kind in MANY and self.dialect.time_unit != "s":
                    self._reader.learn(raw, told.kind, told.symbol)
                return told
            return self._control(frame)
        raise FrameError(fault, any(name in raw for name in self._critical))

    def _pushed(self, frame: AnyFrame, ts_recv: int) -> Push | list[Push]:
        kind = self._kind.get(frame.channel or "")
        symbol = self.ours.get(frame.symbol or "")
        if symbol is None and kind in PRIVATE:  # the account may trade elsewhere too, and its frames are counted
            symbol = frame.symbol
        if kind is None or symbol is None or kind not in self._read:
            raise FrameError(f"{shown(frame.channel)} {shown(frame.symbol)}: a push that was not asked for")
        try:
            push = Push(kind, symbol, frame.seq, self._read[kind](frame, symbol, ts_recv))
            predicted = self._predicted(frame, push.said) if isinstance(push.said, Funding) else None
            return push if predicted is None else [push, Push(kind, symbol, None, predicted)]
        except FrameError as error:
            fault = f"{frame.channel} {symbol}: {error}"
        except UNREADABLE as error:
            fault = explained(error, bytes(frame.data), f"{frame.channel} {symbol}")
        raise FrameError(fault, kind in CRITICAL)

    def _control(self, frame: AnyFrame) -> Push | Subscribed | Complaint | None:
        if frame.event == "subscribed":
            return Subscribed(frame.channels, frame.symbols)
        if frame.event == "error":
            return Complaint(shown(frame.code), shown(frame.message))
        if frame.event in ("heartbeat", "played"):
            if frame.ts is None:
                raise FrameError(f"{frame.event}: ts is missing", critical=True)
            ts = self.ns(frame.ts, f"{frame.event}: ts")
            return Push("", "", None, Heartbeat(ts_event=ts) if frame.event == "heartbeat" else Played(ts_event=ts))
        return None

    def ns(self, value: Number, name: str) -> int:
        """A time on the wire in ns UTC."""
        if type(value) is int and S_BELOW <= value < LATEST_MS and self.dialect.time_unit != "s":
            return value * MS_NS
        if not 0 < value < INF:
            raise FrameError(f"{name} = {value}: not a time")
        unit = self.dialect.time_unit
        milli = value * 1_000 if unit == "s" or (unit == "auto" and value < S_BELOW) else value
        if not milli < LATEST_MS:
            raise FrameError(f"{name} = {value}: beyond the year 2255 in {unit} units")
        return round(milli) * MS_NS

    def _read_candle(self, frame: AnyFrame, symbol: str, ts_recv: int) -> Candle:
        data = self._candle.decode(frame.data)
        now = ts_recv if frame.ts is None else self.ns(frame.ts, "ts")
        return self._candle_of(data, symbol, now, ts_recv)

    def _candle_of(self, data: CandleRow, symbol: str, now_ns: int, ts_recv: int) -> Candle:
        """The candle; one without `complete` that closes after now is still forming, whatever the venue meant."""
        opened = self.ns(data.t, "t")
        if opened % self._step_ns:
            raise FrameError(f"t = {data.t}: not the open of a {self.interval} bar")
        o, h, low, c, v = data.open, data.high, data.low, data.close, data.volume
        bv = math.nan if data.buy_volume is None else data.buy_volume
        if not (0.0 < low <= o <= h < INF and low <= c <= h and 0.0 <= v < INF and not (bv < 0.0 or bv > v)):
            raise FrameError(f"t = {data.t}: {_candle_fault(data)}")
        ts = opened + self._step_ns
        complete = data.complete if data.complete is not None else ts <= now_ns
        return Candle(
            symbol=symbol,
            ts_event=ts,
            ts_recv=ts_recv,
            open=o,
            high=h,
            low=low,
            close=c,
            volume=v,
            buy_volume=bv,
            complete=complete,
        )

    def _read_book(self, frame: AnyFrame, symbol: str, ts_recv: int) -> BookSnapshot | BookDelta:
        return self._book_of(self._book.decode(frame.data), frame.ts, frame.seq, symbol, ts_recv)

    def _book_of(
        self, data: BookData, stamp: Number | None, seq: int | None, symbol: str, ts_recv: int
    ) -> BookSnapshot | BookDelta:
        delta = data.type == "delta"
        bids, asks = data.bids, data.asks
        if delta or not (falls(bids) and rises(asks)):
            check_levels(bids, "bids", -1.0, delta)
            check_levels(asks, "asks", 1.0, delta)
        ts = data.ts if data.ts is not None else stamp
        ts_event = ts_recv if ts is None else self.ns(ts, "ts")
        if delta:
            if seq is None:
                raise FrameError("seq is missing: a delta cannot be placed")
            return BookDelta(
                symbol=symbol,
                ts_event=ts_event,
                ts_recv=ts_recv,
                prev_seq=seq - 1,
                seq=seq,
                bids=bids,
                asks=asks,
            )
        if bids and asks and not bids[0][0] < asks[0][0]:
            raise FrameError(f"bids[0][0] = {bids[0][0]}: crosses asks[0][0] = {asks[0][0]}")
        return BookSnapshot(symbol=symbol, ts_event=ts_event, ts_recv=ts_recv, seq=seq, bids=bids, asks=asks)

    def _read_trade(self, frame: AnyFrame, symbol: str, ts_recv: int) -> Trade:
        return self._trade_of(self._trade.decode(frame.data), frame.ts, symbol, ts_recv)

    def _trade_of(self, data: TradeData, stamp: Number | None, symbol: str, ts_recv: int) -> Trade:
        if not (0.0 < data.price < INF and 0.0 < data.size < INF):
            name, value = ("size", data.size) if 0.0 < data.price < INF else ("price", data.price)
            raise FrameError(f"{name} = {value}: must be a number above 0")
        ts = data.ts if data.ts is not None else stamp
        return Trade(
            symbol=symbol,
            ts_event=ts_recv if ts is None else self.ns(ts, "ts"),
            ts_recv=ts_recv,
            price=data.price,
            qty=data.size,
            side=data.side,
            trade_id=data.id if isinstance(data.id, int) else None,
        )

    def _read_funding(self, frame: AnyFrame, symbol: str, ts_recv: int) -> Funding:
        data = self._funding.decode(frame.data)
        ts = data.ts if data.ts is not None else frame.ts
        ts_event = ts_recv if ts is None else self.ns(ts, "ts")
        if data.settled:
            return self._funding_of(data.rate, ts_event, symbol, ts_recv)
        due = data.next_funding_ts
        due_ns = None if due is None else self.ns(due, "next_funding_ts")
        return self._funding_of(data.rate, ts_event, symbol, ts_recv, "current", due_ns)

    def _predicted(self, frame: AnyFrame, now: Funding) -> Funding | None:
        """The rate of the interval after the one that `now` is of, where an unsettled push tells it."""
        rate = self._funding.decode(frame.data).predicted_rate
        if now.state == "settled" or rate is None:
            return None
        return self._funding_of(rate, now.ts_event, now.symbol, now.ts_recv, "predicted")

    def _funding_of(
        self,
        rate: float,
        ts_event: int,
        symbol: str,
        ts_recv: int,
        state: Literal["settled", "current", "predicted"] = "settled",
        due_ns: int | None = None,
    ) -> Funding:
        if not -1.0 < rate < 1.0:
            raise FrameError(f"rate = {rate}: must be a share between -1 and 1")
        return Funding(symbol=symbol, ts_event=ts_event, ts_recv=ts_recv, rate=rate, state=state, due_ns=due_ns)

    def candles(self, raw: bytes, symbol: str, ts_recv: int, now_ns: int) -> list[Candle]:
        """The candles of a REST answer that are over at `now_ns` (the venue's time), each later than the one before."""
        where = f"candles {symbol}"
        rows = read_body(raw, "candles", list[CandleRow], where)
        found: list[Candle] = []
        for place, row in enumerate(rows):
            with _at_row(where, place):
                candle = self._candle_of(row, symbol, now_ns, ts_recv)
            if found and not candle.ts_event > found[-1].ts_event:
                raise FrameError(f"{where}: row {place}: t = {row.t}: not after the row before it")
            if candle.complete:
                found.append(candle)
        return found

    def settlements(self, raw: bytes, symbol: str, ts_recv: int) -> list[Funding]:
        """The settlements of a REST answer, oldest first."""
        where = f"funding {symbol}"
        found: list[Funding] = []
        for place, row in enumerate(read_body(raw, "funding", list[SettlementRow], where)):
            with _at_row(where, place):
                settled = self._funding_of(row.rate, self.ns(row.t, "t"), symbol, ts_recv)
            if found and not settled.ts_event > found[-1].ts_event:
                raise FrameError(f"{where}: row {place}: t = {row.t}: not after the row before it")
            found.append(settled)
        return found

    def clock(self, raw: bytes, now_ns: int) -> VenueClock:
        """The venue's time out of its answer on its health; ours where it states none."""
        try:
            data = msgspec.json.decode(raw, type=HealthBody, strict=False)
        except UNREADABLE as error:
            fault = explained(error, raw, "health")
        else:
            ns = now_ns if data.time is None else self.ns(data.time, "health: time")
            return VenueClock(now_ns=ns, kind=data.clock, matching=data.matching)
        raise FrameError(fault)

    def grids(self, raw: bytes) -> dict[str, Instrument]:
        """The grids that the venue states, by our symbol; by theirs where we have none. Where it does not tell the
        hours between settlements they are ours."""
        found: dict[str, Instrument] = {}
        for row in read_body(raw, "instruments", list[GridRow], "instruments"):
            values: dict[str, Any] = {name: str(getattr(row, name)) for name in STATED}
            symbol = self.ours.get(row.symbol, row.symbol)
            if row.funding_interval_h is not None:
                values["funding_interval_h"] = row.funding_interval_h
            elif symbol in self.instruments:
                values["funding_interval_h"] = self.instruments[symbol].funding_interval_h
            try:
                grid = msgspec.convert(values, Instrument)
            except UNREADABLE as error:
                fault = shown(str(error))
            else:
                found[symbol] = grid
                continue
            raise FrameError(f"instruments {shown(row.symbol)}: {fault}")
        return found


@contextmanager
def _at_row(where: str, place: int) -> Iterator[None]:
    try:
        yield
    except FrameError as error:
        fault = str(error)
    else:
        return
    raise FrameError(f"{where}: row {place}: {fault}")


def _candle_fault(data: CandleRow) -> str:
    for name in ("o", "h", "l", "c"):
        value = {"o": data.open, "h": data.high, "l": data.low, "c": data.close}[name]
        if not 0.0 < value < INF:
            return f"{name} = {value}: must be a number above 0"
    if not 0.0 <= data.volume < INF:
        return f"v = {data.volume}: must be a number of at least 0"
    if data.buy_volume is not None and not 0.0 <= data.buy_volume <= data.volume:
        return f"bv = {data.buy_volume}: must be between 0 and v = {data.volume}"
    return f"h = {data.high}, l = {data.low}: do not span o = {data.open} and c = {data.close}"

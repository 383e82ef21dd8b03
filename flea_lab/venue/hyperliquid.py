"""Hyperliquid's public data into messages: frames of its websocket, answers of its `/info`. Pure.

Rules. Numbers come as texts, times in ms. A book is always whole, has no number, and must not go back in time. The
aggressor of a print is `side`: B bought, A sold; a `tid` is no counter, and the first frame after a subscription
repeats prints, so that the last `TIDS` of a symbol are remembered and each print is told once. A candle does not say
when it is over: `forming` does. The rate in `activeAssetCtx` is that of the running hour and may still change; what was
settled is told by `fundingHistory` alone; no rate of the hour after is told at all. Whatever cannot be believed is a
`FrameError`.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import msgspec

from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import INTERVAL_MS, MS_NS, BookSnapshot, Candle, Funding
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.forming import FUTURE_NS, Forming, candle_fault
from flea_lab.venue.hyperliquid_grid import grid_of
from flea_lab.venue.hyperliquid_rows import (
    AnswerRow,
    AskedRow,
    BarRow,
    BookRow,
    ContextRow,
    FrameRow,
    MetaRow,
    SettledRow,
    StatusRow,
    TradeRow,
    book_of,
    funding_of,
    read_answer,
    stamp_ns,
    trade_of,
)
from flea_lab.venue.reading import UNREADABLE, FrameError, explained, shown
from flea_lab.venue.speech import CRITICAL, PUBLIC, Beat, Complaint, Kind, Push, Quick, Said, Subscribed

SUBSCRIBE: dict[Kind, dict[str, str]] = {
    "candle": {"type": "{channel}", "coin": "{coin}", "interval": "{interval}"},
    "book": {"type": "{channel}", "coin": "{coin}"},
    "trades": {"type": "{channel}", "coin": "{coin}"},
    "funding": {"type": "{channel}", "coin": "{coin}"},
}
"""What stands under `subscription` in {"method": "subscribe"}; the answer repeats it on `subscriptionResponse`."""

GREETING = b"Websocket connection established."
PING = b'{"method":"ping"}'
HARMLESS = "Already subscribed"
TIDS = 4_096
HOUR_NS = 3_600_000_000_000
FUNDING_ROWS = 500
CANDLE_ROWS = 5_000


class HyperliquidSpeech:
    """Reads and writes Hyperliquid for these symbols at one interval."""

    beat_s = 0.1

    def __init__(self, dialect: Dialect, symbols: Sequence[str], interval: str) -> None:
        if interval not in INTERVAL_MS:
            raise ConfigError(f"interval = {interval!r}: must be one of {', '.join(map(repr, INTERVAL_MS))}")
        self.dialect, self.symbols, self.interval = dialect, tuple(symbols), interval
        self.theirs = {symbol: dialect.theirs(symbol) for symbol in self.symbols}
        self.ours = {coin: symbol for symbol, coin in self.theirs.items()}
        if not self.symbols or len(self.ours) != len(self.symbols):
            raise ConfigError(f"symbols {list(self.symbols)} must be different, and different as the venue spells them")
        channels = {kind: getattr(dialect.channels, kind) for kind in PUBLIC}
        self.channel: dict[Kind, str] = {"orders": "", "fills": "", **channels}
        self.ahead_ns = 0
        """How far the venue's clock is before ours, as it was last asked for."""
        self._step_ns = INTERVAL_MS[interval] * MS_NS
        self.forming = Forming(self.symbols, self._step_ns, round(dialect.bar_grace_s * 1e9))
        self._tids: dict[str, dict[int, None]] = {symbol: {} for symbol in self.symbols}
        self._books_ms = dict.fromkeys(self.symbols, 0)
        self._rates: dict[str, tuple[float, int]] = {}
        self._pinged_ns = self._sent_ns = 0
        self._frame = msgspec.json.Decoder(FrameRow)
        self._read = {
            channels["candle"]: self._candle,
            channels["book"]: self._book,
            channels["trades"]: self._trades,
            channels["funding"]: self._context,
        }
        self._critical = {self.channel[kind] for kind in CRITICAL if self.channel[kind]}
        self._decode: dict[Any, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(kind, strict=False)
            for kind in (BarRow, BookRow, list[TradeRow], ContextRow, AnswerRow)
        }

    # ---- the websocket

    def begin(self, now_ns: int) -> None:
        """As `Speech.begin`: bars, books and rates of the connection before are not known any more."""
        self.forming.begin(now_ns + self.ahead_ns)
        self._books_ms = dict.fromkeys(self.symbols, 0)
        self._rates.clear()
        self._pinged_ns, self._sent_ns = 0, now_ns

    def asked(self, kinds: Sequence[Kind]) -> set[tuple[str, str]]:
        """As `Speech.asked`."""
        return {(self.channel[kind], coin) for kind in kinds for coin in self.ours}

    def subscriptions(self, kinds: Sequence[Kind], ack: bool, symbols: Sequence[str] | None = None) -> list[bytes]:  # noqa: ARG002
        """As `Speech.subscriptions`: one frame a stream."""
        return [
            msgspec.json.encode({"method": "subscribe", "subscription": self._subscription(kind, self.theirs[symbol])})
            for symbol in (self.symbols if symbols is None else symbols)
            for kind in kinds
        ]

    def _subscription(self, kind: Kind, coin: str) -> dict[str, str]:
        given = {"{channel}": self.channel[kind], "{coin}": coin, "{interval}": self.interval}
        return {name: given[value] for name, value in SUBSCRIBE[kind].items()}

    def acknowledgement(self, ts_event: int) -> bytes:  # noqa: ARG002
        """Nothing: the venue waits for nobody."""
        return b""

    def beat(self, now_ns: int) -> Beat:
        """As `Speech.beat`: a ping where one is due or shall prove that a bar is over, and what is over."""
        frames: list[bytes] = []
        overdue = now_ns - self._sent_ns >= self.dialect.ping_s * 1e9
        if overdue or (self._pinged_ns == 0 and self.forming.due(now_ns + self.ahead_ns)):
            frames.append(PING)
            self._pinged_ns = self._pinged_ns or now_ns  # an answer proves no more than the oldest that is awaited
            self._sent_ns = now_ns
        return Beat(frames, self._over(now_ns))

    def _over(self, ts_recv: int) -> list[Push]:
        return [Push("", "", None, said) for said in self.forming.over(ts_recv)]

    def quick(self, raw: bytes, ts_recv: int) -> Quick | None:  # noqa: ARG002
        """Nothing: `push` reads every frame."""
        return None

    def push(self, raw: bytes, ts_recv: int) -> Said | list[Push]:
        """As `Speech.push`."""
        if raw == GREETING:
            return None
        try:
            frame = self._frame.decode(raw)
        except UNREADABLE as error:
            fault = explained(error, raw, "frame")
        else:
            read = self._read.get(frame.channel)
            return self._control(frame) if read is None else self._pushed(frame, ts_recv)
        raise FrameError(fault, any(f'"{name}"'.encode() in raw for name in self._critical))

    def _pushed(self, frame: FrameRow, ts_recv: int) -> list[Push]:
        critical = frame.channel in self._critical
        try:
            found = self._read[frame.channel](bytes(frame.data), ts_recv)
            return [*self._over(ts_recv), *found]  # what is over was over before what shows it
        except FrameError as error:
            fault, critical = f"{frame.channel}: {error}", error.critical
        except UNREADABLE as error:
            fault = explained(error, bytes(frame.data), frame.channel)
        raise FrameError(fault, critical)

    def _control(self, frame: FrameRow) -> Said:
        if frame.channel == "pong":
            if self._pinged_ns:
                sent_ns = self._pinged_ns + self.ahead_ns
                self.forming.hear(sent_ns, sent_ns)
                self._pinged_ns = 0
            return None
        try:
            if frame.channel == "subscriptionResponse":
                asked: AskedRow = self._decode[AnswerRow].decode(frame.data).subscription
                own = asked.interval in ("", self.interval)
                return Subscribed((asked.type,), (asked.coin,)) if own else None
            if frame.channel == "error":
                text = msgspec.json.decode(frame.data)
                return _complaint(text if isinstance(text, str) else repr(text))
        except UNREADABLE as error:
            fault = explained(error, bytes(frame.data), frame.channel)
        else:
            raise FrameError(f"{shown(frame.channel)}: a push that was not asked for")
        raise FrameError(fault)

    def _symbol(self, coin: str, critical: bool = False) -> str:
        symbol = self.ours.get(coin)
        if symbol is None:
            raise FrameError(f"{shown(coin)}: a push that was not asked for", critical)
        return symbol

    def _candle(self, raw: bytes, ts_recv: int) -> list[Push]:
        bar: BarRow = self._decode[BarRow].decode(raw)
        symbol = self._symbol(bar.coin)
        candle = self._candle_of(bar, symbol, ts_recv)
        return [Push("candle", symbol, None, said) for said in self.forming.on(candle)]

    def _candle_of(self, bar: BarRow, symbol: str, ts_recv: int) -> Candle:
        opened = stamp_ns(bar.t, "t")
        if (
            opened % self._step_ns
            or bar.interval != self.interval
            or stamp_ns(bar.end + 1, "T") != opened + self._step_ns
        ):
            told = f"t = {bar.t}, T = {bar.end}, i = {shown(bar.interval)}"
            raise FrameError(f"{symbol}: {told}: not a bar of {self.interval}", True)
        candle = Candle(
            symbol=symbol,
            ts_event=opened + self._step_ns,
            ts_recv=ts_recv,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            complete=False,
        )
        fault = candle_fault(candle)
        if fault:
            raise FrameError(f"{symbol}: t = {bar.t}: {fault}", True)
        return candle

    def _book(self, raw: bytes, ts_recv: int) -> list[Push]:
        book: BookRow = self._decode[BookRow].decode(raw)
        symbol = self._symbol(book.coin)
        found = book_of(book, symbol, ts_recv)
        if book.time < self._books_ms[symbol]:
            raise FrameError(f"{symbol}: time = {book.time}: before the book of {self._books_ms[symbol]}")
        now_ns = ts_recv + self.ahead_ns
        if found.ts_event > now_ns + FUTURE_NS:  # every book after it would seem to go back in time
            raise FrameError(f"{symbol}: time = {book.time}: ahead of the venue's own clock")
        self._books_ms[symbol] = book.time
        self.forming.hear(found.ts_event, now_ns)
        return [Push("book", symbol, None, found)]

    def _trades(self, raw: bytes, ts_recv: int) -> list[Push]:
        rows: list[TradeRow] = self._decode[list[TradeRow]].decode(raw)
        trades = [trade_of(row, self._symbol(row.coin), ts_recv) for row in rows]  # all of them, or none is known
        found: list[Push] = []
        for trade, row in zip(trades, rows, strict=True):
            known = self._tids[trade.symbol]
            if row.tid in known:
                continue
            known[row.tid] = None
            if len(known) > TIDS:
                del known[next(iter(known))]
            self.forming.hear(trade.ts_event, ts_recv + self.ahead_ns)
            found.append(Push("trades", trade.symbol, None, trade))
        return found

    def _context(self, raw: bytes, ts_recv: int) -> list[Push]:
        """The rate of the running hour, where it is another than the last told; it has no stamp but that of receipt."""
        context: ContextRow = self._decode[ContextRow].decode(raw)
        symbol, rate = self._symbol(context.coin), context.ctx.funding
        if rate is None:  # the context of a spot pair
            return []
        now = ts_recv + self.ahead_ns
        due = now // HOUR_NS * HOUR_NS + HOUR_NS
        if self._rates.get(symbol) == (rate, due):
            return []
        funding = funding_of(symbol, rate, now, ts_recv, due)
        self._rates[symbol] = rate, due
        return [Push("funding", symbol, None, funding)]

    # ---- the answers of /info

    def candles(self, raw: bytes, symbol: str, ts_recv: int, now_ns: int) -> list[Candle]:
        """The bars of a `candleSnapshot`, each later than the one before; those that end by `now_ns` are complete."""
        found: list[Candle] = []
        for bar in read_answer(raw, list[BarRow], f"candleSnapshot {symbol}"):
            candle = self._candle_of(bar, symbol, ts_recv)
            if bar.coin != self.theirs[symbol] or (found and not candle.ts_event > found[-1].ts_event):
                raise FrameError(f"candleSnapshot {symbol}: t = {bar.t} of {shown(bar.coin)}: out of place")
            found.append(msgspec.structs.replace(candle, complete=candle.ts_event <= now_ns))
        return found

    def settlements(self, raw: bytes, symbol: str, ts_recv: int) -> list[Funding]:
        """The rows of a `fundingHistory`, oldest first, at the venue's own stamps."""
        where, found = f"fundingHistory {symbol}", list[Funding]()
        for row in read_answer(raw, list[SettledRow], where):
            settled = funding_of(symbol, row.rate, stamp_ns(row.time, f"{where}: time"), ts_recv, None)
            if row.coin != self.theirs[symbol] or (found and not settled.ts_event > found[-1].ts_event):
                raise FrameError(f"{where}: time = {row.time} of {shown(row.coin)}: out of place")
            found.append(settled)
        return found

    def book(self, raw: bytes, symbol: str, ts_recv: int) -> BookSnapshot:
        """The book of an `l2Book`."""
        return book_of(read_answer(raw, BookRow, f"l2Book {symbol}"), symbol, ts_recv)

    def grids(self, raw: bytes) -> dict[str, Instrument]:
        """The grids of a `meta`, by our symbol; `VenueRefusal` for a coin that is not there, or no longer traded."""
        coins = {coin.name: coin for coin in read_answer(raw, MetaRow, "meta").universe}
        found: dict[str, Instrument] = {}
        for symbol, name in self.theirs.items():
            coin = coins.get(name)
            if coin is None or coin.delisted:
                near = difflib.get_close_matches(name, [c.name for c in coins.values() if not c.delisted], n=3)
                hint = f", near are {', '.join(near)}" if near else f", it has {len(coins)} coins"
                what = "no longer trades" if coin else "has no coin"
                raise VenueRefusal(f"the venue {what} {name!r} (our {symbol}){hint}")
            found[symbol] = grid_of(coin.decimals)
        return found

    def status_ns(self, raw: bytes) -> int:
        """The venue's time of an `exchangeStatus`."""
        return stamp_ns(read_answer(raw, StatusRow, "exchangeStatus").time, "exchangeStatus: time")


def _complaint(text: str) -> Complaint | None:
    if text.startswith(HARMLESS):
        return None
    wrong = text.startswith(("Invalid subscription", "Error parsing"))
    return Complaint("invalid_subscription" if wrong else "error", shown(text))

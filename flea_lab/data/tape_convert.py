"""A capture as a tape, a tape's candles as frames, a tape's prints as parquet. Streaming."""

import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from tqdm import tqdm

from flea_lab.data.candles import resample
from flea_lab.data.frames import canonical, canonical_funding
from flea_lab.data.minutes import Minutes
from flea_lab.data.sources.captures import capture, recognise
from flea_lab.data.sources.captures.frame import BadLine, Frame, read_frames
from flea_lab.data.tape import Note, RawFrame, Record, beginning
from flea_lab.data.tape_cut import new_tape
from flea_lab.data.tape_facts import begun, shown
from flea_lab.errors import DataError
from flea_lab.model.finding import Finding
from flea_lab.model.market import INTERVAL_MS, MS_NS, Candle, Funding, Heartbeat, Trade

BATCH = 65_536
TRADES = pa.schema(
    [
        ("ts_event", pa.int64()),
        ("ts_recv", pa.int64()),
        ("symbol", pa.string()),
        ("trade_id", pa.int64()),
        ("price", pa.float64()),
        ("qty", pa.float64()),
        ("side", pa.string()),
        ("kind", pa.string()),
    ]
)
"""Prints as a table: times ns UTC, `side` the aggressor's, `trade_id` empty where the venue has none."""


class Captured(Struct, frozen=True, kw_only=True):
    """What became of a capture: its venue, frames, events, and lines that could not be read."""

    venue: str
    frames: int
    events: int
    unread: int


class TapeCandles(Struct, frozen=True, kw_only=True):
    """A tape's bars by symbol (canonical frames) and its settlements. `made` are the symbols whose bars were made of
    their prints; `differing` counts bars told twice with other values, of which the first is taken; `notes` say which
    minutes could not be made."""

    frames: dict[str, pd.DataFrame]
    funding: dict[str, pd.DataFrame]
    made: tuple[str, ...]
    differing: int
    notes: list[Finding]


def tape_of_capture(
    path: Path, out: Path, *, venue: str | None = None, raw: bool = True, progress: bool = False
) -> Captured:
    """What went from a venue's raw capture to a new tape: every frame, with `raw`, before what was read from it."""
    known = venue or recognise(path)
    decoder = capture.Decoder(known, path.name)
    frames = events = unread = 0
    with new_tape(out) as tape:
        for line in tqdm(
            read_frames(path), desc=path.name, unit=" frames", disable=None if progress else True, leave=False
        ):
            if frames == 0 and isinstance(line, Frame):
                tape.append(Note(line.ts_recv, "begin", beginning(known, "1m", ())))
            if isinstance(line, BadLine):
                unread += 1
                continue
            frames += 1
            if line.how == "connected":
                tape.append(Note(line.ts_recv, "up", line.url))
            if line.how not in ("pushed", "replied"):
                continue
            decoded = decoder.on(line)
            told = () if isinstance(decoded, str | capture.Unreadable) else decoded
            if raw:
                tape.append(RawFrame(line.ts_recv, line.raw, told[0].ts_event if told else None))
            if isinstance(decoded, capture.Unreadable):
                unread += 1
                tape.append(Note(line.ts_recv, "fault", decoded.reason))
            for event in told:
                tape.append(event)
            events += len(told)
    return Captured(venue=known, frames=frames, events=events, unread=unread)


class _Bars:
    """One symbol's bars: those that were told, and those made of its prints for the case that none were."""

    def __init__(self, symbol: str, interval: str) -> None:
        self._step = INTERVAL_MS[interval]
        self._rows = array("d")
        self._closes: dict[int, int] = {}
        self._minutes = Minutes(symbol, interval)
        self._made: list[Candle] = []
        self._lost_ns: int | None = None
        self._last_id: int | None = None
        self.differing = 0
        self.holes: list[Finding] = []

    def tell(self, candle: Candle) -> None:
        if not candle.complete:
            return
        row = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.buy_volume)
        at = self._closes.get(candle.ts_event)
        if at is None:
            self._closes[candle.ts_event] = len(self._rows) // 6
            self._rows.extend(row)
        else:
            self.differing += tuple(self._rows[at * 6 : at * 6 + 5]) != row[:5]

    def print(self, trade: Trade) -> None:
        if self._lost_ns is not None:
            if (
                trade.trade_id is None or trade.trade_id - 1 != self._last_id
            ):  # else the numbers say: nothing was missed
                self._miss()
                self._take(self._minutes.until(trade.ts_event, trade.ts_recv))
                self._minutes.missing(trade.ts_event)
            self._lost_ns = None
        self._last_id = trade.trade_id
        self._take(self._minutes.on(trade))

    def beat(self, ts_event: int) -> None:
        self._miss()
        self._take(self._minutes.until(ts_event, ts_event))

    def lose(self, ts_event: int) -> None:
        self._lost_ns = ts_event

    def _miss(self) -> None:
        """What came after the loss is unknown, as long as no print's number says otherwise."""
        if self._lost_ns is not None:
            self._minutes.missing(self._lost_ns)
            self._last_id = None

    def _take(self, told: tuple[Candle | Finding, ...]) -> None:
        for one in told:
            if isinstance(one, Candle):
                self._made.append(one)
            else:
                self.holes.append(one)

    @property
    def told(self) -> bool:
        return bool(self._closes)

    def frame(self, place: str) -> pd.DataFrame:
        """The bars in order of time, canonical; empty where there are none."""
        if not self._closes:
            for candle in self._made:
                self.tell(candle)
        closes = np.array(list(self._closes), np.int64)
        rows = np.array(self._rows, np.float64).reshape(-1, 6)
        order = np.argsort(closes, kind="stable")
        names = ("open", "high", "low", "close", "volume", "buy_volume")
        columns = {"ts": closes[order] // MS_NS - self._step, **dict(zip(names, rows[order].T, strict=True))}
        if np.isnan(columns["buy_volume"]).any():
            del columns["buy_volume"]
        return canonical(pd.DataFrame(columns), place)


def candles_of_tape(path: Path, interval: str = "1m", *, prints: bool = False, progress: bool = False) -> TapeCandles:
    """The bars of `interval` that a tape holds; of symbols without any, and with `prints` of all, those that its prints
    make. A bar in which the connection was lost is not made. Where the tape says that its own interval is shorter,
    longer bars are made of its whole ones.
    """
    if interval not in INTERVAL_MS:
        raise DataError(f"unknown interval {interval!r}, known are {', '.join(INTERVAL_MS)}")
    bars: dict[str, _Bars] = {}
    settled: dict[str, dict[int, float]] = {}
    last, own = 0, ""
    for record in shown(path, progress, "candles"):
        if isinstance(record, Candle | Trade):
            mine = bars.get(record.symbol)
            if mine is None:
                mine = bars[record.symbol] = _Bars(record.symbol, own or interval)
            if isinstance(record, Trade):
                mine.print(record)
                last = max(last, record.ts_event)
            elif not prints:
                mine.tell(record)
        elif isinstance(record, Heartbeat):
            for mine in bars.values():
                mine.beat(record.ts_event)
        elif isinstance(record, Note) and record.kind in ("down", "begin"):
            told = begun(record.text)[1] if record.kind == "begin" else ""
            own = own or (told if told in INTERVAL_MS else "")
            for mine in bars.values() if last else ():
                mine.lose(last)
        elif isinstance(record, Funding) and record.state == "settled":
            settled.setdefault(record.symbol, {}).setdefault(record.ts_event // MS_NS, record.rate)
    made = tuple(symbol for symbol, mine in bars.items() if not mine.told)
    found = {symbol: mine.frame(f"{path.name} {symbol}") for symbol, mine in bars.items()}
    if own not in ("", interval):
        found = {symbol: resample(frame, own, interval) for symbol, frame in found.items() if len(frame)}
    return TapeCandles(
        frames={symbol: frame for symbol, frame in found.items() if len(frame)},
        funding={symbol: _funding(rates, f"{path.name} {symbol}") for symbol, rates in settled.items()},
        made=made,
        differing=sum(mine.differing for mine in bars.values()),
        notes=[hole for symbol in made for hole in bars[symbol].holes],
    )


def _funding(rates: dict[int, float], place: str) -> pd.DataFrame:
    ts = sorted(rates)
    return canonical_funding(pd.DataFrame({"ts": ts, "funding_rate": [rates[one] for one in ts]}), place)


def trades_to_parquet(path: Path, out: Path, *, progress: bool = False) -> int:
    """How many prints went from a tape to a new parquet file of `TRADES`, in the order of the tape."""
    if out.exists():
        raise DataError(f"{out} is there already")
    part = out.with_name(f"{out.name}.part")
    try:
        count = 0
        with pq.ParquetWriter(part, TRADES, compression="zstd") as writer:
            for batch in _batches(shown(path, progress, "trades"), lambda record: isinstance(record, Trade)):
                writer.write_batch(_table(batch))
                count += len(batch)
        os.replace(part, out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        part.unlink(missing_ok=True)
    return count


def _batches(records: Iterator[Record], keep: Callable[[Record], bool]) -> Iterator[list[Record]]:
    held: list[Record] = []
    for record in records:
        if keep(record):
            held.append(record)
            if len(held) == BATCH:
                yield held
                held = []
    if held:
        yield held


def _table(trades: list[Record]) -> pa.RecordBatch:
    columns = [[getattr(trade, name) for trade in trades] for name in TRADES.names]
    return pa.record_batch(columns, schema=TRADES)

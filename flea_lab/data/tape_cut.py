"""Parts of a tape, and several tapes in one: streaming, whole or not at all, equal input to equal bytes."""

import heapq
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flea_lab.data.tape import Note, RawFrame, Record, TapeWriter
from flea_lab.data.tape_facts import CHANNELS, By, TapeClock, shown, symbol_at
from flea_lab.errors import DataError

CUTS = ("candle", "book", "trades", "funding", "heartbeat")
"""What may be cut out by name; notes always stay, a frame stays with its event."""


@contextmanager
def new_tape(path: Path) -> Iterator[TapeWriter]:
    """A tape that is at `path` once the block ends well, and not before; one that is there is refused."""
    if path.exists():
        raise DataError(f"{path} is there already")
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        tape = TapeWriter(part)
        try:
            yield tape
        finally:
            tape.close()
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        part.unlink(missing_ok=True)


def slice_tape(
    path: Path,
    out: Path,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    symbols: Collection[str] = (),
    channels: Collection[str] = (),
    by: By = "event",
    progress: bool = False,
) -> int:
    """How many records of [start, end) went from the tape at `path` to a new one; empty collections mean all.

    With symbols or channels a frame is kept where its event is, and one of which nothing was read is not.
    """
    for name in channels:
        if name not in CUTS:
            raise DataError(f"channel {name!r} must be among {', '.join(CUTS)}")
    low, high = start_ns or 0, 2**63 - 1 if end_ns is None else end_ns
    if not low < high:
        raise DataError(f"start ({low}) must be before end ({high})")
    clock, kept = TapeClock(by), 0
    with new_tape(out) as tape:
        for frame, record in _paired(shown(path, progress, "slice")):
            at = clock.at(record)
            if at >= high:
                break
            if at < low or not _wanted(record, symbols, channels):
                continue
            for one in (frame, record):
                if one is not None:
                    tape.append(one)
                    kept += 1
    return kept


def merge_tapes(paths: Sequence[Path], out: Path, *, by: By = "recv", progress: bool = False) -> int:
    """How many records went from the tapes at `paths` to one in order of time; of one instant, in the order of the
    files, each in its own order.
    """
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise DataError(f"merge takes two tapes or more, each once; {len(paths)} given")
    kept = 0
    with new_tape(out) as tape:
        for _, _, _, record in heapq.merge(*(_timed(n, path, by, progress) for n, path in enumerate(paths))):
            tape.append(record)
            kept += 1
    return kept


def _timed(number: int, path: Path, by: By, progress: bool) -> Iterator[tuple[int, int, int, Record]]:
    """(time, file, place, record): no two are equal up to the record, which is never compared."""
    clock, place = TapeClock(by), 0
    for frame, record in _paired(shown(path, progress, "merge")):
        at = clock.at(record)
        for one in (frame, record):
            if one is not None:
                place += 1
                yield at, number, place, one


def _paired(records: Iterator[Record]) -> Iterator[tuple[RawFrame | None, Record]]:
    """Every record but the frames that stand before their event, which come with it."""
    frame: RawFrame | None = None
    for record in records:
        if isinstance(record, RawFrame):
            if frame is not None:
                yield None, frame
            frame = record
            continue
        own = frame is not None and not isinstance(record, Note) and frame.ts_event == record.ts_event
        if frame is not None and not own:
            yield None, frame
        yield (frame if own else None), record
        frame = None
    if frame is not None:
        yield None, frame


def _wanted(record: Record, symbols: Collection[str], channels: Collection[str]) -> bool:
    if isinstance(record, Note):
        return True
    channel, symbol = CHANNELS[type(record)], symbol_at(record)
    if channel == "frame":
        return not symbols and not channels
    return (not channels or channel in channels) and (not symbols or not symbol or symbol in symbols)

"""What `flea data check` says of stored candles, of a file of candles, of a tape and of a capture: lines, or JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from flea_lab.data.capture_check import check_capture, is_capture
from flea_lab.data.dataset import Dataset
from flea_lab.data.frames import iso
from flea_lab.data.ledger import by_kind, candle_ledger, finding_ledger, plain_rows, worst_of
from flea_lab.data.quality import Quality, quality
from flea_lab.data.sources.files import recognise_candle_file
from flea_lab.data.store import CandleStore
from flea_lab.data.tape import SUFFIX
from flea_lab.data.tape_check import check_tape
from flea_lab.errors import DataError

SHOWN = 5
"""Rows of the ledger that are shown of each kind, the worst."""


class Checked(NamedTuple):
    """One thing that was looked at: `head` says what it is, `facts` the same as plain values; `kind` is candles, tape
    or capture."""

    name: str
    kind: str
    sound: bool
    head: list[str]
    facts: dict[str, Any]
    ledger: pd.DataFrame


def check_all(what: Sequence[str], store: CandleStore, interval: str | None, venue: str | None) -> list[Checked]:
    """Everything that `what` names: VENUE SYMBOL INTERVAL, one file, or with nothing all that is stored."""
    if len(what) == 1:
        return [_file(Path(what[0]), interval, venue)]
    if len(what) not in (0, 3):
        raise DataError(f"check takes VENUE SYMBOL INTERVAL, or one file, or nothing; {len(what)} words given")
    keys = [Dataset(*what)] if what else [stored.dataset for stored in store.list()]
    if not keys:
        raise DataError(f"nothing is stored in {store.root}, so there is nothing to check")
    return [_candles(str(key), key, store.read(key)) for key in keys]


def lines_of(checked: Checked) -> list[str]:
    """What a person reads of it: what it is, kinds with counts and spans, the worst rows of each."""
    ledger = checked.ledger
    if ledger.empty:
        return [*checked.head, "  ledger: nothing"]
    lines = [*checked.head, f"  ledger: {_count(len(ledger), 'row')}"]
    for row in by_kind(ledger).itertuples():
        lasts = int(ledger["ts_to"].isna()[(ledger["channel"] == row.channel) & (ledger["kind"] == row.kind)].sum())
        still = f", {lasts} of them to the end" if lasts else ""
        took = f", {row.seconds:,.6g} s together" if row.seconds else ""
        lines.append(f"  {row.channel} {row.kind}: {row.count:,} in {_count(row.rows, 'row')}{took}{still}")
        mine = ledger[(ledger["channel"] == row.channel) & (ledger["kind"] == row.kind)].reset_index(drop=True)
        lines += [_line(one) for one in plain_rows(worst_of(mine, SHOWN))]
    return lines


def json_of(checked: Sequence[Checked]) -> str:
    """The same for a program: one object with a list `checked`, every row of each ledger in it."""
    return msgspec.json.format(msgspec.json.encode({"checked": [_plain(one) for one in checked]}), indent=2).decode()


def _plain(checked: Checked) -> dict[str, Any]:
    rows = plain_rows(checked.ledger)
    kinds = [
        {
            "channel": row.channel,
            "kind": row.kind,
            "rows": int(row.rows),
            "count": int(row.count),
            "seconds": float(row.seconds),
            "worst": rows[int(row.worst)],
        }
        for row in by_kind(checked.ledger).itertuples()
    ]
    named = {"name": checked.name, "kind": checked.kind, "sound": checked.sound, "facts": checked.facts}
    return {**named, "kinds": kinds, "ledger": rows}


def _file(path: Path, interval: str | None, venue: str | None) -> Checked:
    if path.suffix == SUFFIX:
        return _tape(path, interval, venue)
    if is_capture(path):
        return _capture(path, venue)
    found = recognise_candle_file(path, interval=interval, venue=venue or "file", symbol="file")
    return _candles(f"{found.file} {found.dataset.interval}", found.dataset, found.frame)


def _candles(name: str, key: Dataset, frame: pd.DataFrame) -> Checked:
    found = quality(frame, key.interval)
    ledger = candle_ledger(found.to_dict(), key.venue, key.symbol, frame)
    spells = ("holes", "zero_volume", "flat")  # the ledger has them, with more to them
    facts = {field: value for field, value in found.to_dict().items() if field not in spells}
    return Checked(name, "candles", found.sound, _quality_lines(name, found), facts, ledger)


def _quality_lines(name: str, found: Quality) -> list[str]:
    if found.first_ms is None or found.last_ms is None:
        return [f"{name}: no bars"]
    faults = {
        "duplicates": found.duplicates,
        "unordered": found.unordered,
        "off the grid": found.off_grid,
        "not finite": found.not_finite,
        "OHLC faults": found.ohlc_faults,
        "volume faults": found.volume_faults,
    }
    lines = [
        f"{name}: {found.bars} of {found.expected} bars, {iso(found.first_ms)} to {iso(found.last_ms)}",
        f"  holes: {len(found.holes)}, {found.missing} bars missing",
        f"  zero-volume spells: {len(found.zero_volume)}, {sum(bars for _, bars in found.zero_volume)} bars",
        f"  flat spells: {len(found.flat)}, {sum(bars for _, bars in found.flat)} bars",
        "  " + ", ".join(f"{what}: {count}" for what, count in faults.items()),
    ]
    return [*lines, f"  first fault: {found.first_fault}"] if found.first_fault else lines


def _tape(path: Path, interval: str | None, venue: str | None) -> Checked:
    found = check_tape(path, venue=venue or "", interval=interval or "", progress=True)
    facts = found.facts
    said = {
        "venue": facts.venue,
        "records": facts.records,
        "first_event_ns": facts.first_event_ns,
        "last_event_ns": facts.last_event_ns,
        "torn_bytes": facts.torn,
        "times_down": facts.downs,
        "records_back_in_time": found.backwards,
        "heartbeats_back": found.heartbeats_back,
    }
    head = [
        f"{path.name}: tape {facts.venue}".rstrip()
        + f", {_count(facts.records, 'record')}, {_span(facts.first_event_ns, facts.last_event_ns)}",
        f"  {facts.torn} bytes torn off, {facts.downs} times down, {found.backwards} records back in time",
    ]
    return Checked(path.name, "tape", found.sound, head, said, finding_ledger(found.rows))


def _capture(path: Path, venue: str | None) -> Checked:
    found = check_capture(path, venue)
    kinds = [f"{symbol} {kind} {count}" for (symbol, kind), count in found.messages.items()]
    said = {
        "venue": found.venue,
        "frames": found.frames,
        "unreadable": found.unreadable,
        "first_recv_ns": found.first_ns,
        "last_recv_ns": found.last_ns,
        "messages": [{"symbol": s, "kind": kind, "count": n} for (s, kind), n in found.messages.items()],
    }
    head = [
        f"{path.name}: capture {found.venue}, {_count(found.frames, 'frame')}, {found.unreadable} unreadable, "
        f"{_span(found.first_ns, found.last_ns)}",
        f"  {', '.join(kinds) or 'nothing in it'}",
    ]
    return Checked(path.name, "capture", found.sound, head, said, found.ledger)


def _line(row: dict[str, Any]) -> str:
    until = "to the end" if row["ts_to"] is None else "" if row["ts_to"] == row["ts_from"] else f"to {row['ts_to']}"
    about = "; ".join(part for part in (row["detail"], row["resolved"]) if part)
    return "    " + "  ".join(part for part in (row["ts_from"], until, row["symbol"], about) if part)


def _span(first_ns: int | None, last_ns: int | None) -> str:
    if not first_ns or not last_ns:
        return "no time on it"
    return f"{iso(first_ns // 1_000_000)} to {iso(last_ns // 1_000_000)}"


def _count(count: int, one: str) -> str:
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"

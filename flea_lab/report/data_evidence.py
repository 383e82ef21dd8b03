"""Whether the data of a stored run are still what they were: candles by month, funding, features, a journal's rows."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct

from flea_lab import runs
from flea_lab.data.dataset import Dataset, Stored
from flea_lab.data.frames import content_digest
from flea_lab.data.store import CandleStore
from flea_lab.errors import DataError, WorkspaceError
from flea_lab.live.store import FILE, open_read_only
from flea_lab.model.market import INTERVAL_MS
from flea_lab.workspace import Workspace

BEHIND = "edited behind the store"


class Unequal(Struct, frozen=True):
    """A part of the data that is another now."""

    what: str
    was: str
    now: str


class Gone(Struct, frozen=True):
    """A part of the data that is not there; `why` says so in a line."""

    what: str
    was: str
    why: str


class Grown(Struct, frozen=True):
    """A part of the data that is as it was and goes on; `why` says so in a line."""

    what: str
    why: str


Change = Unequal | Gone | Grown | str


def changed_data(manifest: runs.Manifest, home: Workspace) -> Iterator[Change]:
    """What of the data is another, gone or grown; a text is a note on what cannot be told."""
    held = CandleStore(home.store)
    for at, one in enumerate(manifest.data):
        if {"venue", "symbol", "interval", "partitions"} <= set(one):
            yield from _candles(one, held)
        elif {"account", "rows", "digest"} <= set(one):
            yield from _journal(one, journal_of(manifest, home, at), goes_on=manifest.kind == "operations")
        else:
            yield f"data of a kind that digests say nothing of: {', '.join(sorted(one))}"


def _candles(one: dict[str, Any], held: CandleStore) -> Iterator[Unequal | Gone | str]:
    key = Dataset(one["venue"], one["symbol"], one["interval"])
    was = {str(month): str(digest) for month, digest in one["partitions"].items()}
    try:
        stored = held.info(key)
    except DataError as error:
        yield Gone(str(key), f"{len(was)} partitions", str(error))
        return
    broken = list(_broken(stored, was, held))
    yield from broken
    if not broken:
        yield from _content(one, key, stored, held)
    yield from _funding(one, key, held)
    yield from _features(one, key, held)


def _broken(stored: Stored, was: dict[str, str], held: CandleStore) -> Iterator[Unequal | Gone]:
    """Partitions whose file is not there, or does not hold what the store says that it does."""
    key = stored.dataset
    folder = held.root / "candles" / key.venue / key.symbol / key.interval
    for part in stored.partitions:
        if part.month not in was:
            continue
        what = f"{key} {part.month}"
        if not (folder / part.file).is_file():
            yield Gone(what, was[part.month], f"{what}: no file {folder / part.file}")
            continue
        try:
            held.read(key, part.first_ms, part.last_ms + 1)
        except DataError:
            yield Unequal(what, was[part.month], f"{BEHIND} ({part.file})")


def _content(one: dict[str, Any], key: Dataset, stored: Stored, held: CandleStore) -> Iterator[Unequal | Gone | str]:
    """The bars of the run's own range: what was stored after it does not matter."""
    was, now = one["partitions"], {part.month: part.digest for part in stored.partitions}
    other = [month for month in sorted({*was, *now}) if was.get(month) != now.get(month)]
    if not other:
        return
    content = one.get("content", {}).get("candles")
    if content is not None:
        start, end = one["range_ms"]
        try:
            frame = held.read(key, start, end)
        except DataError as error:
            yield Gone(str(key), content, str(error))
            return
        if content_digest(frame) == content:
            yield f"{key} has grown since, the bars of the run are the same"
            return
    for month in other:
        if content is None or month in was:
            yield Unequal(f"{key} {month}", was.get(month, "not there"), now.get(month, "not there"))


def _funding(one: dict[str, Any], key: Dataset, held: CandleStore) -> Iterator[Unequal | str]:
    what = f"funding of {key.venue} {key.symbol}"
    was = one.get("content", {}).get("funding")
    if was is None:
        if "content" not in one and one.get("settlements"):
            yield f"{what}: stored before its digest was written down, so that it cannot be told"
        return
    try:
        now = content_digest(held.read_funding(key.venue, key.symbol, *one["range_ms"]))
    except DataError:
        yield Unequal(what, was, BEHIND)
        return
    if now != was:
        yield Unequal(what, was, now)


def _features(one: dict[str, Any], key: Dataset, held: CandleStore) -> Iterator[Unequal | Gone]:
    was = one.get("features")
    if was is None:
        return
    info = held.features_info(key)
    if info is None:
        yield Gone(f"features of {key}", f"{len(was)} partitions", f"the features of {key} are not in the store")
        return
    now = {part.month: part.digest for part in info.partitions}
    for month, digest in was.items():
        if now.get(month) != digest:
            yield Unequal(f"features of {key} {month}", digest, now.get(month, "not there"))
    try:
        held.read_features(key)
    except DataError:
        yield Unequal(f"features of {key}", f"{len(was)} partitions", BEHIND)


def journal_of(manifest: runs.Manifest, home: Workspace, at: int) -> Path:
    """The journal that the run's data number `at` were read from: a session's, or one of a day of operations."""
    value = (manifest.notebook.value if manifest.notebook else None) or {}
    if manifest.kind == "operations":
        value = {"account": manifest.config["accounts"][at]}
    if "folder" in value:
        folder = Path(value["folder"])
        return folder if folder.suffix else folder / FILE
    return home.root / "journals" / str(value.get("account", manifest.data[at]["account"])) / FILE


def _journal(one: dict[str, Any], file: Path, *, goes_on: bool) -> Iterator[Change]:
    """Of the rows that were read. A journal that has more now is a session that is reported otherwise; the day of one
    that `goes_on` may be what it was all the same."""
    rows, was = int(one["rows"]), str(one["digest"])
    what = f"journal of {one['account']}, rows 0 to {rows - 1:,}"
    if not file.is_file():
        yield Gone(what, was, f"journal {file}: no such file")
        return
    hasher, count = hashlib.sha256(), 0
    try:
        with closing(open_read_only(file)) as db:
            for row in db.execute("SELECT seq, kind, crc FROM entries WHERE seq < ? ORDER BY seq", (rows,)):
                hasher.update(f"{row}\n".encode())
                count += 1
            more = db.execute("SELECT count(*) FROM entries WHERE seq >= ?", (rows,)).fetchone()[0]
    except (sqlite3.Error, WorkspaceError) as error:
        yield Gone(what, was, f"journal {file}: {error}")
        return
    if hasher.hexdigest() != was:
        yield Unequal(what, was, hasher.hexdigest())
    elif more and goes_on:
        yield Grown(what, f"the journal of {one['account']} went on by {more:,} rows")
    elif more:
        yield Gone(
            f"{what}: as they were, but it went on", was, f"the session went on by {more:,} rows: report it again"
        )


def data_range(manifest: runs.Manifest) -> tuple[int, int] | None:
    """The half-open range of bar opens, ms UTC, that the run read; None where it was not written down."""
    ranges = [one["range_ms"] for one in manifest.data if "range_ms" in one]
    if not ranges or any(one.get("interval") not in INTERVAL_MS for one in manifest.data):
        return None
    return int(min(start for start, _ in ranges)), int(max(end for _, end in ranges))

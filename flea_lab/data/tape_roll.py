"""A tape in several files: a new one when the last is full, or when a new day begins."""

from pathlib import Path

from flea_lab.data.tape import SUFFIX, Record, TapeWriter, heard_ns, read_records
from flea_lab.model.market import DAY_NS


class TapeRoll:
    """Appends to NAME.tape, then NAME.2.tape, NAME.3.tape, ...; goes on with the last of them that is there.

    A file is full at `max_bytes`; with `daily` it also ends with the UTC day. Without either there is one file. Any
    file may be read alone; together they are the tape, in the order of `files`.
    """

    def __init__(self, path: Path, *, max_bytes: int | None = None, daily: bool = False) -> None:
        self._path, self._max_bytes, self._daily = path, max_bytes, daily
        self._rolls = max_bytes is not None or daily
        known = files(path)
        self._number = len(known) or 1
        self._tape = TapeWriter(known[-1] if known else path)
        self._day = self._last_day() if daily else None

    @property
    def path(self) -> Path:
        """The file that is written to."""
        return self._tape.path

    @property
    def size(self) -> int:
        """Bytes in that file."""
        return self._tape.size

    def append(self, record: Record) -> None:
        """Takes one record, in a new file where the last one is full or of yesterday."""
        if self._rolls and self._is_over(record):
            self._tape.close()
            self._number += 1
            self._tape = TapeWriter(numbered(self._path, self._number))
        self._tape.append(record)

    def flush(self, *, sync: bool = False) -> None:
        """As a tape's."""
        self._tape.flush(sync=sync)

    def close(self) -> None:
        """As a tape's."""
        self._tape.close()

    def _is_over(self, record: Record) -> bool:
        full = self._max_bytes is not None and self._tape.size >= self._max_bytes
        now = heard_ns(record)
        if not self._daily or now is None:
            return full
        day, before = now // DAY_NS, self._day
        self._day = day
        return full or (before is not None and day > before)

    def _last_day(self) -> int | None:
        last = None
        for record in read_records(self._tape.path):
            last = heard_ns(record) or last
        return None if last is None else last // DAY_NS


def numbered(path: Path, number: int) -> Path:
    """The name of the file `number` of a tape.

    >>> numbered(Path("a.tape"), 2).name
    'a.2.tape'
    """
    return path if number == 1 else path.with_name(f"{path.name.removesuffix(SUFFIX)}.{number}{SUFFIX}")


def files(path: Path) -> list[Path]:
    """The files that a tape has so far, in order; they are numbered without holes."""
    found: list[Path] = []
    while (file := numbered(path, len(found) + 1)).exists():
        found.append(file)
    return found

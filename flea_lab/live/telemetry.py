"""A structured log of a runner: `telemetry.jsonl`, one record a line, of fields that are named here and no others.

Rules. `log` is constant time and waits for nothing: what does not fit in line is counted in the next record. Only the
fields of `FIELDS` are written, texts masked and cut, so that no header, body or key can come along. The file begins
anew at a size; the last ones are kept.
"""

import os
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.secrecy import LARGEST, Mask, make_room

TELEMETRY = "telemetry.jsonl"
QUEUED = 10_000
LONGEST = 300
CLOSE_S = 2.0

FIELDS = frozenset(
    (
        "client_order_id", "symbol", "side", "order_type", "lots", "price_ticks", "parent", "fill_id", "fee_uusd",
        "reason", "code", "latch", "latches", "severity", "key", "text", "by", "state", "link", "what",
        "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "blocked", "samples", "venue", "account", "config_id", "pid",
    )
)  # fmt: skip
"""What a record may hold besides `ts`, `kind` and `lost`."""

Value = str | int | float | bool


class Telemetry:
    """The structured log of the account in `folder`, written by a daemon thread until closed."""

    def __init__(self, folder: Path, clock: Clock, mask: Mask, *, largest: int = LARGEST) -> None:
        self.file, self.lost = folder / TELEMETRY, 0
        self._clock, self._mask, self._largest, self._told = clock, mask, largest, 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUED)
        try:
            self._handle = self._opened()
        except OSError as error:
            raise WorkspaceError(f"log {self.file}: cannot be written ({error.strerror})") from None
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def log(self, kind: str, fields: Mapping[str, Value]) -> None:
        """Takes a record; a field that is not in `FIELDS` is left out."""
        record: dict[str, Value] = {"ts": self._clock.now_ns(), "kind": kind}
        for name, value in fields.items():
            if name in FIELDS:
                record[name] = self._mask(value)[:LONGEST] if isinstance(value, str) else value
        lost = self.lost
        if lost > self._told:
            record["lost"] = lost - self._told
        try:
            self._queue.put_nowait(msgspec.json.encode(record) + b"\n")
            self._told = lost
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Writes what waits, for `CLOSE_S` at most."""
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout=CLOSE_S)

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _opened(self) -> int:
        return os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                if os.fstat(self._handle).st_size >= self._largest:
                    make_room(self.file)
                    self.file.rename(f"{self.file}.1")
                    fresh = self._opened()
                    os.close(self._handle)
                    self._handle = fresh
                os.write(self._handle, line)
            except OSError:  # a full disk must not stop the desk; the journal is what ends a session for it
                self.lost += 1
        os.close(self._handle)

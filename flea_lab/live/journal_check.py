"""What a journal's file is worth: its chain, its facts, its snapshot, who wrote it. Reads, also while it is written."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from flea_lab.errors import WorkspaceError
from flea_lab.journal import BASE, COMMAND, EVENT, FACT, FAULT, MARK, NOTE, REPAIR, Row, check_chain
from flea_lab.live.format import FORMAT, format_of
from flea_lab.live.store import open_read_only, read_rows, read_snapshot

KINDS = {
    EVENT: "events", COMMAND: "commands", FAULT: "faults", FACT: "facts", NOTE: "notes", BASE: "bases", MARK: "marks",
    REPAIR: "repairs",
}  # fmt: skip


class JournalCheck(Struct, frozen=True, kw_only=True):
    """What was found. `rows` by kind; `digest` of the last good row; `bad` the first bad row, -1 where there is none;
    `repairable` says that a start cuts it off; `snapshot` the row after which the state is kept, -1 where none is."""

    path: Path
    rows: dict[str, int]
    last: int
    digest: str
    bad: int
    repairable: bool
    snapshot: int
    latches: str
    config_id: str
    code: str
    seed: str
    runs: int

    @property
    def sound(self) -> bool:
        """Whether every row is good."""
        return self.bad < 0


def check_journal(path: Path) -> JournalCheck:
    """What the journal at `path` is worth. `WorkspaceError` where it is none, or of another format than ours."""
    with closing(open_read_only(path)) as db:
        try:
            found = format_of(db, str(path))
            facts = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
            runs = int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
        except sqlite3.Error as error:
            raise WorkspaceError(f"journal {path}: {error}") from None
    if found != FORMAT:
        raise WorkspaceError(f"journal {path}: is of format {found or 1}, not {FORMAT}: a start upgrades an older one")
    counts: Counter[int] = Counter()
    chain = check_chain(_counted(read_rows(path), counts))
    snapshot = read_snapshot(path)
    return JournalCheck(
        path=path,
        rows={name: counts[kind] for kind, name in KINDS.items() if counts[kind]},
        last=chain.seq,
        digest=chain.digest.hex(),
        bad=chain.bad,
        repairable=chain.tail,
        snapshot=-1 if snapshot is None else snapshot.seq,
        latches=facts.get("latches", ""),
        config_id=facts.get("config_id", ""),
        code=facts.get("code", ""),
        seed=facts.get("seed", ""),
        runs=runs,
    )


def _counted(rows: Iterable[Row], counts: "Counter[int]") -> Iterator[Row]:
    for row in rows:
        counts[row.kind] += 1
        yield row


def told(check: JournalCheck) -> list[tuple[str, str]]:
    """What a person reads of it, in pairs."""
    state = "whole" if check.sound else f"row {check.bad} is damaged"
    if not check.sound:
        state += ": a start cuts it off and halts" if check.repairable else ", rows after it are not: no start goes on"
    return [
        ("journal", str(check.path)),
        ("chain", state),
        ("rows", ", ".join(f"{count:,} {name}" for name, count in check.rows.items()) or "none"),
        ("last row", f"{check.last:,}, digest {check.digest}"),
        ("snapshot", f"after row {check.snapshot:,}" if check.snapshot >= 0 else "none"),
        ("latches", check.latches or "none is closed"),
        ("config", check.config_id or "none"),
        ("code", check.code or "unknown"),
        ("seed", check.seed or "none"),
        ("runs", f"{check.runs:,}"),
    ]

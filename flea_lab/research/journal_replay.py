"""A journal folded again by the code of now: the same commands, and the state that its marks say."""

import json
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

from flea_lab.config import alphas, from_dict
from flea_lab.core import TradingCore
from flea_lab.core_state import CoreState
from flea_lab.errors import WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import COMMAND, MARK
from flea_lab.live.first_run import CAPPED, capped
from flea_lab.live.fold import Build, Fold, Parted, restore, state_hash
from flea_lab.live.journal import read_meta
from flea_lab.live.store import last_base, read_rows, read_snapshot
from flea_lab.wiring import build_core


class Replayed(Struct, frozen=True, kw_only=True):
    """What the fold came to. `commands_digest` is over every command's bytes, `state_hash` of the state after the last
    row, `marked` the hash that the live process wrote last ("" where it wrote none); `parted` says where the journal
    and this code part, "" where they do not."""

    events: int
    commands: int
    marks: int
    commands_digest: str
    state_hash: str
    marked: str
    parted: str

    @property
    def equal(self) -> bool:
        """Whether this code does what the journal's did."""
        return not self.parted


def replay_journal(path: Path) -> Replayed:
    """The journal at `path` folded from its last base (other code, other limits), or from its first row.

    `WorkspaceError` where no session has begun in it.
    """
    facts = read_meta(path)
    if "config" not in facts:
        raise WorkspaceError(f"journal {path}: no session has begun in it")
    config = from_dict(json.loads(facts["config"]), f"journal {path}")
    found = alphas(config)
    used = capped(config, int(facts["cash_uusd"])) if facts.get("limits") == CAPPED else config

    def build(limit_ttl_ns: int | None) -> TradingCore:
        cash_uusd = int(facts["cash_uusd"])
        return build_core(used, found, 0, prefix=facts["prefix"], cash_uusd=cash_uusd, limit_ttl_ns=limit_ttl_ns)

    fold, told, marked, parted = Fold(build), blake2b(digest_size=16), "", ""
    snapshot, seq = read_snapshot(path), -1
    try:
        for row in read_rows(path, last_base(path) - 1):
            fold.take(row)
            seq = row.seq
            if row.kind == COMMAND:
                told.update(row.body)
            elif row.kind == MARK:
                marked = msgspec.msgpack.decode(row.body, type=str)
                if snapshot is not None and snapshot.seq == seq:
                    _require_same(build, fold.core, snapshot.state, [body for _, body in snapshot.orders])
        fold.end(seq + 1)
    except Parted as error:
        parted = str(error)
    return Replayed(
        events=fold.events,
        commands=fold.commands,
        marks=fold.marks,
        commands_digest=told.hexdigest(),
        state_hash=state_hash(fold.core),
        marked=marked,
        parted=parted,
    )


def _require_same(build: Build, folded: TradingCore, state: bytes, orders: list[bytes]) -> None:
    """`Parted` where a snapshot is not the state that the rows before it fold to."""
    core = build(None)
    restore(
        core,
        msgspec.msgpack.decode(state, type=CoreState),
        [msgspec.msgpack.decode(body, type=Order) for body in orders],
    )
    if state_hash(core) != state_hash(folded):
        raise Parted("the snapshot is another state than its rows fold to")

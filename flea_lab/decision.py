"""The decision stream: one line a decision, in one encoding, with one digest. The currency of parity."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from flea_lab.model.trading import Command, NewOrder, OrderIntent, ParentOrder, Refused
from flea_lab.money import CENT
from flea_lab.risk.checks import NAMES, PASSED

DECISION = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("symbol", "<i8"),
        ("side", "<i8"),
        ("size_cents", "<i8"),
        ("lots", "<i8"),
        ("price_ticks", "<i8"),
        ("code", "<i8"),
        ("conviction", "<f8"),
    ]
)
"""One decision. `symbol` is its position in the config, `side` +1 or -1, `lots` unsigned and 0 when refused; the
conviction explains and is not part of the digest."""

Decisions = npt.NDArray[np.void]


class Recorder:
    """Collects decisions from the commands of a core."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._row = {symbol: s for s, symbol in enumerate(symbols)}
        self._rows: list[tuple[int, int, int, int, int, int, int, float]] = []

    def on(self, commands: Iterable[Command]) -> None:
        """Notes what was decided; other commands are not decisions."""
        for command in commands:
            if isinstance(command, ParentOrder) or (isinstance(command, NewOrder) and not command.parent):
                self._note(command.intent, command.lots, PASSED)
            elif isinstance(command, Refused):
                self._note(command.intent, 0, command.code)

    def _note(self, intent: OrderIntent, lots: int, code: int) -> None:
        side = 1 if intent.side == "buy" else -1
        cents = intent.size_uusd // CENT
        row = self._row[intent.symbol]
        self._rows.append(
            (intent.ts_event, row, side, cents, lots, intent.price_ticks, code, intent.conviction),
        )

    def decisions(self) -> Decisions:
        """All decisions so far, in order."""
        return np.array(self._rows, dtype=DECISION)


def line(decision: np.void, symbols: Sequence[str]) -> str:
    """The canonical text of one decision."""
    ts, row, side, cents, lots, ticks, code, _ = decision.item()
    return f"{ts} {symbols[row]} {'buy' if side > 0 else 'sell'} {cents} {lots} {ticks} {NAMES[code]}"


def digest(decisions: Decisions, symbols: Sequence[str]) -> str:
    """SHA-256 over the lines, hex; the same for the same decisions wherever they were taken."""
    hasher = hashlib.sha256()
    for decision in decisions:
        hasher.update(line(decision, symbols).encode())
        hasher.update(b"\n")
    return hasher.hexdigest()


def first_difference(a: Decisions, b: Decisions) -> int | None:
    """Position of the first decision that differs (its conviction aside), or None; a missing one differs."""
    n = min(len(a), len(b))
    names = [name for name in DECISION.names or () if name != "conviction"]
    differs = np.zeros(n, dtype=bool)
    for name in names:
        differs |= a[name][:n] != b[name][:n]
    if differs.any():
        return int(np.argmax(differs))
    return None if len(a) == len(b) else n

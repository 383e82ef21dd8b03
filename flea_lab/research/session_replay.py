"""A session played again, twice: its own events through a fresh core, and its market through the research replay.

The first proves that the journal is what the core did: same events, same commands, to the byte. The second holds the
session against research: the candles and settlements that it heard, the simulated exchange instead of the venue. Where
the venue fills at the next open and waits for its clients the two are equal; where it matches in a book they differ by
what fills cost, and what follows from that.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from flea_lab.backtest.features import feature_settings, features_needed
from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.replay import Controls, Replayed, replay
from flea_lab.config import alphas
from flea_lab.core import TradingCore
from flea_lab.data.features import Featured, features_of
from flea_lab.decision import DECISION, Decisions, digest
from flea_lab.errors import FleaError
from flea_lab.journal import COMMAND, EVENT, Entry
from flea_lab.ledger import FEES
from flea_lab.live.journal import entries
from flea_lab.live.session import LiveSession
from flea_lab.model.market import MS_NS, Message
from flea_lab.model.trading import Command
from flea_lab.money import USD, nearest
from flea_lab.research.live_parity import first_parting
from flea_lab.wiring import build_core, build_exchange


@dataclass(frozen=True)
class PlayBack:
    """A journal's events through a fresh core. `digests` are those of the journal's commands and of the core's; `row`
    and `first` say where they part, None and "" where they do not."""

    events: int
    commands: tuple[int, int]
    digests: tuple[str, str]
    row: int | None
    first: str

    @property
    def equal(self) -> bool:
        """Whether the core gave the journal's commands, all of them and in their places."""
        return not self.first and self.digests[0] == self.digests[1]

    def text(self) -> str:
        """One line for a person, or three."""
        if self.equal:
            return f"equal: {self.events:,} events give the journal's {self.commands[0]:,} commands"
        return self.first


@dataclass(frozen=True)
class SessionReplay:
    """A session beside the replay of its own market. Pairs are (live, replay).

    `equity` has the replay's curve (ts ms UTC, equity_usd). `first` says where they part, "" where they do not; `why`
    why there is no replay, "" where there is one. `costs_usd` are fees and slippage against the decision's price;
    `unfilled` counts the session's orders that did not fill whole, by where they stand.
    """

    matching: str
    bars: int
    decisions: tuple[int, int]
    digests: tuple[str, str]
    equity: pd.DataFrame
    fills: tuple[int, int]
    costs_usd: tuple[float, float]
    first: str
    unfilled: dict[str, int] = field(default_factory=dict)
    why: str = ""
    stream: Decisions = field(default_factory=lambda: np.empty(0, DECISION))
    """What the replay decided."""

    @property
    def equal(self) -> bool:
        """Whether both decided the same, and the account went the same way to the micro-dollar."""
        return not self.why and not self.first and self.digests[0] == self.digests[1]

    def text(self) -> str:
        """A few lines for a person."""
        if self.why:
            return f"no replay: {self.why}"
        if self.equal:
            return f"equal: {self.decisions[0]:,} decisions, and the equity at all {self.bars:,} bars"
        lines = [f"the session parts from its replay:\n{self.first}"]
        if self.matching == "book":
            live, simulated = self.costs_usd
            lines.append(
                "  the venue matched in its book, the replay at the next open; fees and slippage against the price at "
                f"the decision: live {live:,.2f} USD in {self.fills[0]:,} fills, replay {simulated:,.2f} USD in "
                f"{self.fills[1]:,}"
            )
        if self.unfilled:
            states = ", ".join(f"{n:,} {state}" for state, n in self.unfilled.items())
            lines.append(
                f"  orders of the session that did not fill whole: {states}; the replay fills at the next open"
            )
        return "\n".join(lines)


def play_back_session(session: LiveSession) -> PlayBack:
    """The journal's events through a core built as the session's was, beside the journal's commands."""
    return _Checker(_core(session)).check(session)


class _Checker:
    """Gives events to a core and holds what it says against the rows that follow."""

    def __init__(self, core: TradingCore) -> None:
        self.core = core
        self._encode = msgspec.msgpack.Encoder().encode
        self._due: deque[Command] = deque()
        self._after = -1
        self._hashers = hashlib.sha256(), hashlib.sha256()
        self.events = 0
        self.commands = [0, 0]
        self.row: int | None = None
        self.first = ""

    def check(self, session: LiveSession) -> PlayBack:
        """All rows up to the session's last; after the first difference the rest is still counted and digested."""
        for seq, kind, entry in entries(session.journal, session.rows):
            if kind == EVENT:
                self._event(seq, entry)
            elif kind == COMMAND:
                self._command(seq, entry)
        self._none_left(session.rows)
        digests = self._hashers[0].hexdigest(), self._hashers[1].hexdigest()
        return PlayBack(self.events, (self.commands[0], self.commands[1]), digests, self.row, self.first)

    def _event(self, seq: int, event: Any) -> None:
        self._none_left(seq - 1)
        self.events, self._after = self.events + 1, seq
        try:
            said = self.core.on(event)
        except FleaError as error:
            self._part(seq, f"the core refuses this {type(event).__name__}: {error}")
            return
        for command in said:
            self._count(1, command)
        self._due.extend(said)

    def _command(self, seq: int, command: Entry) -> None:
        self._count(0, command)
        if not self._due:
            self._part(seq, f"the journal has {_told(command)}, the core says nothing")
            return
        ours = self._due.popleft()
        if self._encode(ours) != self._encode(command):
            self._part(seq, f"the journal has {_told(command)}\n  the core says {_told(ours)}{_changed(command, ours)}")

    def _none_left(self, seq: int) -> None:
        if self._due:
            self._part(
                seq, f"after the event in row {self._after} the core says {_told(self._due[0])}, the journal not"
            )
            self._due.clear()

    def _count(self, side: int, command: Any) -> None:
        self.commands[side] += 1
        self._hashers[side].update(self._encode(command) + b"\n")

    def _part(self, seq: int, what: str) -> None:
        if not self.first:
            self.row, self.first = seq, f"row {seq}: {what}"


def replay_session(session: LiveSession) -> SessionReplay:
    """The market that the session heard through the research replay, beside the session.

    Warm-ups, halts and resumes are given to the replay's core where the session's got them.
    """
    heard = session.heard
    candles = heard.candles()
    silent = [symbol for symbol, frame in candles.items() if frame.empty]
    if silent:
        return _nothing(session, f"no candle of {', '.join(silent)} was heard")
    market = build_market(session.config, candles, heard.funding(), _features(session))
    at = {int(close): i for i, close in enumerate(market.close_ns)}
    controls = {at[ts]: Controls(*told) for ts, told in heard.controls.items()}
    core = _core(session)
    seen = replay(market, core, build_exchange(session.config), controls=controls)
    live = {
        int(ts): round(usd * USD) for ts, usd in zip(session.equity["ts"], session.equity["equity_usd"], strict=True)
    }
    return SessionReplay(
        matching=session.matching,
        bars=market.n,
        decisions=(len(session.stream), len(seen.decisions)),
        digests=(session.decisions_digest, digest(seen.decisions, session.config.symbols)),
        equity=pd.DataFrame({"ts": market.close_ns // MS_NS, "equity_usd": seen.equity / USD}),
        fills=(len(session.fills), len(seen.fills)),
        costs_usd=(
            float(session.fills["fee_usd"].sum() + session.fills["slippage_usd"].sum()),
            (int(core.ledger.book[:, FEES].sum()) + _slippage_uusd(market, seen)) / USD,
        ),
        first=first_parting(session.config, market, 0, seen.decisions, session.stream, seen.equity, live),
        unfilled=_unfilled(session),
        stream=seen.decisions,
    )


def _features(session: LiveSession) -> dict[str, Featured]:
    """The features of the bars by symbol, measured from the session's own events; empty where its config reads none."""
    config = session.config
    if not features_needed(config, alphas(config)):
        return {}
    found = {}
    for symbol, how in feature_settings(config).items():
        events = (entry for _, kind, entry in entries(session.journal, session.rows) if kind == EVENT)
        found[symbol] = Featured(features_of(_of_market(events), config.interval, how, symbol), how)
    return found


def _of_market(events: Iterable[Entry]) -> Iterator[Entry]:
    """What of a journal's events is of the market."""
    return (event for event in events if isinstance(event, Message))


def _core(session: LiveSession) -> TradingCore:
    return build_core(
        session.config,
        alphas(session.config),
        0,
        prefix=session.prefix,
        cash_uusd=session.cash_uusd,
        limit_ttl_ns=session.limit_ttl_ns,
    )


def _nothing(session: LiveSession, why: str) -> SessionReplay:
    curve = pd.DataFrame({"ts": np.zeros(0, np.int64), "equity_usd": np.zeros(0)})
    return SessionReplay(
        matching=session.matching,
        bars=0,
        decisions=(len(session.stream), 0),
        digests=(session.decisions_digest, ""),
        equity=curve,
        fills=(len(session.fills), 0),
        costs_usd=(0.0, 0.0),
        first="",
        why=why,
    )


def _unfilled(session: LiveSession) -> dict[str, int]:
    left = session.orders.loc[session.orders["filled"] < session.orders["qty"], "status"]
    return {str(state): int(n) for state, n in left.value_counts(sort=False).items()}


def _slippage_uusd(market: Market, seen: Replayed) -> int:
    """What the replay's fills lost against their decisions' prices, micro-dollars."""
    grids = dict(zip(market.symbols, market.grids, strict=True))
    lost = 0
    for fill, decided in zip(seen.fills, seen.decision_ticks, strict=True):
        moved = (fill.price_ticks - decided) * (1 if fill.side == "buy" else -1)
        lost += nearest(fill.lots * moved * grids[fill.symbol].unit_num, grids[fill.symbol].unit_den)
    return lost


def _told(command: Any) -> str:
    """A command in a few words."""
    match type(command).__name__:
        case "NewOrder":
            return (
                f"NewOrder {command.client_order_id}: {command.side} {command.lots} lots of {command.symbol} "
                f"at {command.price_ticks} ticks"
            )
        case "CancelOrder":
            return f"CancelOrder {command.client_order_id}"
        case "Refused":
            return f"Refused {command.intent.side} {command.intent.symbol}: {command.reason}"
    return f"{type(command).__name__} {getattr(command, 'text', '')!r}"


def _changed(journal: Any, core: Any) -> str:
    """The fields in which two commands of one kind differ."""
    if type(journal) is not type(core):
        return ""
    pairs = [(name, getattr(journal, name), getattr(core, name)) for name in journal.__struct_fields__]
    return "".join(f"\n  {name}: {_brief(a)} there, {_brief(b)} here" for name, a, b in pairs if a != b)


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

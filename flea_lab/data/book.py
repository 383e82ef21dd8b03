"""A venue's book, kept from its own messages, readable only while nothing can be missing from it.

A book is waiting (no snapshot yet), synced or broken. A diff is applied only to a synced book and only where the
venue's numbers say that it is the next; any doubt breaks the book in that same event: it cannot be read, and `Resync`
asks for a snapshot. Meanwhile diffs are kept where the venue joins them to the snapshot by number
(`BookRules.buffered`), and dropped where the snapshot comes in the stream itself. A snapshot replaces everything; the
diffs kept are applied to it by number, and the book is synced again. What is older than the book is ignored, and said.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from flea_lab.data.book_check import snapshot_fault, top_fault
from flea_lab.data.book_notes import LevelNames, LevelNumbers, Spelling
from flea_lab.data.book_past import Past
from flea_lab.data.book_rules import BookRules
from flea_lab.data.book_side import BookSide
from flea_lab.model.book import is_sound
from flea_lab.model.finding import Finding, Kind, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Levels
from flea_lab.model.vouched import Vouched

Told = tuple[Finding | Resync, ...]

MOST_BUFFERED = 5_000
"""Diffs kept while a snapshot is awaited."""
REMEMBERED = 1_000
"""Numbers of diffs remembered, to tell one that was told before from one that is merely old."""
MOST_REGRESSED = 3
"""Whole books in a row older than ours that are ignored before ours is thought to be the one with the wrong time."""


class BookSync:
    """One symbol's book by one venue's rules. `book` is None while it cannot be vouched for."""

    __slots__ = (
        *("symbol", "rules", "venue", "depth", "book", "_proof", "_start", "_linked", "_ranged", "_plain", "_easy"),
        *("_most", "_bids", "_asks", "_past", "_spelling", "_names", "_numbers", "_seq", "_ts", "_recent", "_newest"),
        *("_synced", "_joining", "_flowing", "_replaying", "_open", "_asked", "_buffer", "_missed", "_regressed"),
    )

    def __init__(self, symbol: str, rules: BookRules, depth: int = 20, venue: str = "") -> None:
        """Waiting for a snapshot; serves the best `depth` levels a side, or as many as the venue's checksum covers."""
        self.book: Vouched | None = None
        """The best levels as the venue has them; None while that is not certain."""
        self.symbol = symbol
        self.rules = rules
        self.venue = venue or rules.name
        self._proof = rules.proof
        self.depth = depth if rules.checked is None else min(depth, rules.checked)
        self._bids, self._asks = BookSide(1, rules.keep), BookSide(-1, rules.keep)
        self._spelling = Spelling() if rules.checksum else None
        self._names = LevelNames() if rules.continuity == "time" else None
        self._numbers = LevelNumbers() if rules.continuity == "offsets" else None
        self._start = _START.get(rules.continuity)
        noted = self._spelling or self._names or self._numbers
        self._easy = not (noted or rules.natural or rules.buffered)
        self._most = inf if rules.levels is None else rules.levels
        self._plain = self._start is not None and self._spelling is None
        self._linked, self._ranged = rules.continuity == "linked", rules.continuity == "range"
        self._flowing = False
        self._synced = False
        self._joining = False
        self._replaying = False
        self._open: Finding | None = None
        self._asked = False
        self._buffer: list[BookDelta] = []
        self._missed = (0, 0)
        self._recent: deque[int] = deque(maxlen=REMEMBERED)
        self._newest = 0
        self._regressed = 0
        self._seq: int | None = None
        self._ts = 0
        self._past: Past | None = None

    def on(self, event: BookSnapshot | BookDelta) -> Told:
        """Takes the next message of the channel; what was found wrong with it, and whether a snapshot is needed."""
        if type(event) is not BookDelta:
            return self._snapshot(event)  # type: ignore[arg-type]
        seq, ts = event.seq, event.ts_event
        if self._flowing and seq is not None and ts >= self._ts:  # what almost every diff is
            last = self._seq or 0
            if self._linked:
                follows = event.prev_seq == last
            elif self._ranged:
                follows = event.first_seq == last + 1
            else:
                follows = seq == last + 1
            if follows:
                self._recent.append(seq)
                return self._apply(event, event.bids, event.asks)
        return self._delta(event)

    def lost(self, ts_event: int, kind: Kind = "disconnected") -> Told:
        """Takes that messages may be missing from `ts_event` on: nothing is certain until the next snapshot."""
        return self._break(kind, ts_event, "") if self._synced else ()

    def _delta(self, event: BookDelta) -> Told:
        """The next diff: joined, ignored, kept or a break."""
        if not self._synced:
            return self._keep(event)
        start = self._start
        if start is None:
            return self._unnumbered(event)
        before, last, seq = start(event), self._seq, event.seq
        if seq is None or before is None or last is None:
            return self._gap(event, "without its number")
        if self._joining:
            if not self._joins(event, before, last, seq):
                return self._apart(event, before, last, seq)
            if not self._replaying:
                self._recent.append(seq)
            told = self._apply(event, event.bids, event.asks)
            return (*told, *self._good(event.ts_event))
        if before != last:
            return self._apart(event, before, last, seq)
        if event.ts_event < self._ts:
            return self._gap(event, f"{self._ts - event.ts_event} ns back", "time_regress")
        if not self._replaying:
            self._recent.append(seq)
        return self._apply(event, event.bids, event.asks)

    def _joins(self, event: BookDelta, before: int, last: int, seq: int) -> bool:
        """Whether the diff may be the first after the snapshot."""
        match self.rules.joins:
            case "covers":
                return before <= last < seq
            case "straddles":
                return event.first_seq is not None and event.first_seq <= last <= seq
        return before == last

    def _apart(self, event: BookDelta, before: int, last: int, seq: int) -> Told:
        """A diff that is not the next: an old one, or one before which something is missing."""
        if seq <= last:
            return self._old(event, seq, last)
        self._missed = (last, before)
        return self._gap(event, f"from {before} to {seq} after {last}")

    def _unnumbered(self, event: BookDelta) -> Told:
        """A diff of a venue that does not number them one by one."""
        bids, asks = event.bids, event.asks
        rules = self.rules
        if rules.continuity == "whole":
            return self._break("gap", event.ts_event, "a diff where only whole books are due")
        if rules.continuity == "rising":
            if event.seq is None:
                return self._gap(event, "without its number")
            if self._seq is not None and event.seq <= self._seq:
                return () if self._joining else self._gap(event, f"{event.seq} after {self._seq}", "out_of_order")
        told: Told = (self._back(event),) if event.ts_event < self._ts else ()
        if told and rules.continuity == "time" and not rules.checksum:
            return self._break("time_regress", event.ts_event, f"{self._ts - event.ts_event} ns back")
        if self._numbers is not None:
            bids, asks = self._numbers.newer(event)
        elif event.changes and self._names is not None:
            bids, asks, wrong = self._names.resolve(event.changes)
            if wrong:
                return (*told, *self._gap(event, wrong))
        return (*told, *self._apply(event, bids, asks))

    def _apply(self, event: BookDelta, bids: Levels, asks: Levels) -> Told:
        """The diff is the next: the book has it, and breaks where that makes it impossible."""
        our_bids, our_asks = self._bids, self._asks
        if self._joining:
            our_bids.open()
            our_asks.open()
        past = self._past
        if past is None or len(past.changes) >= past.most:
            past = self._begin()
        past.changes.append((bids, asks))
        wrong = our_bids.apply(bids) if bids else None
        if asks and wrong is None:
            wrong = our_asks.apply(asks)
        ts, ts_recv, seq = event.ts_event, event.ts_recv, event.seq
        if wrong is not None:
            return self._break(wrong, ts, "a level's price or size")
        self._seq, self._ts = seq, ts
        self._joining, self._flowing = False, self._plain
        bid, ask = our_bids.top, our_asks.top
        if bid < ask:
            self.book = Vouched(self.symbol, ts, ts_recv, seq, bid, ask, self._proof, past, len(past.changes))
        else:
            fault = top_fault(bid, ask, self.rules)
            if fault is not None:
                return self._break(fault[0], ts, fault[1])
            self.book = None
        if self._spelling is not None:
            self._spelling.note(bids, asks, event.texts)
            return self._check_sum(event)
        return ()

    def _check_sum(self, event: BookDelta | BookSnapshot) -> Told:
        """Compares the venue's sum over the best levels with ours; a diff without one cannot be vouched for."""
        spelling, told = self._spelling, event.checksum
        if spelling is None or (told is None and isinstance(event, BookSnapshot)):
            return ()
        count = self.rules.checked or self.depth
        sums = {"okx": spelling.okx_sum, "kraken": spelling.kraken_sum}
        ours = sums[self.rules.checksum](self._bids.best(count), self._asks.best(count))
        if told == ours:
            return ()
        return self._break("checksum", event.ts_event, f"{ours}, the venue says {told}")

    def _keep(self, event: BookDelta) -> Told:
        """A diff that nothing can be done with before a snapshot."""
        seq = event.seq
        if seq is None or self._replaying or self._start is None:
            return self._hold(event)
        known = seq in self._recent
        if known:
            return (self._found("duplicate", event.ts_event, f"{seq}", "ignored"),)
        late = seq < self._newest
        self._newest = max(self._newest, seq)
        self._recent.append(seq)
        if not late:
            return self._hold(event)
        done = "kept" if self.rules.buffered else "dropped"
        found = self._found("out_of_order", event.ts_event, f"{seq} after {self._newest}", done)
        return (found, *self._hold(event))

    def _hold(self, event: BookDelta) -> Told:
        """Keeps the diff where its venue joins diffs to a snapshot by number."""
        if not self.rules.buffered:
            return ()
        if len(self._buffer) >= MOST_BUFFERED:
            self._buffer.clear()
            self._asked = False
            detail = f"{MOST_BUFFERED} diffs without a snapshot"
            return (self._found("overflow", event.ts_event, detail, "dropped"), *self._ask("overflow"))
        self._buffer.append(event)
        return self._ask("start")

    def _old(self, event: BookDelta, seq: int, last: int) -> Told:
        """A diff that is older than the book: told before, late, or of a counter that began again."""
        if self._replaying:
            return ()
        if seq in self._recent:
            return (self._found("duplicate", event.ts_event, f"{seq} after {last}", "ignored"),)
        after, until = self._missed
        late = seq < self._newest if self._joining else after < seq <= until
        if late:
            return (self._found("out_of_order", event.ts_event, f"{seq} after {last}", "ignored"),)
        if self._joining:  # on its way since before the snapshot
            self._newest = seq
            self._recent.append(seq)
            return ()
        return self._gap(event, f"{seq} after {last}", "out_of_order")

    def _back(self, event: BookDelta) -> Finding:
        """The finding that a diff's time is before the book's."""
        return self._found("time_regress", event.ts_event, f"{self._ts - event.ts_event} ns back", "in its order")

    def _gap(self, event: BookDelta, detail: str, kind: Kind = "gap") -> Told:
        """Something is missing before this diff."""
        if self._replaying and self._joining:
            kind = "old_snapshot"
        told = self._break(kind, event.ts_event, detail)
        self._newest = event.seq or 0
        if kind == "out_of_order":
            return told
        return (*told, *self._keep(event))

    def _break(self, kind: Kind, ts_event: int, detail: str) -> Told:
        """From now on the book cannot be read."""
        self._synced = self._flowing = False
        self._end()
        self._bids.load(())
        self._asks.load(())
        found = self._found(kind, ts_event, detail)
        if self._open is None:
            self._open = found
        self._asked = False
        return (found, *self._ask(kind))

    def _begin(self) -> Past:
        """A new past from here on: who holds an earlier look at the book has all that it was made of."""
        if self._past is not None:
            self._past.live = False
        self._past = Past(self._bids, self._asks, self.depth)
        return self._past

    def _end(self) -> None:
        """The book goes, its past stays with those who hold a look at it."""
        if self._past is not None:
            self._past.live = False
        self._past = self.book = None

    def _ask(self, reason: Kind) -> Told:
        """Asks for a snapshot, once for every time that the book breaks."""
        if self._asked or self.rules.continuity == "whole":
            return ()
        self._asked = True
        return (Resync(symbol=self.symbol, reason=reason),)

    def _snapshot(self, event: BookSnapshot) -> Told:
        """A whole book: ignored where it is older than ours, else ours from now on."""
        if self._synced and self._easy and self._due(event):  # what almost every one is
            bids, asks = event.bids, event.asks
            if is_sound(bids, asks) and len(bids) <= self._most >= len(asks):
                return self._whole(bids, asks, event)
        ignored, told = self._place(event)
        if ignored:
            return told
        bids, asks = event.bids, event.asks
        if "zero" in self.rules.natural:
            bids, asks = tuple([level for level in bids if level[1]]), tuple([level for level in asks if level[1]])
        fault = snapshot_fault(bids, asks, self.rules)
        if fault is not None:
            return (*told, *self._break(fault[0], event.ts_event, fault[1]))
        self._whole(bids, asks, event)
        for notes in (self._names, self._numbers, self._spelling):
            if notes is not None:
                notes.load(event)
        if not self._bids.top < self._asks.top or self.rules.joins == "straddles":
            self.book = None
        told = (*told, *self._check_sum(event))
        told = (*told, *self._replay())
        return told if self.book is None and self._joining else (*told, *self._good(event.ts_event))

    def _due(self, event: BookSnapshot) -> bool:
        """Whether a whole book is the next, or at least no older than ours."""
        seq, last = event.seq, self._seq
        if seq is None or last is None:
            return event.ts_event >= self._ts
        return seq == last + 1 if self.rules.continuity == "next" else seq >= last

    def _whole(self, bids: Levels, asks: Levels, event: BookSnapshot) -> Told:
        """The book is what a snapshot says."""
        if self._past is not None:
            self._end()
        self._bids.load(bids)
        self._asks.load(asks)
        self._regressed = 0
        self._synced = self._joining = True
        self._flowing = self._asked = False
        seq, ts, depth = event.seq, event.ts_event, self.depth
        self._seq, self._ts = seq, ts
        bid, ask = self._bids.top, self._asks.top
        served = (bids, asks) if self._most <= depth else (self._bids.best(depth), self._asks.best(depth))
        self.book = Vouched(self.symbol, ts, event.ts_recv, seq, bid, ask, self._proof, None, 0, served)
        return ()

    def _good(self, ts_event: int) -> Told:
        """The end of what broke the book, where it is synced again."""
        first = self._open
        if first is None or not self._synced:
            return ()
        self._open = None
        return (self._found(first.kind, first.ts_from, first.detail, "snapshot", ts_event),)

    def _place(self, event: BookSnapshot) -> tuple[bool, Told]:
        """Whether the snapshot is to be ignored, and what is wrong with its place in the order of things."""
        if not self._synced:
            return False, ()
        seq, last = event.seq, self._seq
        if seq is not None and last is not None:
            if seq < last:
                return True, (self._found("out_of_order", event.ts_event, f"{seq} after {last}", "ignored"),)
            if self.rules.continuity == "next" and seq == last:
                return True, (self._found("duplicate", event.ts_event, f"{seq} after {last}", "ignored"),)
            if self.rules.continuity == "next" and seq > last + 1:
                return False, (self._found("gap", event.ts_event, f"{seq} after {last}", "snapshot"),)
        elif event.ts_event < self._ts:
            self._regressed += 1
            if self._regressed > MOST_REGRESSED:
                return False, self._break("time_regress", event.ts_event, f"{self._ts - event.ts_event} ns back")
            detail = f"{self._ts - event.ts_event} ns back"
            return True, (self._found("time_regress", event.ts_event, detail, "ignored"),)
        return False, ()

    def _replay(self) -> Told:
        """The diffs that were kept, joined to the snapshot by number."""
        kept, self._buffer = self._buffer, []
        told: list[Finding | Resync] = []
        self._replaying = True
        for event in sorted(kept, key=lambda event: event.seq or 0):
            told += self._delta(event)
        self._replaying = False
        return tuple(told)

    def _found(self, kind: Kind, ts: int, detail: str, resolved: str = "", until: int | None = None) -> Finding:
        ended = until if until is not None else ts if resolved else None
        return Finding(
            kind=kind,
            channel="book",
            symbol=self.symbol,
            ts_from=ts,
            ts_to=ended,
            detail=detail,
            resolved=resolved,
            venue=self.venue,
        )


def _next(event: BookDelta) -> int | None:
    return None if event.seq is None else event.seq - 1


def _linked(event: BookDelta) -> int | None:
    return event.prev_seq


def _range(event: BookDelta) -> int | None:
    return None if event.first_seq is None else event.first_seq - 1


_START: dict[str, Callable[[BookDelta], int | None]] = {"next": _next, "linked": _linked, "range": _range}
"""The number after which a diff's changes begin: the book must stand exactly there."""

"""A look at a book never changes: read late it says what it would have said at once."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.data import book_past
from flea_lab.data.book import BookSync
from flea_lab.data.book_check import number_fault, snapshot_fault
from flea_lab.data.book_rules import BookRules, book_rules
from flea_lab.data.book_side import LEAST, BookSide
from flea_lab.model.book import book_fault, is_sound
from flea_lab.model.market import BookDelta, BookSnapshot, Levels
from flea_lab.model.vouched import Vouched

RULE = book_rules("kraken_futures")
TICKS = 8
Book = tuple[Levels, Levels]


def whole(seq: int, bids: dict[float, float], asks: dict[float, float]) -> BookSnapshot:
    return BookSnapshot(symbol="X", ts_event=seq, ts_recv=seq, seq=seq, bids=best(bids, -1), asks=best(asks, 1))


def best(side: dict[float, float], sign: int, count: int = 10_000) -> Levels:
    """The truth: a plain dict, sorted."""
    return tuple(sorted(((p, q) for p, q in side.items() if q), key=lambda level: sign * level[0])[:count])


def market(seed: int, messages: int, wide: int = TICKS) -> Iterator[tuple[BookSnapshot | BookDelta, Book | None]]:
    """Diffs of a book that walks, is lost and comes back, each with the book after it (None: it cannot be read)."""
    rng = random.Random(seed)
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    mid, seq, there = 1_000, 0, False
    for _ in range(messages):
        seq += 1
        mid += rng.choice((-1, 0, 0, 1))
        if not there or rng.random() < 0.01:
            bids = {(mid - i) / 10: 1.0 + rng.randrange(9) for i in range(1, wide)}
            asks = {(mid + i) / 10: 1.0 + rng.randrange(9) for i in range(1, wide)}
            there = True
            yield whole(seq, bids, asks), (best(bids, -1), best(asks, 1))
            continue
        if rng.random() < 0.02:  # a diff is lost
            there = False
            yield BookDelta(symbol="X", ts_event=seq, ts_recv=seq, prev_seq=seq, seq=seq + 1), None
            seq += 1
            continue
        told: list[list[tuple[float, float]]] = [[], []]
        for _ in range(rng.randrange(6)):
            way, away = rng.randrange(2), 1 + min(rng.randrange(wide), rng.randrange(wide))
            price = (mid - away if way == 0 else mid + away) / 10
            told[way].append((price, rng.choice((0.0, 1.0, 2.5, 7.0))))
        for way, side in enumerate((bids, asks)):
            for price in [p for p in side if (p >= mid / 10 if way == 0 else p <= mid / 10)]:
                told[way].append((price, 0.0))  # what the walk has reached is traded away
            side.update(told[way])
        diff = BookDelta(symbol="X", ts_event=seq, ts_recv=seq, seq=seq, bids=tuple(told[0]), asks=tuple(told[1]))
        full = best(bids, -1), best(asks, 1)
        there = bool(full[0] and full[1])
        yield diff, full if there else None


def played(seed: int, messages: int, depth: int = 5, wide: int = TICKS) -> list[tuple[Vouched, Book]]:
    """Every look that could be had at a market, unread, and what it must say."""
    sync, looks = BookSync("X", RULE, depth), []
    for event, truth in market(seed, messages, wide):
        sync.on(event)
        assert (sync.book is None) == (truth is None)
        if sync.book is not None and truth is not None:
            looks.append((sync.book, (truth[0][:depth], truth[1][:depth])))
    return looks


def says(look: Vouched) -> Book:
    return look.bids, look.asks


@pytest.mark.parametrize("order", ["as they came", "backwards", "shuffled"])
def test_a_look_that_is_read_late_says_what_the_book_was_then(order: str) -> None:
    looks = played(1, 2_000)
    assert len(looks) > 1_500
    if order == "backwards":
        looks.reverse()
    elif order == "shuffled":
        random.Random(2).shuffle(looks)
    for look, truth in looks:
        assert says(look) == truth
        assert (look.bid, look.ask) == (truth[0][0][0], truth[1][0][0])


def test_a_look_that_is_read_at_once_says_the_same_ever_after() -> None:
    sync, looks = BookSync("X", RULE, 5), []
    rng = random.Random(3)
    for event, _ in market(4, 2_000):
        sync.on(event)
        if sync.book is not None:
            looks.append((sync.book, says(sync.book) if rng.random() < 0.3 else None))
    again = played(4, 2_000)
    assert [says(look) for look, _ in looks] == [truth for _, truth in again]
    assert all(said is None or said == says(look) for look, said in looks)


@given(seed=st.integers(0, 10_000), depth=st.integers(1, 12), wide=st.integers(2, 30), kept=st.integers(1, 40))
def test_whatever_is_kept_and_whenever_it_is_read(seed: int, depth: int, wide: int, kept: int) -> None:
    """Looks are read `kept` messages after they were had, every seventh at once."""
    waiting: list[tuple[Vouched, Book]] = []
    sync = BookSync("X", RULE, depth)
    for at, (event, truth) in enumerate(market(seed, 120, wide)):
        sync.on(event)
        assert (sync.book is None) == (truth is None)
        if sync.book is not None and truth is not None:
            expected = truth[0][:depth], truth[1][:depth]
            if at % 7 == 0:
                assert says(sync.book) == expected
            waiting.append((sync.book, expected))
        if len(waiting) > kept:
            look, expected = waiting.pop(0)
            assert says(look) == expected
    assert all(says(look) == expected for look, expected in waiting)


def test_an_unread_look_outlives_the_break_of_its_book_and_the_next_snapshot() -> None:
    sync = BookSync("X", RULE)
    sync.on(whole(1, {9.0: 1.0}, {11.0: 1.0}))
    first = sync.book
    sync.on(BookDelta(symbol="X", ts_event=2, ts_recv=2, seq=2, bids=((9.5, 2.0),)))
    second = sync.book
    assert first is not None and second is not None
    sync.lost(3)
    assert sync.book is None
    sync.on(whole(7, {1.0: 1.0}, {2.0: 1.0}))
    sync.on(BookDelta(symbol="X", ts_event=8, ts_recv=8, seq=8, asks=((1.5, 2.0),)))
    assert says(first) == (((9.0, 1.0),), ((11.0, 1.0),))
    assert says(second) == (((9.5, 2.0), (9.0, 1.0)), ((11.0, 1.0),))
    assert second.snapshot().seq == 2
    assert second.past is None, "what it was made of is let go"


def test_a_look_cannot_be_changed_and_equals_one_that_was_read() -> None:
    (late, _), (read, _) = played(5, 50)[-1], played(5, 50)[-1]
    says(read)
    assert late == read and hash(late) == hash(read)
    assert late != played(6, 50)[-1][0]
    with pytest.raises(AttributeError, match="immutable type"):
        late.bid = 1.0  # type: ignore[misc]


def test_a_past_holds_no_more_changes_than_it_may() -> None:
    sync = BookSync("X", RULE)
    sync.on(whole(1, {9.0: 1.0}, {11.0: 1.0}))
    pasts = set()
    for seq in range(2, 1_000):
        sync.on(BookDelta(symbol="X", ts_event=seq, ts_recv=seq, seq=seq, bids=((9.0, float(seq)),)))
        assert sync.book is not None and sync.book.past is not None
        pasts.add(sync.book.past)
    assert {len(past.changes) for past in pasts if isinstance(past, book_past.Past)} == {book_past.LEAST, 998 % 128}


def test_removed_levels_do_not_pile_up() -> None:
    side = BookSide(1)
    side.load(((100.0, 1.0),))
    side.open()
    for price in range(1, 20_000):
        side.apply(((100.0 + price, 1.0), (99.0 + price, 0.0), (price / 1_000, 1.0), (price / 1_000, 0.0)))
        assert len(side.held) == len(side.prices) <= 2 * LEAST + 4
    assert side.best(3) == ((20_099.0, 1.0),)


FAULTY = (0.0, -1.0, float("nan"), float("inf"), -float("inf"))


@given(
    bids=st.lists(st.tuples(st.sampled_from((9.0, 8.0, 7.0, *FAULTY)), st.sampled_from((1.0, 2.0, *FAULTY)))),
    asks=st.lists(st.tuples(st.sampled_from((8.5, 10.0, 11.0, *FAULTY)), st.sampled_from((1.0, 2.0, *FAULTY)))),
)
def test_the_quick_look_and_the_full_check_find_the_same(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]]
) -> None:
    rules = BookRules(name="x", continuity="whole", proof="whole")
    book = BookSnapshot(symbol="X", ts_event=0, ts_recv=0, seq=None, bids=tuple(bids), asks=tuple(asks))
    assert is_sound(book.bids, book.asks) == (snapshot_fault(book.bids, book.asks, rules) is None)
    assert is_sound(book.bids, book.asks) == (book_fault(book) == "")


@pytest.mark.parametrize("keep", [None, 2])
@given(changes=st.lists(st.tuples(st.sampled_from((9.0, 8.0, 7.0, *FAULTY)), st.sampled_from((0.0, 1.0, *FAULTY)))))
def test_the_first_impossible_level_of_a_diff_is_named(changes: list[tuple[float, float]], keep: int | None) -> None:
    first = next((f for p, q in changes if (f := number_fault(p) or (number_fault(q) if q else None))), None)
    side = BookSide(1, keep)
    side.open()
    assert (side.apply(tuple(changes)) if changes else None) == first


@given(seed=st.integers(0, 10_000), keep=st.integers(1, 6))
def test_a_side_that_forgets_holds_the_best_and_nothing_removed(seed: int, keep: int) -> None:
    rng, side, truth = random.Random(seed), BookSide(-1, keep), dict[float, float]()
    side.open()
    for _ in range(60):
        changes = [(float(rng.randrange(1, 12)), rng.choice((0.0, 1.0, 2.0))) for _ in range(rng.randrange(1, 4))]
        side.apply(tuple(changes))
        for price, size in changes:
            truth[price] = size
        truth = dict(best(truth, 1, keep))
        assert side.best(99) == best(truth, 1) and len(side.held) == len(side.prices) == len(truth)

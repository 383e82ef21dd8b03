"""A book is readable only where it is the venue's own."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import RULES, book_rules
from flea_lab.errors import DataError
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Levels

Told = tuple[Finding | Resync, ...]
BIDS = ((99.0, 1.0), (98.0, 2.0))
ASKS = ((101.0, 1.0), (102.0, 2.0))


def whole(seq: int | None, bids: Levels = BIDS, asks: Levels = ASKS, ts: int = 1) -> BookSnapshot:
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=seq, bids=bids, asks=asks)


def futures(before: int, seq: int, bids: Levels = (), asks: Levels = (), ts: int = 2) -> BookDelta:
    """A diff of Binance futures: changes after `before` up to `seq`."""
    return BookDelta(
        symbol="X", ts_event=ts, ts_recv=ts, first_seq=before + 1, prev_seq=before, seq=seq, bids=bids, asks=asks
    )


def spot(first: int, seq: int, bids: Levels = (), asks: Levels = (), ts: int = 2) -> BookDelta:
    return BookDelta(symbol="X", ts_event=ts, ts_recv=ts, first_seq=first, seq=seq, bids=bids, asks=asks)


def numbered(seq: int, bids: Levels = (), asks: Levels = (), ts: int = 2) -> BookDelta:
    return BookDelta(symbol="X", ts_event=ts, ts_recv=ts, prev_seq=seq - 1, seq=seq, bids=bids, asks=asks)


def kinds(told: Told) -> list[str]:
    return [f"ask {one.reason}" if isinstance(one, Resync) else f"{one.kind} {one.resolved}".strip() for one in told]


def a_sync(name: str, *events: BookSnapshot | BookDelta) -> BookSync:
    sync = BookSync("X", book_rules(name))
    for event in events:
        sync.on(event)
    return sync


def levels(sync: BookSync) -> tuple[Levels, Levels] | None:
    return None if sync.book is None else (sync.book.bids, sync.book.asks)


def test_there_is_no_book_before_a_snapshot() -> None:
    sync = BookSync("X", book_rules("binance_um"))
    assert sync.book is None
    assert kinds(sync.on(futures(4, 5))) == ["ask start"]
    assert sync.on(futures(5, 6)) == (), "asked once"
    assert sync.book is None


def test_a_diff_sets_and_removes_levels() -> None:
    sync = a_sync("binance_um", whole(10))
    assert sync.on(futures(10, 12, bids=((99.0, 5.0), (98.0, 0.0)), asks=((100.5, 3.0), (103.0, 0.0)))) == ()
    assert levels(sync) == (((99.0, 5.0),), ((100.5, 3.0), (101.0, 1.0), (102.0, 2.0)))
    assert sync.book is not None
    assert (sync.book.seq, sync.book.ts_event, sync.book.proof) == (12, 2, "sequence")
    assert (sync.book.bid, sync.book.ask, sync.book.mid) == (99.0, 100.5, 99.75)
    assert sync.book.depth_at_bps(80.0) == (5.0, 3.0)
    assert sync.book.spread_bps == pytest.approx(1.5 / 99.75 * 1e4)


def test_diffs_from_before_the_snapshot_are_joined_by_number() -> None:
    """Binance futures: what ends before the snapshot is dropped, the first may straddle it, then pu = last u."""
    sync = BookSync("X", book_rules("binance_um"))
    sync.on(futures(4, 6, bids=((97.0, 9.0),)))
    sync.on(futures(6, 9, bids=((96.0, 9.0),)))
    sync.on(futures(9, 12, asks=((101.0, 7.0),)))
    assert sync.on(whole(8)) == ()
    assert levels(sync) == (((99.0, 1.0), (98.0, 2.0), (96.0, 9.0)), ((101.0, 7.0), (102.0, 2.0)))


def test_spot_diffs_join_where_the_first_number_is_not_beyond_the_next() -> None:
    sync = a_sync("binance_spot", spot(5, 11, bids=((99.0, 4.0),)), whole(10))
    assert sync.book is not None and sync.book.bids[0] == (99.0, 4.0)
    assert sync.on(spot(12, 13, bids=((99.0, 3.0),))) == ()
    assert kinds(sync.on(spot(15, 16))) == ["gap", "ask gap"]
    assert sync.book is None


def test_a_snapshot_older_than_the_diffs_kept_is_asked_for_again() -> None:
    sync = BookSync("X", book_rules("binance_um"))
    sync.on(futures(20, 22))
    assert kinds(sync.on(whole(18))) == ["old_snapshot", "ask old_snapshot"]
    assert sync.book is None
    assert kinds(sync.on(whole(21))) == ["old_snapshot snapshot"]
    assert sync.book is not None and sync.book.seq == 22


@pytest.mark.parametrize("name", ["seed", "kraken_futures", "deribit", "binance_um", "binance_cm"])
def test_a_gap_takes_the_book_away_in_the_same_event_until_a_snapshot(name: str) -> None:
    sync = a_sync(name, whole(10), numbered(11))
    assert kinds(sync.on(numbered(13, ts=5))) == ["gap", "ask gap"]
    assert sync.book is None
    assert sync.on(numbered(14)) == (), "said once"
    assert sync.book is None
    (closed,) = sync.on(whole(14, ts=9))
    assert isinstance(closed, Finding)
    assert (closed.kind, closed.ts_from, closed.ts_to, closed.resolved) == ("gap", 5, 9, "snapshot")
    assert sync.book is not None and sync.book.seq == 14


def test_what_the_book_already_holds_is_ignored_and_said() -> None:
    sync = a_sync("seed", whole(10), numbered(11, bids=((99.0, 8.0),)), numbered(12, bids=((99.0, 9.0),)))
    assert kinds(sync.on(numbered(11, bids=((99.0, 8.0),)))) == ["duplicate ignored"]
    assert kinds(sync.on(numbered(12, bids=((99.0, 8.0),)))) == ["duplicate ignored"]
    assert sync.book is not None and sync.book.bids[0] == (99.0, 9.0)


def test_a_late_diff_is_named_as_such() -> None:
    sync = a_sync("seed", whole(10))
    assert kinds(sync.on(numbered(12))) == ["gap", "ask gap"]
    assert kinds(sync.on(numbered(11))) == ["out_of_order dropped"]
    sync.on(whole(12))
    assert kinds(sync.on(numbered(11))) == [], "older than the snapshot that just came"
    sync.on(numbered(13))
    assert kinds(sync.on(numbered(11))) == ["out_of_order ignored"]


def test_a_lost_connection_takes_the_book_away() -> None:
    sync = a_sync("coinbase", whole(None))
    assert sync.book is not None
    assert kinds(sync.lost(7)) == ["disconnected", "ask disconnected"]
    assert sync.book is None
    assert sync.lost(8) == (), "said once"
    assert kinds(sync.on(whole(None, ts=9))) == ["disconnected snapshot"]
    assert sync.book is not None


def test_diffs_are_kept_in_bounds() -> None:
    sync = BookSync("X", book_rules("binance_um"))
    told = [one for at in range(1, 5_003) for one in sync.on(futures(at, at + 1))]
    assert kinds(tuple(told)) == ["ask start", "overflow dropped", "ask overflow"]


def test_unknown_rules_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="no book rules are called 'mtgox': seed, binance_spot"):
        book_rules("mtgox")


def test_more_levels_than_a_checksum_covers_are_not_served() -> None:
    assert BookSync("X", RULES["kraken_spot"], depth=20).depth == 10
    assert BookSync("X", RULES["okx"], depth=20).depth == 20


def a_true_history(seed: int, count: int) -> tuple[BookSnapshot, list[BookDelta], dict[int, tuple[Levels, Levels]]]:
    """A snapshot, the diffs after it, and the venue's own book at every number."""
    draw = random.Random(seed)
    bids, asks = dict(BIDS), dict(ASKS)
    diffs, truth, seq = [], {}, 10
    for _ in range(count):
        side = draw.random() < 0.5
        price = draw.choice([95.0, 96.0, 97.0, 98.0]) if side else draw.choice([102.0, 103.0, 104.0, 105.0])
        size = draw.choice([0.0, 1.0, 2.0, 3.0])
        book = bids if side else asks
        book.pop(price, None)
        if size:
            book[price] = size
        before, seq = seq, seq + draw.choice([1, 1, 1, 3])
        change = ((price, size),)
        diffs.append(futures(before, seq, bids=change if side else (), asks=() if side else change, ts=seq))
        truth[seq] = (tuple(sorted(bids.items(), reverse=True)), tuple(sorted(asks.items())))
    truth[10] = (BIDS, ASKS)
    return whole(10), diffs, truth


def check_against(truth: dict[int, tuple[Levels, Levels]], sync: BookSync) -> bool:
    book = sync.book
    if book is None:
        return False
    assert book.seq is not None
    assert (book.bids, book.asks) == truth[book.seq]
    return True


@given(st.integers(0, 10_000), st.data())
def test_no_shuffling_doubling_or_deleting_of_diffs_makes_a_wrong_book_readable(seed: int, data: st.DataObject) -> None:
    """Whatever arrives in whatever order: a book that can be read is the venue's at its number."""
    snapshot, diffs, truth = a_true_history(seed, 12)
    order = data.draw(st.lists(st.integers(-1, len(diffs) - 1), max_size=30))
    sync = BookSync("X", RULES["binance_um"])
    numbers = sorted(truth)
    for at in order:
        if at < 0:  # a snapshot, of any moment
            seq = data.draw(st.sampled_from(numbers))
            sync.on(whole(seq, *truth[seq], ts=seq))
        else:
            sync.on(diffs[at])
        check_against(truth, sync)
    sync.on(snapshot)


@given(st.integers(0, 10_000), st.integers(0, 11))
def test_with_one_diff_deleted_the_book_is_gone_at_the_next_and_back_with_the_snapshot(seed: int, gone: int) -> None:
    snapshot, diffs, truth = a_true_history(seed, 14)
    left: Sequence[BookDelta] = [*diffs[:gone], *diffs[gone + 1 :]]
    sync = a_sync("binance_um", snapshot)
    for at, diff in enumerate(left):
        told = sync.on(diff)
        assert check_against(truth, sync) == (at < gone)
        assert ("ask gap" in kinds(told)) == (at == gone)
    seq = diffs[gone].seq
    assert seq is not None
    sync.on(whole(seq, *truth[seq]))
    assert check_against(truth, sync)
    assert sync.book is not None and sync.book.seq == diffs[-1].seq

"""A book is readable only where it is the venue's own."""

import math
import random
import zlib
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import RULES, book_rules
from flea_lab.errors import DataError
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, LevelChange, LevelIds, Levels, LevelTexts

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
    sync = BookSync("X", book_rules("binance_spot"))
    assert sync.book is None
    assert kinds(sync.on(futures(4, 5))) == ["ask start"]
    assert sync.on(futures(5, 6)) == (), "asked once"
    assert sync.book is None


def test_a_diff_sets_and_removes_levels() -> None:
    sync = a_sync("binance_spot", whole(10))
    assert sync.on(futures(10, 12, bids=((99.0, 5.0), (98.0, 0.0)), asks=((100.5, 3.0), (103.0, 0.0)))) == ()
    assert levels(sync) == (((99.0, 5.0),), ((100.5, 3.0), (101.0, 1.0), (102.0, 2.0)))
    assert sync.book is not None
    assert (sync.book.seq, sync.book.ts_event, sync.book.proof) == (12, 2, "sequence")
    assert (sync.book.bid, sync.book.ask, sync.book.mid) == (99.0, 100.5, 99.75)
    assert sync.book.depth_at_bps(80.0) == (5.0, 3.0)
    assert sync.book.spread_bps == pytest.approx(1.5 / 99.75 * 1e4)


def test_futures_diffs_join_where_one_holds_the_snapshots_number_its_last_included() -> None:
    """Binance futures: what ends before the snapshot is dropped, what ends with it is applied, then pu = last u."""
    sync = BookSync("X", book_rules("binance_um"))
    sync.on(futures(4, 6, bids=((97.0, 9.0),)))
    sync.on(futures(6, 9, bids=((96.0, 9.0),)))
    sync.on(futures(9, 12, asks=((101.0, 7.0),)))
    assert sync.on(whole(9)) == ()
    assert levels(sync) == (((99.0, 1.0), (98.0, 2.0), (96.0, 9.0)), ((101.0, 7.0), (102.0, 2.0)))
    early = a_sync("binance_um", whole(9))
    assert early.book is None, "not before a diff has joined it"
    assert kinds(early.on(futures(9, 12))) == ["gap", "ask gap"], "the one that ended with 9 was never heard"
    assert early.book is None
    assert kinds(early.on(whole(12))) == ["gap snapshot"]
    assert early.on(futures(12, 15)) == ()
    assert early.book is not None and early.book.seq == 15


def test_spot_diffs_join_where_the_first_number_is_not_beyond_the_next() -> None:
    sync = a_sync("binance_spot", spot(5, 11, bids=((99.0, 4.0),)), whole(10))
    assert sync.book is not None and sync.book.bids[0] == (99.0, 4.0)
    assert sync.on(spot(12, 13, bids=((99.0, 3.0),))) == ()
    assert kinds(sync.on(spot(15, 16))) == ["gap", "ask gap"]
    assert sync.book is None


def test_a_snapshot_older_than_the_diffs_kept_is_asked_for_again() -> None:
    sync = BookSync("X", book_rules("binance_spot"))
    sync.on(futures(20, 22))
    assert kinds(sync.on(whole(18))) == ["old_snapshot", "ask old_snapshot"]
    assert sync.book is None
    assert kinds(sync.on(whole(21))) == ["old_snapshot snapshot"]
    assert sync.book is not None and sync.book.seq == 22


@pytest.mark.parametrize("name", ["seed", "kraken_futures", "deribit"])
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
    sync = a_sync("seed", whole(10), numbered(12), whole(12))
    assert kinds(sync.on(numbered(11))) == ["out_of_order ignored"]
    sync.on(numbered(13))
    assert kinds(sync.on(numbered(11))) == ["out_of_order ignored"]
    assert sync.book is not None


def test_what_was_on_its_way_while_the_snapshot_was_made_is_no_fault() -> None:
    sync = a_sync("binance_spot", whole(10))
    assert sync.on(futures(6, 8)) == sync.on(futures(8, 9)) == ()
    assert kinds(sync.on(futures(8, 9))) == ["duplicate ignored"]
    assert sync.on(futures(9, 11)) == ()
    assert sync.book is not None and sync.book.seq == 11


def test_a_lost_connection_takes_the_book_away() -> None:
    sync = a_sync("coinbase", whole(None))
    assert sync.book is not None
    assert kinds(sync.lost(7)) == ["disconnected", "ask disconnected"]
    assert sync.book is None
    assert sync.lost(8) == (), "said once"
    assert kinds(sync.on(whole(None, ts=9))) == ["disconnected snapshot"]
    assert sync.book is not None


def test_diffs_are_kept_in_bounds() -> None:
    sync = BookSync("X", book_rules("binance_spot"))
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
    sync = BookSync("X", RULES["binance_spot"])
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
    sync = a_sync("binance_spot", snapshot)
    for at, diff in enumerate(left):
        told = sync.on(diff)
        assert check_against(truth, sync) == (at < gone)
        assert ("ask gap" in kinds(told)) == (at == gone)
    seq = diffs[gone].seq
    assert seq is not None
    sync.on(whole(seq, *truth[seq]))
    assert check_against(truth, sync)
    assert sync.book is not None and sync.book.seq == diffs[-1].seq


def sums(*texts: str) -> int:
    return zlib.crc32(":".join(texts).encode())


BAD_NUMBERS = [(0.0, "zero"), (-1.0, "negative"), (math.nan, "nan"), (math.inf, "nan")]


@pytest.mark.parametrize(("number", "kind"), BAD_NUMBERS)
@pytest.mark.parametrize("where", ["price", "size"])
def test_an_impossible_number_in_a_snapshot_breaks_the_book(number: float, kind: str, where: str) -> None:
    bad = (number, 1.0) if where == "price" else (98.5, number)
    sync = a_sync("seed", whole(10))
    assert kinds(sync.on(whole(11, bids=((99.0, 1.0), bad)))) == [kind, f"ask {kind}"]
    assert sync.book is None


@pytest.mark.parametrize(("number", "kind"), BAD_NUMBERS)
@pytest.mark.parametrize("where", ["price", "size", "price of a removal"])
@pytest.mark.parametrize("known", [True, False])
def test_an_impossible_number_in_a_diff_breaks_the_book(number: float, kind: str, where: str, known: bool) -> None:
    price = 99.0 if known else 98.5
    bad = {"price": (number, 1.0), "size": (price, number), "price of a removal": (number, 0.0)}[where]
    if bad[1] == 0.0 and where == "size":
        return  # that is how a level is removed
    for bids, asks in (((bad,), ()), ((), (bad,))):
        sync = a_sync("binance_spot", whole(10))
        assert kinds(sync.on(futures(10, 11, bids=bids, asks=asks))) == [kind, f"ask {kind}"]
        assert sync.book is None


@pytest.mark.parametrize(
    ("bids", "asks", "kind"),
    [
        (((101.5, 1.0),), ASKS, "crossed"),
        (((101.0, 1.0),), ASKS, "locked"),
        ((), ASKS, "empty"),
        (BIDS, (), "empty"),
        (BIDS[::-1], ASKS, "unsorted"),
        (BIDS, ((101.0, 1.0), (101.0, 2.0)), "unsorted"),
        (tuple((99.0 - at, 1.0) for at in range(21)), ASKS, "too_many_levels"),
    ],
)
def test_an_impossible_snapshot_breaks_the_book(bids: Levels, asks: Levels, kind: str) -> None:
    for name in ("seed", "hyperliquid"):
        sync = a_sync(name, whole(10))
        asked = [] if name == "hyperliquid" else [f"ask {kind}"]
        assert kinds(sync.on(whole(11, bids=bids, asks=asks, ts=2))) == [kind, *asked], "the next is whole anyway"
        assert sync.book is None
        assert kinds(sync.on(whole(12, ts=3))) == [f"{kind} snapshot"]
        assert sync.book is not None


@pytest.mark.parametrize(
    ("bids", "asks", "kind"),
    [
        (((101.5, 1.0),), (), "crossed"),
        ((), ((99.0, 1.0),), "locked"),
        (((99.0, 0.0), (98.0, 0.0)), (), "empty"),
    ],
)
def test_a_diff_that_makes_the_book_impossible_breaks_it(bids: Levels, asks: Levels, kind: str) -> None:
    sync = a_sync("seed", whole(10))
    assert kinds(sync.on(numbered(11, bids=bids, asks=asks))) == [kind, f"ask {kind}"]
    assert sync.book is None


def test_what_is_natural_at_a_venue_hides_the_book_and_is_no_fault() -> None:
    sync = a_sync("deribit", whole(10, asks=()))
    assert sync.book is None
    assert sync.on(numbered(11, asks=((101.0, 1.0),))) == ()
    assert levels(sync) == (BIDS, ((101.0, 1.0),))
    assert sync.on(numbered(12, bids=((99.0, 0.0), (98.0, 0.0)))) == ()
    assert sync.book is None
    crossed = a_sync("dydx", whole(None))
    assert crossed.on(numbered(11, bids=((101.5, 1.0),))) == ()
    assert crossed.book is None


@pytest.mark.parametrize("name", ["seed", "coinbase"])
def test_time_that_goes_back_breaks_the_book(name: str) -> None:
    sync = a_sync(name, whole(10, ts=100), numbered(11, ts=100))
    assert kinds(sync.on(numbered(12, bids=((99.0, 5.0),), ts=90))) == ["time_regress", "ask time_regress"]
    assert sync.book is None


def test_where_a_checksum_or_a_number_of_its_own_vouches_for_a_level_time_that_goes_back_is_only_named() -> None:
    sync = a_sync("dydx", whole(None, ts=100))
    assert kinds(sync.on(numbered(12, bids=((99.0, 5.0),), ts=90))) == ["time_regress in its order"]
    assert sync.book is not None and sync.book.ts_event == 90, "an older time does not make it look fresh"


def test_an_older_whole_book_is_ignored_unless_ours_is_the_one_with_the_wrong_time() -> None:
    sync = a_sync("hyperliquid", whole(None, ts=100))
    for ts in (90, 91, 92):
        assert kinds(sync.on(whole(None, ((98.0, 1.0),), ts=ts))) == ["time_regress ignored"]
    assert sync.book is not None and sync.book.bid == 99.0
    assert kinds(sync.on(whole(None, ((98.0, 1.0),), ts=93))) == ["time_regress", "time_regress snapshot"]
    assert sync.book is not None and sync.book.bid == 98.0


def test_a_counter_that_begins_again_breaks_the_book() -> None:
    sync = a_sync("seed", whole(1_000), numbered(1_001))
    assert kinds(sync.on(numbered(3))) == ["out_of_order", "ask out_of_order"]
    assert sync.book is None
    assert kinds(sync.on(whole(4))) == ["out_of_order snapshot"]
    assert sync.on(numbered(5)) == ()


def checked(seq: int | None, checksum: int | None, bids: Levels, texts: tuple[tuple[str, str], ...]) -> BookDelta:
    spelled = LevelTexts(bids=texts)
    return BookDelta(symbol="X", ts_event=2, ts_recv=2, seq=seq, bids=bids, checksum=checksum, texts=spelled)


TEXTS = LevelTexts(bids=(("99.0", "1"), ("98.0", "2.0")), asks=(("101", "1.00"), ("102.0", "2")))


def test_the_checksum_of_okx_is_over_both_sides_in_turn_as_spelled() -> None:
    """bid:size:ask:size..., what one side has more stands alone at the end; signed 32 bits."""
    sync = a_sync("okx", replace(whole(None), texts=TEXTS))
    total = sums("99.0", "1", "101", "1.00", "98.0", "2.0", "102.0", "2", "97.5", "3.10")
    signed = total - (1 << 32) if total >= 1 << 31 else total
    assert sync.on(checked(None, signed, ((97.5, 3.1),), (("97.5", "3.10"),))) == ()
    assert sync.book is not None and sync.book.proof == "checksum"
    assert kinds(sync.on(checked(None, 1, ((97.5, 4.0),), (("97.5", "4"),)))) == ["checksum", "ask checksum"]
    assert sync.book is None


def test_the_checksum_of_kraken_is_over_asks_then_bids_without_points_and_leading_zeros() -> None:
    small = LevelTexts(bids=(("0.0990", "1.50"),), asks=(("0.1010", "0.00200"),))
    sync = a_sync("kraken_spot", replace(whole(None, ((0.099, 1.5),), ((0.101, 0.002),)), texts=small))
    digits = zlib.crc32(b"1010" + b"200" + b"990" + b"700")
    assert sync.on(checked(None, digits, ((0.099, 7.0),), (("0.0990", "7.00"),))) == ()
    assert kinds(sync.on(checked(None, None, ((0.099, 8.0),), (("0.0990", "8.00"),)))) == ["checksum", "ask checksum"]


def change(action: Literal["insert", "update", "delete"], level_id: int, price: float | None, qty: float) -> BookDelta:
    one = LevelChange(action=action, side="buy", level_id=level_id, price=price, qty=qty)
    return BookDelta(symbol="X", ts_event=2, ts_recv=2, changes=(one,))


def test_levels_named_by_id_are_found_and_one_that_was_never_inserted_breaks_the_book() -> None:
    named = replace(whole(None), ids=LevelIds(bids=(1, 2), asks=(3, 4)))
    sync = a_sync("bitmex", named)
    for diff in (change("insert", 5, 99.5, 4.0), change("update", 2, None, 6.0), change("delete", 1, None, 0.0)):
        assert sync.on(diff) == ()
    assert sync.book is not None and sync.book.bids == ((99.5, 4.0), (98.0, 6.0))
    assert kinds(sync.on(change("update", 1, None, 6.0))) == ["gap", "ask gap"]
    assert sync.book is None
    sync.on(named)
    assert kinds(sync.on(change("insert", 2, 98.0, 6.0))) == ["gap", "ask gap"]


def test_an_older_change_of_a_level_never_replaces_a_newer_not_even_a_removed_one() -> None:
    sync = a_sync("dydx", replace(whole(None), ids=LevelIds(bids=(7, 8), asks=(9, 9))))
    sync.on(numbered(12, bids=((98.0, 0.0),)))
    assert sync.on(numbered(11, bids=((98.0, 5.0), (99.0, 4.0)))) == ()
    assert sync.book is not None and sync.book.bids == ((99.0, 4.0),)


def test_levels_beyond_what_the_venue_keeps_up_are_forgotten() -> None:
    rules = replace(RULES["coinbase"], keep=2)
    sync = BookSync("X", rules)
    sync.on(whole(None))
    diff = BookDelta(symbol="X", ts_event=2, ts_recv=2, bids=((99.5, 1.0),), asks=((100.5, 1.0), (103.0, 1.0)))
    assert sync.on(diff) == ()
    assert levels(sync) == (((99.5, 1.0), (99.0, 1.0)), ((100.5, 1.0), (101.0, 1.0)))

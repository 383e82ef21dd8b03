"""The slow book itself: against numbers worked by hand, and against the sums that venues tell."""

from itertools import islice
from pathlib import Path

import pytest

from flea_lab.data.sources.captures import read_capture, recognise
from flea_lab.model.market import BookDelta, BookSnapshot, LevelChange, LevelIds, LevelTexts
from tests.reference.slow_book import Broken, SlowBook, slow_books

AT = {"symbol": "X", "ts_event": 0, "ts_recv": 0}


def book(seq: int | None, **more: object) -> BookSnapshot:
    return BookSnapshot(**AT, seq=seq, bids=((99.0, 1.0), (98.0, 2.0)), asks=((101.0, 3.0),), **more)


def diff(first: int | None, last: int | None, before: int | None, *bids: tuple[float, float]) -> BookDelta:
    return BookDelta(**AT, first_seq=first, seq=last, prev_seq=before, bids=bids)


def test_binance_futures_joins_what_came_before_the_snapshot() -> None:
    slow = SlowBook("binance_um")
    for event in (diff(1, 5, 0, (97.0, 9.0)), diff(8, 12, 5, (98.0, 0.0)), book(10), diff(13, 14, 12, (99.5, 4.0))):
        slow.on(event)
    assert slow.top() == (((99.5, 4.0), (99.0, 1.0)), ((101.0, 3.0),))
    with pytest.raises(Broken, match="X: 20, 15, 21 does not follow 14"):
        slow.on(diff(20, 21, 15))


def test_binance_spot_counts_on_from_the_snapshot() -> None:
    slow = SlowBook("binance_spot")
    for event in (diff(4, 10, None, (97.0, 9.0)), book(10), diff(11, 12, None, (98.0, 0.0))):
        slow.on(event)
    assert slow.top()[0] == ((99.0, 1.0),)
    with pytest.raises(Broken, match="does not follow 12"):
        slow.on(diff(14, 15, None))


def test_levels_by_id() -> None:
    slow = SlowBook("bitmex")
    slow.on(book(None, ids=LevelIds(bids=(1, 2), asks=(3,))))
    update = LevelChange(action="update", side="buy", level_id=2, price=None, qty=7.0)
    delete = LevelChange(action="delete", side="buy", level_id=1, price=None, qty=0.0)
    slow.on(BookDelta(**AT, changes=(update, delete)))
    assert slow.top()[0] == ((98.0, 7.0),)
    with pytest.raises(Broken, match="does not follow"):
        slow.on(BookDelta(**AT, changes=(delete,)))


def test_an_older_offset_never_replaces_a_newer() -> None:
    slow = SlowBook("dydx")
    slow.on(book(9, ids=LevelIds(bids=(9, 5), asks=(4,))))
    slow.on(BookDelta(**AT, seq=7, bids=((99.0, 0.0), (98.0, 0.0))))
    slow.on(BookDelta(**AT, seq=6, bids=((98.0, 8.0),)))
    assert slow.top()[0] == ((99.0, 1.0),)


def test_krakens_own_example_of_its_sum() -> None:
    """The example of Kraken's page on the book's checksum: 974947235."""
    asks = [f"{(5005 + 5 * k) / 100_000:.5f}" for k in range(10)]
    bids = [f"{(5000 - 5 * k) / 100_000:.5f}" for k in range(11) if k != 3]
    texts = LevelTexts(bids=tuple((p, "0.00000500") for p in bids), asks=tuple((p, "0.00000500") for p in asks))
    levels = {name: tuple((float(p), float(q)) for p, q in getattr(texts, name)) for name in ("bids", "asks")}
    SlowBook("kraken_spot").on(BookSnapshot(**AT, seq=None, **levels, texts=texts, checksum=974947235))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "books", "empty"),
    [
        ("okx", 290, 0),
        ("kraken_spot", 4279, 0),
        ("bitget", 443, 0),
        ("kraken_futures", 7024, 0),
        ("deribit", 46, 2),
        ("bybit_inverse_v2", 1018, 0),
        ("bitmex", 1979, 0),
        ("dydx_v3", 4697, 0),
        ("binance_um", 764, 0),
        ("binance_cm", 2047, 0),
    ],
)
def test_the_captures_follow_their_venues_rules(name: str, books: int, empty: int, data_dir: Path) -> None:
    """No number missing, every sum right, never crossed at the top (not even dYdX, whose book may)."""
    path = data_dir / f"fixtures/ws_raw/{name}.rawlog.gz"
    seen = list(slow_books(read_capture(path), recognise(path), most=1))
    tops = [(bids, asks) for _, _, bids, asks in seen if bids and asks]
    assert (len(seen), len(seen) - len(tops)) == (books, empty)
    assert all(bids[0][0] < asks[0][0] for bids, asks in tops)


@pytest.mark.real_data
def test_a_lost_diff_is_seen_at_the_next(data_dir: Path) -> None:
    path = data_dir / "fixtures/l2/binance_um_btcusdt_20240808.raw.gz"
    events = [e for e in islice(read_capture(path), 1500) if isinstance(e, BookDelta | BookSnapshot)]
    del events[100]
    with pytest.raises(Broken, match="does not follow"):
        list(slow_books(events, "binance_um", most=1))

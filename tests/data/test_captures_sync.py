"""Over every recorded capture: the book is the slow reference's at every message, never crossed, every checksum right;
with any one diff deleted it cannot be read from the very message that shows it, and is right again after a snapshot."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import RULES
from flea_lab.data.market_watch import MarketWatch
from flea_lab.data.sources.captures import read_capture, recognise
from flea_lab.model.finding import Finding
from flea_lab.model.market import BookDelta, BookSnapshot, Trade
from tests.data.chaos import Fault
from tests.data.play import AFTER, Play, windows
from tests.reference.slow_book import SlowBook

UM_2023 = ("demo/l2/binance_um_btcusdt_20230404_part1.raw.gz", "demo/l2/binance_um_btcusdt_20230405_part2.raw.gz")
"""One recording in two parts; the second has no snapshot of its own."""

CAPTURES: dict[str, tuple[str, ...]] = {
    "um2023": UM_2023,
    "um2024": ("fixtures/l2/binance_um_btcusdt_20240808.raw.gz",),
    "spot2024": ("fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz",),
    "hyperliquid": ("demo/l2/hyperliquid_BTC_20250126.raw.gz",),
    **{
        name: (f"fixtures/ws_raw/{name}.rawlog.gz",)
        for name in (
            *("binance_um", "binance_cm", "bitget", "bitmex", "bybit_inverse_v2", "coinbase_l2update"),
            *("deribit", "dydx_v3", "kraken_futures", "kraken_spot", "okx"),
        )
    },
}
"""Every capture of the data folder."""

MESSAGES = {
    "um2023": 16_111, "um2024": 6_552, "spot2024": 3_452, "hyperliquid": 46, "binance_um": 768, "binance_cm": 2_057,
    "bitget": 443, "bitmex": 1_979, "bybit_inverse_v2": 1_018, "coinbase_l2update": 9_729, "deribit": 46,
    "dydx_v3": 4_697, "kraken_futures": 7_024, "kraken_spot": 4_279, "okx": 290,
}  # fmt: skip
CHECKSUMS = {"okx": 290, "kraken_spot": 4_269, "bitget": 443}

NUMBERED = ("um2023", "um2024", "spot2024", "binance_um", "binance_cm", "deribit", "kraken_futures")
SUMMED = ("okx", "kraken_spot", "bitget")
SLICE = 500
"""Book messages of each capture that are compared on every run; all of them with -m slow."""


def tape(name: str, data_dir: Path) -> Iterator[Any]:
    for path in CAPTURES[name]:
        yield from read_capture(data_dir / path)


def venue_of(name: str, data_dir: Path) -> str:
    return recognise(data_dir / CAPTURES[name][0])


def compare(name: str, data_dir: Path, most: int | None) -> tuple[Counter[str], int]:
    """What was seen of the first `most` book messages, and how many checksums were told."""
    venue = venue_of(name, data_dir)
    rules = RULES[venue]
    fast: dict[str, BookSync] = {}
    slow: dict[str, SlowBook] = {}
    seen: Counter[str] = Counter()
    sums = 0
    books = (event for event in tape(name, data_dir) if isinstance(event, BookSnapshot | BookDelta))
    for event in islice(books, most):
        sync = fast.setdefault(event.symbol, BookSync(event.symbol, rules))
        reference = slow.setdefault(event.symbol, SlowBook(venue))
        seen["findings"] += sum(isinstance(one, Finding) for one in sync.on(event))
        reference.on(event)  # raises where a number or a checksum is not what the venue's rules make of it
        sums += event.checksum is not None
        bids, asks = reference.top(sync.depth)
        seen["messages"] += 1
        if sync.book is not None:
            assert (sync.book.bids, sync.book.asks) == (bids, asks)
            assert sync.book.bid < sync.book.ask
            seen["equal"] += 1
        elif not reference.there or (rules.joins == "straddles" and not reference.joined):
            seen["waiting"] += 1
        else:
            assert not bids or not asks, "an option that nobody bids for"
            seen["empty"] += 1
    return seen, sums


@pytest.mark.real_data
@pytest.mark.parametrize("name", CAPTURES)
def test_the_book_is_the_slow_references_at_every_message_of_the_first(name: str, data_dir: Path) -> None:
    seen, _ = compare(name, data_dir, SLICE)
    assert seen["messages"] == min(SLICE, MESSAGES[name])
    assert seen["findings"] == 0
    assert seen["equal"] > 0.4 * seen["messages"]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", CAPTURES)
def test_the_book_is_the_slow_references_at_every_message(name: str, data_dir: Path) -> None:
    seen, sums = compare(name, data_dir, None)
    assert (seen["messages"], seen["findings"]) == (MESSAGES[name], 0)
    assert seen["equal"] + seen["waiting"] + seen["empty"] == seen["messages"]
    assert sums == CHECKSUMS.get(name, 0)


@pytest.mark.real_data
@pytest.mark.parametrize("name", CHECKSUMS)
def test_every_checksum_is_right(name: str, data_dir: Path) -> None:
    watch = MarketWatch(venue_of(name, data_dir))
    told: Counter[str] = Counter()
    for event in tape(name, data_dir):
        told["sums"] += getattr(event, "checksum", None) is not None
        told["findings"] += len(watch.on(event))
    assert told == {"sums": CHECKSUMS[name], "findings": 0}


@pytest.mark.real_data
def test_the_second_part_of_the_2023_recording_follows_without_a_break(data_dir: Path) -> None:
    watch = MarketWatch("binance_um")
    prints = 0
    for event in tape("um2023", data_dir):
        assert watch.on(event) == ()
        prints += isinstance(event, Trade)
    assert prints == 12_935, "ids contiguous, the one print of the insurance fund among them"
    assert watch.book("BTCUSDT") is not None


def deletions(events: list[Any], count: int, name: str) -> list[Fault]:
    """`count` diffs to delete, one at a time, each with what shows it."""
    begun: dict[str, int] = {}
    places: dict[str, list[int]] = {}
    for at, event in enumerate(events):
        if isinstance(event, BookSnapshot):
            begun[event.symbol] = event.seq or 0
        elif isinstance(event, BookDelta) and event.symbol in begun and (event.seq or 1) > begun[event.symbol]:
            places.setdefault(event.symbol, []).append(at)
    pairs = [pair for found in places.values() for pair in pairwise(found[1:])]
    pairs = [(at, after) for at, after in pairs if after - at < AFTER - 40 and after < len(events) - 10]
    rng = random.Random(f"deleted from {name}")
    chosen = rng.sample(pairs, min(count, len(pairs)))
    symbols = [events[at].symbol for at, _ in chosen]
    return [
        Fault("gap", "gap", "book", symbol, after - 1, after - 1, at, at + 1, ())
        for (at, after), symbol in zip(chosen, symbols, strict=True)
    ]


def delete_one_by_one(name: str, data_dir: Path, count: int) -> Counter[str]:
    events, venue = list(tape(name, data_dir)), venue_of(name, data_dir)
    seen: Counter[str] = Counter()
    for fault, start, opening in windows(events, deletions(events, count, name)):
        play = Play(venue, fault, opening)
        played = play.run(events, start)
        assert played.wrong == [], "a readable book is the venue's own at its number"
        assert played.readable, "right again in the end"
        since = [(i, one) for i, one in played.found if i >= fault.first and one.symbol == fault.symbol]
        found = [i for i, one in since if not one.resolved]
        seen["deleted"] += 1
        seen["gone in the same event"] += found[:1] == [fault.due] and fault.due in play.dark
        seen["resynced"] += played.resyncs == 1
    return seen


def check_numbered(seen: Counter[str]) -> None:
    assert seen["deleted"] == seen["gone in the same event"] == seen["resynced"] > 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", NUMBERED)
def test_with_a_diff_deleted_the_book_is_gone_in_the_same_event(name: str, data_dir: Path) -> None:
    check_numbered(delete_one_by_one(name, data_dir, 8))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", NUMBERED)
def test_with_any_of_200_diffs_deleted_the_book_is_gone_in_the_same_event(name: str, data_dir: Path) -> None:
    seen = delete_one_by_one(name, data_dir, 200)
    check_numbered(seen)
    assert seen["deleted"] == 200 or name == "deribit"


@pytest.mark.real_data
@pytest.mark.parametrize("name", SUMMED)
def test_with_a_diff_deleted_a_checksum_lets_no_wrong_level_be_read(name: str, data_dir: Path) -> None:
    """What is far from the touch is not in the sum; what is served is, always."""
    assert delete_one_by_one(name, data_dir, 8)["deleted"] == 8


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", SUMMED)
def test_with_any_of_200_diffs_deleted_a_checksum_lets_no_wrong_level_be_read(name: str, data_dir: Path) -> None:
    seen = delete_one_by_one(name, data_dir, 200)
    assert seen["deleted"] == 200
    assert seen["resynced"] > 0


@pytest.mark.real_data
def test_where_nothing_is_numbered_the_book_says_so() -> None:
    unproven = {name for name, rules in RULES.items() if rules.proof == "connection"}
    assert unproven == {"bybit_inverse", "coinbase", "bitmex", "dydx"}

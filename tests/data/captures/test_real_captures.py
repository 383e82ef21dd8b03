"""The recorded captures say what their README says of them."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from flea_lab.data.sources.captures import describe, read_capture
from flea_lab.model.market import BookDelta, BookSnapshot, Funding, Trade

pytestmark = pytest.mark.real_data

UM_1 = "demo/l2/binance_um_btcusdt_20230404_part1.raw.gz"
UM_2 = "demo/l2/binance_um_btcusdt_20230405_part2.raw.gz"
UM_2024 = "fixtures/l2/binance_um_btcusdt_20240808.raw.gz"
SPOT = "fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz"


@pytest.mark.parametrize(
    ("name", "venue", "frames", "lag_s", "counts"),
    [
        (UM_1, "binance_um", 13384, -0.01, dict(BookSnapshot=1, BookDelta=4322, Trade=2197, Funding=99)),
        (UM_2, "binance_um", 60381, 0.0, dict(BookDelta=11788, Trade=10738, Funding=415)),
        (UM_2024, "binance_um", 93954, -1.27, dict(BookSnapshot=1, BookDelta=6551, Trade=21313)),
        (SPOT, "binance_spot", 41249, -1.27, dict(BookSnapshot=1, BookDelta=3451, Trade=9757)),
        ("demo/l2/hyperliquid_BTC_20250126.raw.gz", "hyperliquid", 55, 0.41, dict(BookSnapshot=46, Trade=64)),
        ("binance_um", "binance_um", 1539, 0.05, dict(BookSnapshot=4, BookDelta=764, Trade=91, Candle=67)),
        ("binance_cm", "binance_cm", 4381, -0.03, dict(BookSnapshot=10, BookDelta=2047, Trade=51, Candle=33)),
        ("bitget", "bitget", 684, 0.02, dict(BookSnapshot=8, BookDelta=435, Trade=30, Candle=35)),
        ("bitmex", "bitmex", 2120, 0.01, dict(BookSnapshot=10, BookDelta=1969, Trade=17)),
        ("bybit_inverse_v2", "bybit_inverse", 1098, 0.08, dict(BookSnapshot=2, BookDelta=1016, Trade=150)),
        ("coinbase_l2update", "coinbase", 9946, -0.01, dict(BookSnapshot=10, BookDelta=9719, Trade=97)),
        ("deribit", "deribit", 136, -0.03, dict(BookSnapshot=10, BookDelta=36)),
        ("dydx_v3", "dydx", 4733, -0.02, dict(BookSnapshot=10, BookDelta=4687, Trade=26)),
        ("kraken_futures", "kraken_futures", 7175, -0.02, dict(BookSnapshot=10, BookDelta=7014, Trade=3)),
        ("kraken_spot", "kraken_spot", 4321, 0.03, dict(BookSnapshot=10, BookDelta=4269)),
        ("okx", "okx", 410, 0.12, dict(BookSnapshot=3, BookDelta=287, Trade=74)),
    ],
)
def test_counts_and_clock(
    name: str, venue: str, frames: int, lag_s: float, counts: dict[str, int], data_dir: Path
) -> None:
    found = describe(data_dir / (name if "/" in name else f"fixtures/ws_raw/{name}.rawlog.gz"))
    kinds = Counter[str]()
    for (kind, _), count in found.counts.items():
        kinds[kind] += count
    assert (found.venue, found.frames, found.unreadable, dict(kinds)) == (venue, frames, 0, counts)
    assert found.lag_ns is not None and round(found.lag_ns / 1e9, 2) == lag_s


def test_the_2024_captures_say_that_their_recorder_was_slow(data_dir: Path) -> None:
    assert "clock: received -1.27 s after its stamp" in str(describe(data_dir / SPOT))


def test_the_tape_of_2023_has_no_hole_and_one_print_of_the_insurance_fund(data_dir: Path) -> None:
    told = [event for name in (UM_1, UM_2) for event in read_capture(data_dir / name)]
    prints = [event for event in told if isinstance(event, Trade)]
    ids = [trade.trade_id for trade in prints]
    assert len(ids) == 12_935 and ids == list(range(ids[0], ids[0] + 12_935))
    assert [(trade.price, trade.kind) for trade in prints if trade.kind != "normal"] == [(28_722.5, "insurance")]
    diffs = [event for event in told if isinstance(event, BookDelta)]
    assert all(b.prev_seq == a.seq for a, b in pairwise(diffs))
    rates = [event for event in told if isinstance(event, Funding)]
    assert {rate.state for rate in rates} == {"current"}
    assert len({rate.due_ns for rate in rates}) == 2


@pytest.mark.parametrize(("name", "symbols"), [(UM_2024, 1), (SPOT, 1), ("okx", 3), ("coinbase_l2update", 8)])
def test_print_numbers_are_contiguous(name: str, symbols: int, data_dir: Path) -> None:
    ids: dict[str, list[int]] = {}
    for event in read_capture(data_dir / (name if "/" in name else f"fixtures/ws_raw/{name}.rawlog.gz")):
        if isinstance(event, Trade) and event.trade_id is not None:
            ids.setdefault(event.symbol, []).append(event.trade_id)
    assert len(ids) == symbols
    assert all(own == list(range(own[0], own[0] + len(own))) for own in ids.values())


@pytest.mark.parametrize(
    "name", ["bitget", "bitmex", "bybit_inverse_v2", "coinbase_l2update", "deribit", "dydx_v3", "kraken_spot", "okx"]
)
def test_a_snapshot_comes_before_the_diffs_and_time_never_goes_back(name: str, data_dir: Path) -> None:
    begun: dict[str, int] = {}
    recv = 0
    for event in read_capture(data_dir / f"fixtures/ws_raw/{name}.rawlog.gz"):
        assert event.ts_recv >= recv
        recv = event.ts_recv
        if isinstance(event, BookSnapshot):
            assert event.symbol not in begun
        elif isinstance(event, BookDelta):
            assert event.ts_event >= begun[event.symbol]
        else:
            continue
        begun[event.symbol] = event.ts_event

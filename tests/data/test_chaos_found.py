"""Every planted fault is found under its name and in time; while it lasts no book is readable that is not the venue's;
after every fresh snapshot the book is the venue's again. On the clean tapes nothing is found."""

from collections import Counter
from pathlib import Path

import pytest

from flea_lab.data.market_watch import MarketWatch
from flea_lab.data.sources.captures import read_capture, recognise
from flea_lab.model.finding import Finding
from tests.data.chaos import SOURCES, Fault, Source, corpus, load
from tests.data.play import Play, Played, windows

SEED = 20_261_122
CLEAN = (
    *[f"demo/l2/{name}" for name in ("binance_um_btcusdt_20230404_part1.raw.gz", "hyperliquid_BTC_20250126.raw.gz")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("binance_cm", "binance_um", "bitget", "bitmex", "deribit")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("bybit_inverse_v2", "coinbase_l2update", "dydx_v3", "okx")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("kraken_futures", "kraken_spot")],
    "fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz",
    "fixtures/l2/binance_um_btcusdt_20240808.raw.gz",
)


def is_found(fault: Fault, played: Played) -> bool:
    in_time = [one for i, one in played.found if fault.at_message <= i <= fault.due and one.kind == fault.label]
    return any(one.channel == fault.channel and one.symbol == fault.symbol for one in in_time)


@pytest.mark.real_data
@pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
def test_every_planted_fault_is_found_and_no_wrong_book_is_readable(source: Source, data_dir: Path) -> None:
    clean = load(source, data_dir)
    faults = corpus(source, clean, SEED)
    missed, wrong, lost = [], [], []
    for fault, start, opening in windows(clean, faults):
        played = Play(source.venue, fault, opening).run(clean, start)
        found = [one.kind for _, one in played.found]
        name = f"{fault.kind} at {fault.at_message}, due {fault.due}: {found[:6]}"
        if not is_found(fault, played):
            missed.append(name)
        known = next((i for i, one in played.found if one.kind == fault.label), fault.due)
        undeclared = [i for i in played.wrong if not (fault.kind == "frozen" and i <= known)]
        if undeclared:
            wrong.append(f"{name}, readable and wrong at {undeclared[:5]}")
        if fault.channel == "book" and fault.last + 20 < len(clean) and not played.readable:
            lost.append(name)
    assert (missed, wrong, lost) == ([], [], [])


@pytest.mark.real_data
@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_on_a_clean_tape(name: str, data_dir: Path) -> None:
    told: Counter[str] = Counter()
    watch = MarketWatch(recognise(data_dir / name))
    for event in read_capture(data_dir / name):
        told.update(one.kind for one in watch.on(event) if isinstance(one, Finding))
    assert told == {}
    assert watch.ledger.rows() == []

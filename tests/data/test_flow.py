"""Order flow is what was said, second by second, and nothing that was not known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab.data import flow as flow_module
from flea_lab.data.features import look
from flea_lab.data.flow import Flow, FlowSettings, flow_frames, without
from flea_lab.data.sources.captures import read_capture
from flea_lab.model.market import MS_NS, BookSnapshot, Funding, Heartbeat, Trade
from flea_lab.sandbox.tape import synthetic_tape

SECOND = 1_000_000_000
NOON = 1_735_732_800 * SECOND
SETTINGS = FlowSettings(bucket_volume=2.0, window=10)


def book(at_s: float, bid: float = 100.0, seq: int = 1, depth: int = 3) -> BookSnapshot:
    ts = NOON + round(at_s * SECOND)
    bids = tuple((bid - 0.1 * k, 1.0 + k) for k in range(depth))
    asks = tuple((bid + 0.1 * (1 + k), 2.0) for k in range(depth))
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=seq, bids=bids, asks=asks)


def trade(at_s: float, qty: float, side: str = "buy", number: int = 1, kind: str = "normal") -> Trade:
    ts = NOON + round(at_s * SECOND)
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=100.0, qty=qty, side=side, trade_id=number, kind=kind)


def flow(*events: object, **settings: object) -> Flow:
    return flow_frames(events, "seed", "X", FlowSettings(**settings))  # type: ignore[arg-type]


def test_a_row_is_what_was_known_at_its_instant_and_no_more() -> None:
    found = flow(book(0.2), book(0.9, 101.0, 2), trade(1.0, 3.0), trade(1.2, 1.0, "sell", 2), book(2.1, 102.0, 3))
    rows = found.seconds
    assert ((rows["ts"] * MS_NS - NOON) // SECOND).tolist() == [1, 2, 3]
    assert rows["bid"].tolist() == [101.0, 101.0, 102.0]
    assert rows["mid"].tolist() == pytest.approx([101.05, 101.05, 102.05])
    assert rows["buys"].tolist() == [3.0, 0.0, 0.0] and rows["sells"].tolist() == [0.0, 1.0, 0.0]
    assert rows["imbalance"].tolist() == [look(book(0), 10)[0]] * 3
    assert rows["bid_depth_10"].tolist() == [1.0, 1.0, 1.0] and rows["ask_depth_10"].tolist() == [2.0, 2.0, 2.0]
    assert found.messages == {"BookSnapshot": 3, "Trade": 2} and found.readable == 1.0


def test_an_old_book_and_one_that_cannot_be_vouched_for_are_blank() -> None:
    crossed = BookSnapshot(
        symbol="X", ts_event=NOON + 9 * SECOND, ts_recv=NOON, seq=3, bids=((101.0, 1.0),), asks=((100.0, 1.0),)
    )
    events = book(0.5), book(1.5, 100.0, 2), crossed, book(10.5, 100.0, 4), trade(11.5, 1.0)
    found = flow(*events, fresh_s=3.0)
    blank = found.seconds["mid"].isna()
    known = [1, 2, 3, 4, 11, 12]
    assert [i + 1 for i, empty in enumerate(blank) if not empty] == known
    assert blank.equals(found.levels.isna().all(axis=1).reset_index(drop=True))
    assert list(found.ledger["kind"]) == ["crossed"]


def test_bands_hold_every_level_within_reach() -> None:
    found = flow(book(0.5, depth=5), reach_bps=30.0, bands=4)
    row = found.levels.iloc[0]
    inside = [qty for price, qty in (*book(0, depth=5).bids, *book(0, depth=5).asks) if abs(price - 100.05) <= 0.3]
    assert row.sum() >= sum(inside) and np.allclose(np.diff(row.index), 0.1)
    at = {round(price - 0.05, 6): qty for price, qty in row.items()}
    assert at[100.0] == 1.0 and at[100.1] == 2.0 and at[99.9] == 2.0


def test_prints_that_no_order_made_are_kept_apart() -> None:
    found = flow(book(0.1), trade(0.3, 1.0), trade(0.4, 9.0, number=2, kind="insurance"))
    assert found.seconds["buys"].tolist() == [1.0]
    assert found.prints["kind"].tolist() == ["normal", "insurance"]


def test_memory_is_bounded_and_nothing_that_flowed_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "MOST_ROWS", 16)
    monkeypatch.setattr(flow_module, "MOST_PRINTS", 5)
    events = [one for k in range(100) for one in (book(k + 0.2, 100.0 + k, k), trade(k + 0.4, 1.0 + k, number=k))]
    found = flow(*events)
    assert len(found.seconds) <= 16 and len(found.levels) <= 16 and found.step_s == 8.0
    assert found.seconds["buys"].sum() == sum(range(1, 101)) and found.seconds["n_buys"].sum() == 100
    assert found.prints["qty"].tolist() == [96.0, 97.0, 98.0, 99.0, 100.0]
    assert found.seconds["bid"].iloc[-1] == 199.0


def test_one_wrong_instant_does_not_run_away_with_the_clock() -> None:
    far = trade(5_000_000.0, 1.0, number=2)
    found = flow(book(0.2), far, book(1.2, seq=2), book(2.2, seq=3))
    assert len(found.seconds) == 3
    late = [book(9_000.2 + k, seq=4 + k) for k in range(3)]
    jumped = flow(book(0.2), book(1.2, seq=2), *late).seconds
    assert len(jumped) < 10 and jumped["mid"].isna().sum() == 1 and jumped["ts"].is_monotonic_increasing


def test_rates_are_told_and_done_when_due() -> None:
    due = NOON + 3 * SECOND

    def rate(at_s: float, state: str, value: float) -> Funding:
        ts = NOON + round(at_s * SECOND)
        return Funding(symbol="X", ts_event=ts, ts_recv=ts, rate=value, state=state, due_ns=due)  # type: ignore[arg-type]

    rows = flow(rate(0.5, "current", 1e-4), rate(0.6, "predicted", 2e-4), Heartbeat(ts_event=NOON + 5 * SECOND)).seconds
    assert rows["current_rate"].tolist()[:5] == [1e-4, 1e-4, 2e-4, 2e-4, 2e-4]
    assert rows["hours_to_funding"].iloc[0] == pytest.approx(2 / 3_600)


def test_an_unannounced_outage_is_in_the_ledger_and_blank_once_it_is_known() -> None:
    whole = flow_frames(synthetic_tape(minutes=4), "seed", "BTCUSDT", SETTINGS)
    holed = flow_frames(without(synthetic_tape(minutes=4), 100.0, 130.0), "seed", "BTCUSDT", SETTINGS)
    assert whole.ledger.empty and whole.readable > 0.99
    told = [(row.channel, row.kind, row.resolved) for row in holed.ledger.itertuples()]
    assert told == [("book", "gap", "snapshot"), ("candles", "hole", "")]
    assert whole.seconds["mid"].isna().sum() + 19 <= holed.seconds["mid"].isna().sum() <= 22
    assert holed.seconds["buys"].sum() < whole.seconds["buys"].sum()


def test_an_empty_feed_has_empty_frames() -> None:
    found = flow()
    assert found.seconds.empty and found.levels.empty and found.prints.empty and found.ledger.empty
    assert np.isnan(found.readable)


@pytest.mark.real_data
def test_a_capture_is_clean_and_its_prints_are_those_of_the_tape(data_dir: Path) -> None:
    parts = sorted(data_dir.rglob("binance_um_btcusdt_*_part*.raw.gz"))
    events = (event for part in parts for event in read_capture(part))
    found = flow_frames(events, "binance_um", "BTCUSDT", FlowSettings(bucket_volume=10.0, window=30))
    [tape] = data_dir.rglob("binance_um_btcusdt_trades_20230404.parquet")
    told = pd.read_parquet(tape)
    normal = told[told["kind"] != "INSURANCE_FUND"]
    assert found.ledger.empty and found.readable == 1.0
    assert found.seconds["buys"].sum() == pytest.approx(normal.loc[~normal["is_buyer_maker"], "qty"].sum(), abs=1e-6)
    assert found.seconds["sells"].sum() == pytest.approx(normal.loc[normal["is_buyer_maker"], "qty"].sum(), abs=1e-6)
    assert found.seconds["n_buys"].sum() + found.seconds["n_sells"].sum() == len(normal)
    assert (found.prints["kind"] == "insurance").sum() == 1 and (found.prints["price"] == 28_722.5).sum() == 1
    assert found.seconds["bid"].between(28_130, 28_165).all()

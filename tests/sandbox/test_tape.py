"""The synthetic tape is one market's, in order, numbered without a gap, with a settlement inside, twice the same."""

from itertools import pairwise

import pytest

from flea_lab.data.market_watch import MarketWatch
from flea_lab.errors import ConfigError
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.sandbox.tape import synthetic_tape


def test_it_is_in_order_sound_and_twice_the_same() -> None:
    events = list(synthetic_tape(minutes=4))
    assert events == list(synthetic_tape(minutes=4))
    assert events != list(synthetic_tape(minutes=4, seed=8))
    assert all(a.ts_recv <= b.ts_recv for a, b in pairwise(events))
    watch = MarketWatch("seed")
    for event in events:
        watch.on(event)
    assert watch.ledger.rows() == []
    numbers = [event.seq for event in events if isinstance(event, BookSnapshot)]
    assert numbers == list(range(1, 4 * 120 + 1))


def test_its_prints_make_its_candles() -> None:
    events = list(synthetic_tape(minutes=3))
    bars = [event for event in events if isinstance(event, Candle) and event.complete]
    assert len(bars) == 3
    for bar in bars:
        mine = [e for e in events if isinstance(e, Trade) and bar.ts_event - 60_000 * MS_NS < e.ts_event < bar.ts_event]
        assert (mine[0].price, mine[-1].price) == (bar.open, bar.close)
        assert sum(one.qty for one in mine) == pytest.approx(bar.volume)


def test_funding_ahead_comes_to_what_settles() -> None:
    told = [event for event in synthetic_tape(minutes=4) if isinstance(event, Funding)]
    [settled] = [event for event in told if event.state == "settled"]
    ahead = [event for event in told if event.state == "current" and event.due_ns == settled.ts_event]
    assert ahead and abs(ahead[-1].rate - settled.rate) < 1e-7
    assert {event.state for event in told} == {"settled", "current", "predicted"}


def test_a_symbol_without_a_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"symbol 'DOGEUSDT' on 'synthetic' has no instrument"):
        next(synthetic_tape("DOGEUSDT"))

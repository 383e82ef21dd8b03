"""A recorded market in steps: the replay's order, longer candles, and nothing of the future."""

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.playlist import playlist_of
from flea_lab.backtest.replay import bars
from flea_lab.data.candles import resample
from flea_lab.errors import ConfigError
from flea_lab.model.market import INTERVAL_MS, MS_NS
from flea_lab.sandbox.play import BLOCK, played_range, series, shifted, steps
from tests.backtest.tiny import config, tiny
from tests.sandbox.stages import HOUR, MINUTE, T0, a_playlist


def test_the_steps_are_the_replays_bars() -> None:
    run = config(("X", "Y"), costs={"funding": True})
    rows = [(i, 100.0 + i, 100.5 + i, 0.0) for i in range(30)]
    holed = [row for row in rows if row[0] not in (3, 4, 29)]
    market = tiny(run, {"X": rows, "Y": holed}, {"X": [(60_000, 0.1), (90_000, 0.2)], "Y": [(60_000, 0.3)]})
    ours, theirs = list(steps(playlist_of(market))), list(bars(market))
    assert len(ours) == 30
    for step, played in zip(ours, theirs, strict=True):
        assert step.bar == played.bar
        for own, other in ((step.settled, played.settled), (step.opens, played.opens), (step.candles, played.candles)):
            assert list(own) == list(other)


def test_steps_go_on_over_the_edge_of_a_block_and_from_any_bar() -> None:
    settled = [(0, "X", 0.1), (BLOCK, "Y", 0.2), (BLOCK + 5, "X", 0.3)]
    playlist = a_playlist(BLOCK + 10, settled=settled)
    assert [step.bar for step in steps(playlist)] == list(range(BLOCK + 10))
    assert [f.rate for step in steps(playlist, 1, BLOCK + 5) for f in step.settled] == [0.2]


def test_a_longer_candle_is_the_data_shops_and_is_missing_where_a_bar_is() -> None:
    playlist = a_playlist(200, holes=[("X", 7), ("X", 130)])
    rng = np.random.default_rng(1)
    playlist.bars[0, :, 4] = np.where(np.isnan(playlist.bars[0, :, 4]), np.nan, rng.uniform(4.1, 9.0, 200))
    names = ["open", "high", "low", "close", "volume", "buy_volume"]
    frame = pd.DataFrame(playlist.bars[0], columns=names).assign(ts=playlist.open_ms).dropna()
    for interval in ("5m", "15m", "1h"):
        wanted = resample(frame[["ts", *names]].reset_index(drop=True), "1m", interval)
        found = series(playlist, "X", interval)
        assert found.open_ms.tolist() == wanted["ts"].tolist()
        assert found.bars.tolist() == wanted[names].to_numpy().tolist()
    assert T0 + 5 * MINUTE not in series(playlist, "X", "5m").open_ms
    assert T0 + 2 * HOUR not in series(playlist, "X", "1h").open_ms


def test_a_series_knows_only_what_has_closed() -> None:
    one = series(a_playlist(10), "X", "1m")
    assert one.known(T0) == 0
    assert one.known(T0 + MINUTE - 1) == 0
    assert one.known(T0 + MINUTE) == 1
    assert one.last(T0 + 3 * MINUTE, 2).open_ms.tolist() == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert one.since(T0 + MINUTE, T0 + 4 * MINUTE, 2).open_ms.tolist() == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert one.since(T0 + 9 * MINUTE, T0 + 4 * MINUTE, 2).rows() == []
    assert one.closing(T0 + 4 * MINUTE).open_ms.tolist() == [T0 + 3 * MINUTE]
    assert one.closing(T0 + 11 * MINUTE).rows() == []
    assert one.closing(T0).rows() == []


def test_intervals_are_those_that_whole_bars_make() -> None:
    assert a_playlist(2).intervals == tuple(INTERVAL_MS)
    assert a_playlist(2, interval_ms=HOUR).intervals == ("1h", "4h", "1d")


@pytest.mark.parametrize(
    ("start", "days", "played"),
    [
        (None, 1.0, (60, 1500)),
        (None, 100.0, (0, 1500)),
        (T0, 1.0, (0, 1440)),
        (T0 + 1, 1 / 1440, (1, 2)),
        (T0 + 1440 * MINUTE, 1.0, (1440, 1500)),
    ],
)
def test_playing_begins_where_it_is_told_and_lasts_its_days(
    start: int | None, days: float, played: tuple[int, int]
) -> None:
    assert played_range(a_playlist(1500, ("X",)), start, days) == played


def test_nothing_to_play_is_refused() -> None:
    with pytest.raises(ConfigError, match="no bar opens from 2025-01-02T00:00:00 on for 1 days, stored are 2025-01-01"):
        played_range(a_playlist(10), T0 + 1440 * MINUTE, 1.0)


def test_a_shifted_market_is_the_same_by_whole_bars() -> None:
    one = a_playlist(4, settled=[(2, "X", 0.1)])
    later = shifted(one, 90_000)
    assert (later.open_ms - one.open_ms).tolist() == [MINUTE] * 4
    (step,) = [step for step in steps(later) if step.settled]
    assert step.settled[0].ts_event == (T0 + 3 * MINUTE) * MS_NS

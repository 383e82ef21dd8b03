"""The feed that is looked at is the recorded one where there is one, and says which it is."""

from pathlib import Path

import pytest

from flea_lab.data.flow import flow_frames
from flea_lab.research.order_flow import find_feed


def test_without_a_capture_it_is_a_synthetic_one_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ("", str(tmp_path)):
        monkeypatch.setenv("FLEA_DATA_DIR", named)
        feed = find_feed()
        assert feed.synthetic and feed.source == "synthetic tape (seed 7)"
    assert list(feed.events()) == list(feed.events()) != list(find_feed(seed=8).events())
    found = flow_frames(feed.events(), feed.venue, feed.symbol, feed.settings)
    assert found.ledger.empty and found.readable > 0.99 and found.seconds["vpin"].notna().any()


@pytest.mark.real_data
def test_the_parts_of_a_capture_are_one_feed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_DATA_DIR", str(data_dir))
    feed = find_feed()
    assert not feed.synthetic and feed.source.startswith(
        "capture of Binance futures, binance_um_btcusdt_20230404_part1"
    )
    times = [event.ts_recv for event in feed.events()]
    assert times == sorted(times) and (times[-1] - times[0]) / 1e9 > 500

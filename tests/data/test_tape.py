"""What goes onto a tape comes back, and a torn end costs the torn record alone."""

from pathlib import Path

import pytest

from flea_lab.data.tape import TapeWriter, read_tape
from flea_lab.errors import DataError
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, MarketEvent, Trade

EVENTS: list[MarketEvent] = [
    Candle(symbol="X", ts_event=60, ts_recv=61, open=1.0, high=2.0, low=0.5, close=1.5, volume=3.0, buy_volume=1.0),
    Trade(symbol="X", ts_event=61, ts_recv=62, price=1.5, qty=0.1, side="buy", trade_id=7),
    BookSnapshot(symbol="X", ts_event=62, ts_recv=63, seq=1, bids=((1.4, 2.0),), asks=((1.6, 1.0),)),
    Funding(symbol="X", ts_event=63, ts_recv=64, rate=-0.0001),
    Heartbeat(ts_event=64),
]


def write(path: Path, events: list[MarketEvent]) -> None:
    tape = TapeWriter(path)
    for event in events:
        tape.append(event)
    tape.close()


def test_what_goes_onto_a_tape_comes_back_and_more_can_follow(tmp_path: Path) -> None:
    write(tmp_path / "a.tape", EVENTS[:2])
    write(tmp_path / "a.tape", EVENTS[2:])
    assert list(read_tape(tmp_path / "a.tape")) == EVENTS
    assert (tmp_path / "a.tape").stat().st_mode & 0o777 == 0o600


def test_cut_anywhere_it_gives_a_prefix_and_goes_on_from_there(tmp_path: Path) -> None:
    write(tmp_path / "whole", EVENTS)
    whole = (tmp_path / "whole").read_bytes()
    for cut in range(8, len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        kept = list(read_tape(path))
        assert kept == EVENTS[: len(kept)]
        write(path, [EVENTS[-1]])
        assert list(read_tape(path)) == [*kept, EVENTS[-1]]


def test_a_flipped_bit_ends_the_tape_before_it(tmp_path: Path) -> None:
    write(tmp_path / "whole", EVENTS)
    spoilt = bytearray((tmp_path / "whole").read_bytes())
    spoilt[-3] ^= 1
    (tmp_path / "whole").write_bytes(spoilt)
    assert list(read_tape(tmp_path / "whole")) == EVENTS[:-1]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something else")
    with pytest.raises(DataError, match="x is not a tape"):
        TapeWriter(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "something else"

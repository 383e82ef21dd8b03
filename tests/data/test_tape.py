"""What goes onto a tape comes back, and a torn end costs the torn record alone."""

import struct
import zlib
from pathlib import Path

import msgspec
import pytest

from flea_lab.data.tape import Note, RawFrame, Record, TapeWriter, heard_ns, read_records, read_tape, whole_length
from flea_lab.data.tape_roll import TapeRoll, files
from flea_lab.errors import DataError
from flea_lab.model.market import DAY_NS, BookSnapshot, Candle, Funding, Heartbeat, MarketEvent, Trade

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
    for cut in range(len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        kept = list(read_tape(path)) if cut >= 8 else []
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


RECORDS: list[Record] = [
    Note(60, "begin", "here"),
    RawFrame(61, b'{"a":1}', 60),
    EVENTS[0],
    RawFrame(62, b"\x00\xff", None, False),
    Note(63, "down", "lost"),
    *EVENTS[1:],
]


def test_frames_and_notes_come_back_between_the_events(tmp_path: Path) -> None:
    tape = TapeWriter(tmp_path / "a.tape")
    for record in RECORDS:
        tape.append(record)
    tape.close()
    assert tape.size == (tmp_path / "a.tape").stat().st_size == whole_length(tmp_path / "a.tape")
    assert list(read_records(tmp_path / "a.tape")) == RECORDS
    assert list(read_tape(tmp_path / "a.tape")) == EVENTS
    assert [heard_ns(record) for record in RECORDS[:3]] == [60, 61, 61] and heard_ns(EVENTS[-1]) is None


def old_tape(path: Path, events: list[MarketEvent]) -> None:
    """A tape as format 1 wrote it."""
    bodies = [msgspec.msgpack.encode(event) for event in events]
    path.write_bytes(b"fleatp1\n" + b"".join(struct.pack("<II", len(b), zlib.crc32(b)) + b for b in bodies))


def test_an_old_tape_is_read_and_gone_on_with_as_it_is(tmp_path: Path) -> None:
    old_tape(tmp_path / "old", EVENTS[:2])
    assert list(read_tape(tmp_path / "old")) == list(read_records(tmp_path / "old")) == EVENTS[:2]
    write(tmp_path / "old", EVENTS[2:])
    assert (tmp_path / "old").read_bytes()[:8] == b"fleatp1\n"
    assert list(read_tape(tmp_path / "old")) == EVENTS
    tape = TapeWriter(tmp_path / "old")
    with pytest.raises(DataError, match="old: a tape of format 1 holds events only"):
        tape.append(RECORDS[0])
    tape.close()


def test_a_tape_longer_than_a_block_is_read_whole(tmp_path: Path) -> None:
    frames: list[Record] = [RawFrame(at, bytes([at % 251]) * 70_001) for at in range(60)]
    tape = TapeWriter(tmp_path / "long")
    for frame in frames:
        tape.append(frame)
    with pytest.raises(DataError, match=r"long: a record of \d+ bytes, at most 16777216 may be"):
        tape.append(RawFrame(1, bytes(1 << 24)))
    tape.close()
    assert list(read_records(tmp_path / "long")) == frames


def test_a_record_of_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    body = b"Znew"
    (tmp_path / "x").write_bytes(b"fleatp2\n" + struct.pack("<II", len(body), zlib.crc32(body)) + body)
    with pytest.raises(DataError, match=r"x: a record of kind b'Z' before byte 20: of a newer format"):
        list(read_records(tmp_path / "x"))
    assert list(read_tape(tmp_path / "x")) == []


def trade(ts: int) -> Trade:
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=1.0, qty=1.0, side="buy")


def test_a_roll_begins_a_file_when_one_is_full_and_goes_on_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    for part in range(4):
        roll = TapeRoll(path, max_bytes=400)
        for at in range(3):
            roll.append(trade(part * 3 + at))
        roll.close()
    known = files(path)
    assert [file.name for file in known] == ["a.tape", "a.2.tape", "a.3.tape", "a.4.tape"][: len(known)]
    assert len(known) > 2 and all(file.stat().st_mode & 0o777 == 0o600 for file in known)
    assert [event for file in known for event in read_tape(file)] == [trade(at) for at in range(12)]


def test_a_daily_roll_ends_with_the_utc_day_also_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    for stamps in ((DAY_NS - 2, DAY_NS - 1), (DAY_NS, DAY_NS + 1, 3 * DAY_NS)):
        roll = TapeRoll(path, daily=True)
        for ts in stamps:
            roll.append(trade(ts))
        roll.append(Heartbeat(ts_event=stamps[-1]))
        roll.close()
    assert [len(list(read_tape(file))) for file in files(path)] == [3, 2, 2]

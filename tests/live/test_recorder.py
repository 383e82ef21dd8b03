"""A recorder puts on the tape what the venue sent, byte for byte, beside what was read from it, and survives kills."""

import asyncio
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flea_lab.clock import WallClock
from flea_lab.data.tape import Note, RawFrame, read_records, read_tape, whole_length
from flea_lab.data.tape_check import check_tape
from flea_lab.data.tape_roll import TapeRoll
from flea_lab.errors import ConfigError
from flea_lab.live.recorder import Recorded, Recorder, RecorderSettings, channels_of
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.settings import load_settings
from tests.venue.test_with_sandbox import client, key_of, sandbox

KINDS = ("candle", "book", "trades", "funding")


def record(path: Path, *, matching: str = "book", limit_s: float | None = None, **values: Any) -> Recorded:
    """A whole recorded market of the sandbox on a tape at `path`."""

    async def run() -> Recorded:
        server = sandbox(matching=matching)
        key = key_of(server)
        recorder = Recorder(TapeRoll(path), load_settings(values, RecorderSettings, "a test"), WallClock(), ack=True)
        async with server.listening() as url, asyncio.timeout(20):
            playing = asyncio.create_task(server.play())
            feed = client(url, key, channels=KINDS, ack=True, on_raw=recorder.hear_raw, on_fault=recorder.hear_fault)
            done = await recorder.run(feed, ("BTCUSDT", "ETHUSDT"), limit_s=limit_s)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            return done

    return asyncio.run(run())


def test_frames_and_what_was_read_from_them_stand_side_by_side(tmp_path: Path) -> None:
    done = record(tmp_path / "a.tape", history=5)
    assert done.how == "the recorded market is over" and done.faults == 0
    records = list(read_records(tmp_path / "a.tape"))
    events = [record for record in records if not isinstance(record, RawFrame | Note)]
    assert events == list(read_tape(tmp_path / "a.tape"))
    assert {type(event) for event in events} == {Candle, BookSnapshot, Trade, Funding, Heartbeat}
    notes = [record.kind for record in records if isinstance(record, Note)]
    assert notes == ["begin", "history", "up", "end"]
    assert len([event for event in events if isinstance(event, Candle) and event.complete]) == 2 * (5 + 40)
    frames = [record for record in records if isinstance(record, RawFrame)]
    assert all(json.loads(frame.raw) for frame in frames)
    for at, record_ in enumerate(records):
        if isinstance(record_, RawFrame) and record_.ts_event is not None:
            event = records[at + 1]
            assert not isinstance(event, RawFrame | Note) and event.ts_event == record_.ts_event
    assert done.counts["RawFrame"] == len(frames)
    assert check_tape(tmp_path / "a.tape").backwards == 0
    assert stat.S_IMODE((tmp_path / "a.tape").stat().st_mode) == 0o600


@pytest.mark.parametrize(("keep", "raw", "events"), [("raw", True, False), ("events", False, True)])
def test_only_what_shall_be_kept_is_kept(tmp_path: Path, keep: str, raw: bool, events: bool) -> None:
    done = record(tmp_path / "a.tape", matching="next_open", keep=keep)
    assert ("RawFrame" in done.counts, "Candle" in done.counts) == (raw, events)


def test_the_time_ends_a_recording_and_a_second_one_goes_on_with_the_tape(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    first = record(path, matching="next_open", limit_s=0.05)
    size = path.stat().st_size
    second = record(path, matching="next_open")
    assert first.how in ("the time is over", "the recorded market is over") and path.stat().st_size > size
    notes = [one.kind for one in read_records(path) if isinstance(one, Note)]
    assert notes.count("begin") == notes.count("end") == 2 and second.how == "the recorded market is over"


def test_channels_are_named_by_kind_and_the_account_s_own_are_not_among_them() -> None:
    assert channels_of("trades, candle") == ("candle", "trades")
    with pytest.raises(ConfigError, match="channel 'fills' must be among candle, book, trades, funding"):
        channels_of("candle,fills")
    with pytest.raises(ConfigError, match="channel '' must be among"):
        channels_of("")


class Numbered:
    """A venue in a thread that pushes trades numbered 1, 2, 3, ... to whoever listens, and notes when."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.port = 0
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> "Numbered":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(10)

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/candles/{symbol}", self._candles)
        app.router.add_get("/ws", self._push)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        while not self._stop.is_set():
            await asyncio.sleep(0.02)
        await runner.cleanup()

    async def _candles(self, request: web.Request) -> web.Response:
        return web.json_response({"candles": []})

    async def _push(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        asked = json.loads((await ws.receive()).data)
        await ws.send_json({"event": "subscribed", "channels": asked["channels"], "symbols": asked["symbols"]})
        try:
            while not self._stop.is_set():
                for _ in range(10):
                    number = len(self.sent) + 1
                    data = {
                        "id": number,
                        "price": 100.0,
                        "size": 0.001,
                        "side": "buy",
                        "ts": 1_735_689_600_000 + number,
                    }
                    await ws.send_json({"channel": "trades", "symbol": "BTCUSDT", "data": data})
                    self.sent.append(time.monotonic())
                await asyncio.sleep(0.005)
        except ConnectionError:
            pass
        return ws


@pytest.fixture
def venue() -> Iterator[Numbered]:
    with Numbered() as serving:
        yield serving


FLUSH_S = 0.1
SLACK_S = 0.5  # the loop of a loaded machine wakes late


def recording(home: Path, venue: Numbered, *more: str) -> "subprocess.Popen[str]":
    url = f"http://127.0.0.1:{venue.port}"
    out = ["--out", str(home / "a.tape"), "--flush-s", str(FLUSH_S), "--channels", "trades", "--symbols", "BTCUSDT"]
    words = [sys.executable, "-m", "flea_lab", "record", "--url", url, *out, *more]
    env = {**os.environ, "FLEA_API_KEY": "k" * 20, "FLEA_HOME": str(home)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def kill_often(tmp_path: Path, venue: Numbered, times: int) -> None:
    """Kills the recorder `times` times and checks after each what it kept."""
    path, rng, before = tmp_path / "a.tape", random.Random(7), b""
    for _ in range(times):
        first = len(venue.sent)
        process = recording(tmp_path, venue)
        deadline = time.monotonic() + 30
        while len(venue.sent) == first and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.8))
        killed = time.monotonic()
        process.kill()
        process.communicate()
        whole = whole_length(path)
        content = path.read_bytes()
        assert content[: len(before)] == before, "what was whole before the kill is untouched"
        before = content[:whole]
        kept = [event.trade_id for event in read_tape(path) if isinstance(event, Trade)]
        due = sum(at < killed - FLUSH_S - SLACK_S for at in venue.sent)
        mine = [number for number in kept if number is not None and number > first]
        assert mine == list(range(first + 1, first + 1 + len(mine))), "no trade is missing between two that are there"
        assert due <= first or (mine and mine[-1] >= due), f"trade {due} was sent long before the kill"


def test_a_kill_costs_the_unflushed_tail_and_nothing_else(tmp_path: Path, venue: Numbered) -> None:
    kill_often(tmp_path, venue, 5)


@pytest.mark.slow
def test_fifty_kills_cost_the_unflushed_tail_and_nothing_else(tmp_path: Path, venue: Numbered) -> None:
    kill_often(tmp_path, venue, 50)


def test_ctrl_c_ends_the_tape_in_order(tmp_path: Path, venue: Numbered) -> None:
    process = recording(tmp_path, venue)
    deadline = time.monotonic() + 30
    while len(venue.sent) < 50 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=20)
    assert process.returncode == 0, complaint
    assert "ended   stopped by SIGINT; " in said and "0 frames unread" in said
    records = list(read_records(tmp_path / "a.tape"))
    assert isinstance(records[-1], Note) and records[-1].kind == "end"
    assert whole_length(tmp_path / "a.tape") == (tmp_path / "a.tape").stat().st_size
    assert b"k" * 20 not in (tmp_path / "a.tape").read_bytes()

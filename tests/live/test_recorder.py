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
from collections.abc import Callable, Iterator
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
        async with server.listening() as url, asyncio.timeout(60):
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
    """A venue in a thread that pushes trades numbered 1, 2, 3, ... to whoever listens; `sent` is the last of them."""

    def __init__(self) -> None:
        self.sent = self.port = 0
        self._pause, self._paused = threading.Event(), threading.Event()
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> "Numbered":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def pauses(self) -> int:
        """The number of the last trade, after which it says nothing until it goes on."""
        self._paused.clear()
        self._pause.set()
        assert self._paused.wait(60)
        return self.sent

    def goes_on(self) -> None:
        """Says more again."""
        self._pause.clear()

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
                while self._pause.is_set() and not self._stop.is_set():
                    self._paused.set()
                    await asyncio.sleep(0.005)
                for _ in range(10):
                    number = self.sent + 1
                    data = {
                        "id": number,
                        "price": 100.0,
                        "size": 0.001,
                        "side": "buy",
                        "ts": 1_735_689_600_000 + number,
                    }
                    await ws.send_json({"channel": "trades", "symbol": "BTCUSDT", "data": data})
                    self.sent = number
                await asyncio.sleep(0.005)
        except ConnectionError:
            pass
        return ws


@pytest.fixture
def venue() -> Iterator[Numbered]:
    with Numbered() as serving:
        yield serving


FLUSH_S = 0.1


def recording(home: Path, venue: Numbered, *more: str) -> "subprocess.Popen[str]":
    url = f"http://127.0.0.1:{venue.port}"
    out = ["--out", str(home / "a.tape"), "--flush-s", str(FLUSH_S), "--channels", "trades", "--symbols", "BTCUSDT"]
    words = [sys.executable, "-m", "flea_lab", "record", "--url", url, *out, *more]
    env = {**os.environ, "FLEA_API_KEY": "k" * 20, "FLEA_HOME": str(home)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def until(holds: Callable[[], bool]) -> None:
    """Returns once it holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kept(path: Path) -> list[int | str | None]:
    """The trades that are on the tape, whole, by their numbers."""
    if not path.exists():
        return []
    return [event.trade_id for event in read_tape(path) if isinstance(event, Trade)]


def kill_once(tmp_path: Path, venue: Numbered, rng: random.Random, before: bytes) -> bytes:
    """What is whole on the tape after a recorder, which found `before` there, was killed; checked against what it was
    sent."""
    path, first = tmp_path / "a.tape", venue.sent
    process = recording(tmp_path, venue)
    try:
        until(lambda: venue.sent > first or process.poll() is not None)
        time.sleep(rng.uniform(0.05, 0.6))
        due = venue.pauses()
        until(lambda: due in kept(path)[-1:])  # time alone flushes: nothing more comes that would push it out
        venue.goes_on()
        time.sleep(rng.uniform(0.0, 0.3))
    finally:
        process.kill()
        process.communicate()
    content = path.read_bytes()
    assert content[: len(before)] == before, "what was whole before the kill is untouched"
    mine = [number for number in kept(path) if isinstance(number, int) and number > first]
    assert mine == list(range(first + 1, first + 1 + len(mine))), "no trade is missing between two that are there"
    assert due > first and mine[-1] >= due, f"trade {due} was on the disk before the kill"
    return content[: whole_length(path)]


def kill_often(tmp_path: Path, venue: Numbered, times: int) -> None:
    """Kills the recorder `times` times and checks after each what it kept."""
    rng, whole = random.Random(7), b""
    for _ in range(times):
        whole = kill_once(tmp_path, venue, rng, whole)


def test_a_kill_costs_the_unflushed_tail_and_nothing_else(tmp_path: Path, venue: Numbered) -> None:
    kill_often(tmp_path, venue, 5)


@pytest.mark.slow
def test_fifty_kills_cost_the_unflushed_tail_and_nothing_else(tmp_path: Path, venue: Numbered) -> None:
    kill_often(tmp_path, venue, 50)


def test_ctrl_c_ends_the_tape_in_order(tmp_path: Path, venue: Numbered) -> None:
    process = recording(tmp_path, venue)
    until(lambda: venue.sent >= 50)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert "ended   stopped by SIGINT; " in said and "0 frames unread" in said
    records = list(read_records(tmp_path / "a.tape"))
    assert isinstance(records[-1], Note) and records[-1].kind == "end"
    assert whole_length(tmp_path / "a.tape") == (tmp_path / "a.tape").stat().st_size
    assert b"k" * 20 not in (tmp_path / "a.tape").read_bytes()

"""A client of the brief, written from its text alone, gets from the sandbox what the brief says it gets.

Nothing of flea_lab is imported here: the market, the server and the key come from the command line and the faucet, as
they would for anybody. `Client` does what the brief prints, and leaves out the same things: it asks for no lost bars,
reads no sequence numbers and sends nothing but its subscription.
"""

import asyncio
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sandbox.brief_client import CHANNELS, HISTORY, Candle, Client, Json
from tests.steady import SteadyLoop

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
MINUTE_MS = 60_000
LEVELS = 20
SPEED = 120
BARS = 5
"""Complete candles a symbol that the client waits for."""
CONFIG = """
symbols = ["BTCUSDT", "ETHUSDT"]
interval = "1m"

[[signals]]
kernel = "ema_momentum"

[data]
venue = "synthetic"
"""


@dataclass
class Server:
    """A sandbox in a process of its own."""

    process: "subprocess.Popen[str]"
    base: str
    key: str = ""

    def stop(self) -> None:
        """Asks it to end, as Ctrl-C does, and waits until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Place:
    """A workspace with a market in it, and the sandboxes that play it."""

    folder: Path
    servers: list[Server] = field(default_factory=list)

    def env(self) -> dict[str, str]:
        return {**os.environ, "FLEA_HOME": str(self.folder / "home")}

    def flea(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "flea_lab", *words]
        with (self.folder / "said").open("a") as said:
            return subprocess.Popen(command, cwd=ROOT, env=self.env(), text=True, stdout=subprocess.PIPE, stderr=said)

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def sandbox(self, *words: str) -> Server:
        """A server that has said where it listens, and a key of its faucet."""
        process = self.flea("sandbox", str(self.folder / "brief.toml"), "--port", "0", *words)
        server = Server(process, "")
        self.servers.append(server)
        return server

    def ready(self, server: Server) -> Server:
        stdout = server.process.stdout
        assert stdout is not None
        assert select.select([stdout], [], [], 60)[0], f"the sandbox said nothing in 60 s: {self.said()}"
        line = stdout.readline()
        found = re.match(r"sandbox  http://127\.0\.0\.1:(\d+)\b", line)
        assert found, f"{line!r} {self.said()}"
        server.base = f"http://127.0.0.1:{found[1]}/trading-api"
        server.key = asyncio.run(claim(server.base))
        return server


async def claim(base: str) -> str:
    async with aiohttp.ClientSession() as session, session.post(f"{base}/faucet/claim", json={}) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["api_key"])


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("brief"))
    (place.folder / "brief.toml").write_text(CONFIG)
    made = [
        place.flea("data", "synth", "--symbol", symbol, "--bars", "2000", "--seed", str(seed))
        for seed, symbol in enumerate(SYMBOLS, start=7)
    ]
    for process in made:
        process.communicate(timeout=120)
        assert process.returncode == 0, place.said()
    yield place
    for server in place.servers:
        server.stop()


@pytest.fixture(scope="session")
def server(place: Place) -> Server:
    """One that fills against a book."""
    return place.ready(place.sandbox("--pace", str(SPEED), "--matching", "book"))


@pytest.fixture(scope="session")
def starting(place: Place, server: Server) -> Server:
    """One that is stopped in the end; it starts while other tests run, and finds compiled what the first compiled."""
    return place.sandbox("--pace", str(4 * SPEED))


@pytest.fixture(scope="session")
def leaving(place: Place, starting: Server) -> Server:
    return place.ready(starting)


@dataclass
class Heard:
    """What one client got: the state it ended with, what each callback was told, what was served afterwards."""

    client: Client
    sync: dict[str, list[Json]]
    later: dict[str, list[Json]]
    served: dict[str, list[Json]]

    def pushes(self, channel: str, symbol: str) -> list[Json]:
        frames = self.client.frames
        return [f["data"] for f in frames if f.get("channel") == channel and f.get("symbol") == symbol]

    def live(self, symbol: str) -> list[Candle]:
        return [told["candle"] for told in self.sync["candle"] if told["symbol"] == symbol]


async def get(server: Server, path: str, key: str | None = None) -> tuple[int, Any]:
    """Status and JSON body."""
    headers = {} if key == "" else {"X-API-Key": key or server.key}
    async with aiohttp.ClientSession() as session, session.get(server.base + path, headers=headers) as answer:
        return answer.status, await answer.json()


async def candles(server: Server, symbol: str, limit: int) -> list[Json]:
    status, body = await get(server, f"/candles/{symbol}?interval=1m&limit={limit}")
    assert status == 200, body
    return list(body["candles"])


async def connected(server: Server, session: aiohttp.ClientSession, **options: Any) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(
        server.base.replace("http", "ws", 1) + "/ws", headers={"X-API-Key": server.key}, **options
    )


class Stand:
    """The market at the close of a bar, where it stands until `go_on`: somebody acknowledges no more."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws, self._ts = ws, 0

    async def next(self) -> None:
        """Returns once the next bar has closed; the market stands there."""
        if self._ts:
            await self._ws.send_json({"action": "ack", "ts": self._ts})
        async for message in self._ws:
            frame = json.loads(message.data)
            if frame.get("event") == "heartbeat":
                self._ts = frame["ts"]
                return
        raise AssertionError("the stream ended before a bar closed")

    async def go_on(self) -> None:
        """Acknowledges every bar, until cancelled."""
        while True:
            await self.next()


@asynccontextmanager
async def standing(server: Server) -> AsyncIterator[Stand]:
    """The market of `server`, standing at the close of a bar."""
    async with aiohttp.ClientSession() as session, await connected(server, session) as ws:
        wanted = {"action": "subscribe", "channels": ["candle_1m"], "symbols": SYMBOLS[-1:], "ack": True}
        await ws.send_json(wanted)
        stand = Stand(ws)
        await stand.next()  # the time at which it was joined, perhaps in the middle of a bar
        await stand.next()
        yield stand


def listened(server: Server) -> Heard:
    """A client that was there for `BARS` bars."""
    sync: dict[str, list[Json]] = {"candle": [], "book": [], "trade": [], "stale": []}
    later: dict[str, list[Json]] = {"candle": [], "book": [], "trade": [], "stale": []}
    client = Client(server.base, server.key, SYMBOLS, watch_s=1.0, stale_s=60.0)

    def tell(event: str) -> None:
        async def told_later(data: Json) -> None:
            later[event].append(data)
            await asyncio.sleep(0)

        client.on(event, sync[event].append)
        client.on(event, told_later)

    def enough() -> bool:
        return all(sum(c["symbol"] == symbol for c in sync["candle"]) >= BARS for symbol in SYMBOLS)

    async def run() -> dict[str, list[Json]]:
        for event in sync:
            tell(event)
        async with standing(server) as stand, asyncio.timeout(60):
            task = asyncio.create_task(client.start())
            while not client.frames and not task.done():
                await asyncio.sleep(0.02)  # its history is loaded, and its subscription was heard
            going = asyncio.create_task(stand.go_on())
            while not enough() and not task.done():
                await asyncio.sleep(0.02)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
        served = {symbol: await candles(server, symbol, 400) for symbol in SYMBOLS}
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        return served

    return Heard(client, sync, later, asyncio.run(run()))


@pytest.fixture(scope="session")
def heard(server: Server, starting: Server) -> Heard:
    """The client does not ask for a bar that closes between its history and its subscription: meanwhile the market
    stands at the close of one."""
    return listened(server)


@pytest.mark.parametrize("limit", [1, 7, HISTORY])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_history_is_as_long_as_asked_for_oldest_first_and_a_minute_apart(
    server: Server, symbol: str, limit: int
) -> None:
    found = asyncio.run(candles(server, symbol, limit))
    times = [c["t"] for c in found]
    assert len(found) == limit
    assert times == list(range(times[0], times[0] + limit * MINUTE_MS, MINUTE_MS))
    for c in found:
        assert all(type(c[name]) in (int, float) for name in "tohlcv"), c
        assert 0 < c["l"] <= min(c["o"], c["c"]) <= max(c["o"], c["c"]) <= c["h"] and c["v"] >= 0, c


def test_history_ends_with_the_last_bar_that_has_closed(server: Server) -> None:
    async def both() -> tuple[list[Json], list[Json]]:
        async with standing(server):
            return await candles(server, "BTCUSDT", 7), await candles(server, "BTCUSDT", HISTORY)

    short, long = asyncio.run(both())
    assert long[-7:] == short


def test_the_symbols_are_not_each_other(server: Server) -> None:
    async def both() -> list[list[Json]]:
        return [await candles(server, symbol, 50) for symbol in SYMBOLS]

    one, other = ({c["t"]: c["c"] for c in found} for found in asyncio.run(both()))
    shared = one.keys() & other.keys()
    assert len(shared) >= 40
    assert sum(one[t] == other[t] for t in shared) < 5


def test_every_channel_of_every_symbol_arrives_and_nothing_else(heard: Heard) -> None:
    arrived = {(f["channel"], f["symbol"]) for f in heard.client.frames if f.get("symbol")}
    assert arrived == {(channel, symbol) for channel in CHANNELS for symbol in SYMBOLS}
    assert heard.client.joined[1:] == heard.client.closes_seen == []


def test_only_what_was_subscribed_arrives(server: Server) -> None:
    async def run() -> set[tuple[str, str]]:
        async with aiohttp.ClientSession() as session, await connected(server, session) as ws:
            await ws.send_json({"action": "subscribe", "channels": ["orderbook_l2"], "symbols": ["ETHUSDT"]})
            arrived = []
            while len(arrived) < 15:
                frame = await ws.receive_json(timeout=10)
                arrived += [(frame["channel"], frame["symbol"])] if frame.get("symbol") else []
            return set(arrived)

    assert asyncio.run(run()) == {("orderbook_l2", "ETHUSDT")}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_complete_candles_go_on_where_history_ended_one_a_bar(heard: Heard, symbol: str) -> None:
    times = [candle.timestamp for candle in heard.client.candles[symbol]]
    live = [candle.timestamp for candle in heard.live(symbol)]
    assert len(live) >= BARS and len(times) == HISTORY + len(live)
    assert times == list(range(times[0], times[0] + len(times) * MINUTE_MS, MINUTE_MS))
    assert times[HISTORY:] == live


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_what_was_streamed_is_what_is_served(heard: Heard, symbol: str) -> None:
    served = {c["t"]: c for c in heard.served[symbol]}
    mine = heard.client.candles[symbol]
    assert heard.client.closes(symbol) == [served[candle.timestamp]["c"] for candle in mine]
    assert heard.client.volumes(symbol) == [served[candle.timestamp]["v"] for candle in mine]
    for candle in heard.live(symbol):
        assert [candle.open, candle.high, candle.low] == [served[candle.timestamp][name] for name in "ohl"]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_candle_is_complete_once_and_only_the_running_bar_is_not(heard: Heard, symbol: str) -> None:
    running = heard.client.candles[symbol][HISTORY].timestamp
    partial = 0
    for data in heard.pushes("candle_1m", symbol):
        assert data["t"] == running
        running += MINUTE_MS * data["complete"]
        partial += not data["complete"]
    assert partial > 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_book_has_its_20_best_levels_best_first_and_is_not_crossed(heard: Heard, symbol: str) -> None:
    books = heard.pushes("orderbook_l2", symbol)
    assert len(books) >= BARS
    for data in books:
        bids, asks = [p for p, _ in data["bids"]], [p for p, _ in data["asks"]]
        assert len(bids) == len(asks) == LEVELS
        assert bids == sorted(set(bids), reverse=True) and asks == sorted(set(asks))
        assert 0 < bids[0] < asks[0]
        assert all(size > 0 for _, size in data["bids"] + data["asks"])
        assert all(type(number) in (int, float) for level in data["bids"] + data["asks"] for number in level)
    last = heard.client.books[symbol]
    assert last is not None and [last.bids, last.asks] == [books[-1]["bids"], books[-1]["asks"]]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_trade_says_who_was_the_aggressor(heard: Heard, symbol: str) -> None:
    trades = heard.pushes("trades", symbol)
    assert {trade["side"] for trade in trades} == {"buy", "sell"}
    assert all(trade["price"] > 0 and trade["size"] > 0 for trade in trades)
    assert len({trade["id"] for trade in trades}) == len(trades)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_trades_lie_in_the_candle_of_their_bar(heard: Heard, symbol: str) -> None:
    prices: list[float] = []
    whole = 0
    for frame in heard.client.frames:
        if frame.get("symbol") != symbol:
            continue
        data = frame["data"]
        if frame["channel"] == "trades":
            prices.append(data["price"])
        elif frame["channel"] == "candle_1m" and data["complete"]:
            assert prices and data["l"] <= min(prices) and max(prices) <= data["h"]
            prices.clear()
            whole += 1
    assert whole >= BARS


def test_frames_without_a_symbol_change_nothing(heard: Heard) -> None:
    client = heard.client
    control = [frame for frame in client.frames if not frame.get("symbol")]
    assert control  # the sandbox does send some; the brief's client must get by with them
    fresh = Client(client.base, "", SYMBOLS)
    for frame in control:
        asyncio.run(fresh.handle(frame))
    assert not any(fresh.candles.values()) and not any(fresh.books.values()) and not any(fresh.last_update.values())
    assert all(set(frame) >= {"channel", "symbol", "data"} for frame in client.frames if frame not in control)


def test_callbacks_plain_and_async_are_told_the_same(heard: Heard) -> None:
    assert heard.later == heard.sync
    assert all(heard.sync[event] for event in ("candle", "book", "trade"))


def test_nothing_is_stale_while_the_market_plays(heard: Heard) -> None:
    assert heard.sync["stale"] == []
    for symbol in SYMBOLS:  # in the market's own time: no bar goes by without a word
        told = [frame["ts"] for frame in heard.client.frames if frame.get("symbol") == symbol]
        assert max(later - one for one, later in itertools.pairwise(told)) <= MINUTE_MS


def test_a_ping_is_answered(server: Server) -> None:
    async def run() -> bytes:
        async with aiohttp.ClientSession() as session, await connected(server, session, autoping=False) as ws:
            await ws.ping(b"flea")
            async with asyncio.timeout(10):
                while (message := await ws.receive()).type != aiohttp.WSMsgType.PONG:
                    assert message.type == aiohttp.WSMsgType.TEXT, message
            return bytes(message.data)

    assert asyncio.run(run()) == b"flea"


def test_a_heartbeat_keeps_a_silent_connection_open(server: Server) -> None:
    """Subscribed to nothing, pinged again and again: an unanswered ping would close it from here."""

    async def run() -> tuple[bool, int | None]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteadyLoop)
        options = {"heartbeat": 600.0, "autoping": False}
        async with aiohttp.ClientSession() as session, await connected(server, session, **options) as ws:
            for _ in range(3):
                loop.leap(601.0)  # it is time for a ping; for its answer there are 300 s
                assert (await ws.receive()).type == aiohttp.WSMsgType.PONG
            return ws.closed, ws.close_code

    assert asyncio.run(run()) == (False, None)


@pytest.mark.parametrize("key", ["", "pf_not_a_key"], ids=["no key", "bad key"])
def test_without_a_good_key_there_is_nothing(server: Server, key: str) -> None:
    async def upgrade() -> int:
        url = server.base.replace("http", "ws", 1) + "/ws"
        headers = {"X-API-Key": key} if key else {}
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url, headers=headers)
        return refused.value.status

    status, body = asyncio.run(get(server, "/candles/BTCUSDT?interval=1m&limit=5", key))
    assert (status, asyncio.run(upgrade())) == (401, 401)
    assert isinstance(body["error"], str) and isinstance(body["message"], str)
    assert "candles" not in body


def test_an_unknown_symbol_is_said_to_be_one(server: Server) -> None:
    status, body = asyncio.run(get(server, "/candles/DOGEUSDT?interval=1m&limit=5"))
    assert status == 404
    assert body["error"] == "unknown_symbol" and "DOGEUSDT" in body["message"]


def test_the_client_survives_a_server_that_goes(leaving: Server) -> None:
    """The stream ends as streams should (normal, going away) and without an exception; the feed goes on trying, and
    its watchdog says what is stale."""
    client = Client(leaving.base, leaving.key, SYMBOLS, watch_s=0.1, stale_s=0.6)
    stale: list[Json] = []

    async def run() -> bool:
        task = asyncio.create_task(client.start())
        async with asyncio.timeout(60):
            while not all(len(client.candles[symbol]) > HISTORY + 1 for symbol in SYMBOLS):
                await asyncio.sleep(0.02)
            client.on("stale", stale.append)
            await asyncio.to_thread(leaving.stop)
            while {told["symbol"] for told in stale} != set(SYMBOLS):
                await asyncio.sleep(0.02)
        alive = not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return alive

    assert asyncio.run(run())
    assert client.closes_seen and set(client.closes_seen) <= {1000, 1001}
    assert client.waits[:1] == [1.0]  # nobody answers any more: it waits before it tries again
    assert leaving.process.returncode in (0, 130)
    assert all(told["age_secs"] > 0.6 for told in stale)

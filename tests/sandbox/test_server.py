"""The sandbox on its websocket: who is told what, in which order, and who is waited for."""

import asyncio

import aiohttp
import pytest

from flea_lab.sandbox import connection as connecting
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.stage import Stage
from tests.sandbox.client import CANDLES, Client, CountedClock, run, stamp
from tests.sandbox.stages import MINUTE, T0, a_playlist, settings


def test_the_market_moves_only_when_acknowledged() -> None:
    async def client(one: Client) -> None:
        async with one.stream(*CANDLES, ack=True) as stream:
            assert await stream.hear() == {"event": "subscribed", "channels": CANDLES, "symbols": ["X", "Y"]}
            assert await stream.hear() == {"event": "heartbeat", "ts": T0}
            assert await stream.silent()
            for i in range(10):
                await stream.ack(T0 + i * MINUTE)
                frames = await stream.until("heartbeat")
                assert [(f.get("symbol"), f.get("seq"), stamp(f)) for f in frames] == [
                    ("X", i + 1, i + 1),
                    ("Y", i + 1, i + 1),
                    (None, None, i + 1),
                ]
                assert frames[0]["data"] == {
                    "t": T0 + i * MINUTE,
                    "o": 100.0 + i,
                    "h": 101.0 + i,
                    "l": 99.0 + i,
                    "c": 100.5 + i,
                    "v": 10.0 + i,
                    "bv": 4.0,
                    "complete": True,
                }
            assert await stream.silent(), "the last bar is to be worked off as well"
            await stream.ack(T0 + 10 * MINUTE)
            assert await stream.hear() == {"event": "played", "ts": T0 + 10 * MINUTE}
        assert (await one.call("GET", "/health"))[1]["played"]
        async with one.stream(*CANDLES, ack=True) as late:
            assert [f["event"] for f in await late.until("played")] == ["subscribed", "heartbeat", "played"]

    run(client)


def test_an_old_ack_moves_nothing_and_one_of_the_future_is_refused() -> None:
    async def client(one: Client) -> None:
        async with one.stream(*CANDLES, ack=True) as stream:
            await stream.until("heartbeat")
            await stream.ack(T0 + MINUTE)
            assert (await stream.hear())["code"] == "invalid_ack"
            await stream.ack(T0)
            await stream.until("heartbeat")
            await stream.ack(T0)
            assert await stream.silent()

    run(client)


def test_the_market_stands_while_nobody_acknowledges_and_waits_for_each_who_does() -> None:
    async def client(one: Client) -> None:
        async with one.stream(*CANDLES) as reader:
            assert (await reader.hear())["event"] == "subscribed"
            assert await reader.silent()
            async with one.stream(*CANDLES, ack=True) as first, one.stream(*CANDLES, ack=True) as second:
                await first.until("heartbeat")
                await second.until("heartbeat")
                await first.ack(T0)
                assert await reader.silent()
                await second.ack(T0)
                assert stamp((await reader.until("heartbeat"))[-1]) == 1
                await first.until("heartbeat")
                await first.ack(T0 + MINUTE)
                assert await reader.silent()
                await second.ws.close()
                assert stamp((await reader.until("heartbeat"))[-1]) == 2, "who is gone is not waited for"
            assert await reader.silent()
            await reader.ack(T0 + 2 * MINUTE)
            assert stamp((await reader.until("heartbeat"))[-1]) == 3, "an ack makes one who acknowledges"

    run(client)


def test_an_order_fills_at_the_next_open_and_is_told_before_the_bar() -> None:
    async def client(one: Client) -> None:
        async with one.stream("candle_1m", "orders", "fills", symbols=["Y"], ack=True) as stream:
            await stream.until("heartbeat")
            await stream.ack(T0)
            await stream.until("heartbeat")
            status, body = await one.order(size="0.5")
            assert status == 201
            assert body["order"] == {
                "client_order_id": "a",
                "order_id": "o-1",
                "symbol": "X",
                "side": "buy",
                "type": "market",
                "size": "0.500",
                "filled": "0.000",
                "limit_price": None,
                "tif": "ioc",
                "reduce_only": False,
                "status": "open",
                "created": T0 + MINUTE,
                "updated": T0 + MINUTE,
            }
            assert await one.order(size="0.5") == (200, body)
            await stream.ack(T0 + MINUTE)
            told, fill, done, candle, _ = await stream.until("heartbeat")
            assert [told["channel"], fill["channel"], done["channel"], candle["channel"]] == [
                "orders",
                "fills",
                "orders",
                "candle_1m",
            ]
            assert [told["seq"], fill["seq"], done["seq"]] == [1, 2, 3], "one count, and symbols do not thin it out"
            assert told["data"] == body["order"]
            assert fill["data"] == {
                "fill_id": "f-1",
                "client_order_id": "a",
                "order_id": "o-1",
                "symbol": "X",
                "side": "buy",
                "price": "101.0",
                "size": "0.500",
                "fee": "0.025250",
                "liquidity": "taker",
                "reference": "101.0",
                "ts": T0 + MINUTE,
            }
            assert (done["data"]["status"], done["data"]["filled"]) == ("filled", "0.500")
        assert await one.call("GET", "/fills") == (200, {"fills": [{**fill["data"], "seq": 2}]})
        assert await one.call("GET", "/fills", after=2) == (200, {"fills": []})
        status, account = await one.call("GET", "/account")
        assert account == {
            "account_id": "me-1",
            "balance": "99999.974750",
            "cash": "99949.474750",
            "equity": "100000.224750",
            "used_margin": "5.075000",
            "available": "99995.149750",
            "fees_paid": "0.025250",
            "funding_paid": "0.000000",
            "positions": [
                {"symbol": "X", "size": "0.500", "entry_price": "101", "mark": "101.5", "unrealised": "0.250000"}
            ],
            "seq": 3,
            "ts": T0 + 2 * MINUTE,
        }
        assert await one.call("GET", "/positions") == (200, {"positions": account["positions"]})

    run(client)


def test_private_frames_are_for_their_account_only() -> None:
    async def client(one: Client) -> None:
        other = Client(one.server, one.url, one.session)
        other.headers = {"X-API-Key": (await other.call("POST", "/faucet/claim"))[1]["api_key"]}
        async with one.stream("orders") as mine, other.stream("orders") as theirs:
            await mine.hear()
            await theirs.hear()
            await one.order(type="limit", limit_price="90")
            assert (await mine.hear())["data"]["status"] == "open"
            assert await theirs.silent()
        assert (await other.call("GET", "/orders/a"))[1]["error"] == "order_not_found"
        assert (await other.call("GET", "/account"))[1]["seq"] == 0

    run(client, start="2025-01-01T00:01")


def test_what_is_unknown_is_named_and_the_rest_is_subscribed() -> None:
    async def client(one: Client) -> None:
        async with one.stream("candle_1m", "candle_2m", symbols=["Y", "Z"], ack=True) as stream:
            frames = await stream.until("heartbeat")
            assert [(f.get("code"), f["event"]) for f in frames] == [
                ("unknown_channel", "error"),
                ("unknown_symbol", "error"),
                (None, "subscribed"),
                (None, "heartbeat"),
            ]
            assert "'candle_2m'" in frames[0]["message"] and "'Z'" in frames[1]["message"]
            assert frames[2] == {"event": "subscribed", "channels": ["candle_1m"], "symbols": ["Y"]}
            await stream.ack(T0)
            assert [f.get("symbol") for f in await stream.until("heartbeat")] == ["Y", None]

    run(client)


def test_garbage_is_answered_and_does_no_harm() -> None:
    async def client(one: Client) -> None:
        async with one.stream(*CANDLES, ack=True) as stream:
            await stream.until("heartbeat")
            for said in (
                "",
                "{",
                "[]",
                "null",
                "1",
                '{"action":"fly"}',
                '{"action":"ack"}',
                '{"action":"ack","ts":"x"}',
            ):
                await stream.say(said)
                answer = await stream.hear()
                assert (answer["event"], answer["code"]) == ("error", "invalid_frame")
            await stream.ws.send_bytes(b"\x00")
            assert (await stream.hear())["code"] == "invalid_frame"
            await stream.ack(T0)
            assert len(await stream.until("heartbeat")) == 3

    run(client)


def test_unsubscribing_stops_a_channel() -> None:
    async def client(one: Client) -> None:
        async with one.stream("candle_1m", "candle_5m", ack=True) as stream:
            await stream.until("heartbeat")
            await stream.say({"action": "unsubscribe", "channels": ["candle_1m"]})
            for i in range(5):
                await stream.ack(T0 + i * MINUTE)
                frames = await stream.until("heartbeat")
            assert [f.get("channel") for f in frames] == ["candle_5m", "candle_5m", None]

    run(client)


def test_control_pings_are_answered() -> None:
    async def client(one: Client) -> None:
        async with one.session.ws_connect(one.url + "/ws", headers=one.headers, autoping=False) as ws:
            await ws.ping(b"flea")
            message = await ws.receive()
            assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"flea")

    run(client)


def test_at_a_speed_the_market_plays_without_anybody_and_in_time() -> None:
    async def client(one: Client) -> None:
        loop = asyncio.get_running_loop()
        async with one.stream(*CANDLES) as stream:
            await stream.hear()
            began, seen = loop.time(), []
            frames = await stream.until("played")
            seen = [stamp(f) for f in frames if f.get("event") == "heartbeat"]
            assert seen == list(range(seen[0], 11))
            bars = len(seen) - 0.5
            assert loop.time() - began > 0.8 * (bars - 1) * 0.06

    run(client, pace=1000.0)


def test_at_a_speed_too_who_acknowledges_is_waited_for() -> None:
    async def client(one: Client) -> None:
        async with one.stream("candle_1m", "fills", ack=True) as stream:
            beat = (await stream.until("heartbeat"))[-1]
            assert await stream.silent(), "the past is read before the market goes on"
            await stream.ack(beat["ts"])
            beat = (await stream.until("heartbeat"))[-1]
            assert await stream.silent()
            await one.order()
            await stream.ack(beat["ts"])
            fill = (await stream.until("heartbeat"))[0]
            assert (fill["channel"], fill["ts"]) == ("fills", beat["ts"])

    run(client, pace=1000.0)


def test_a_delta_subscriber_can_build_the_book_that_others_are_sent() -> None:
    async def client(one: Client) -> None:
        async with (
            one.stream("orderbook_l2", symbols=["X"], ack=True) as whole,
            one.stream("orderbook_l2", symbols=["X"], ack=True, book="delta") as delta,
        ):
            await whole.until("heartbeat")
            await delta.until("heartbeat")
            sides: dict[str, dict[float, float]] = {}
            kinds = []
            for i in range(2):
                await whole.ack(T0 + i * MINUTE)
                await delta.ack(T0 + i * MINUTE)
                books, changes = await whole.until("heartbeat"), await delta.until("heartbeat")
                for book, change in zip(books[:-1], changes[:-1], strict=True):
                    assert book["seq"] == change["seq"]
                    kinds.append(change["data"]["type"])
                    for side in ("bids", "asks"):
                        if kinds[-1] == "snapshot":
                            sides[side] = {}
                        sides[side].update(change["data"][side])
                        built = {price: size for price, size in sides[side].items() if size}
                        assert built == dict(book["data"][side])
                        assert len(built) == 20
            assert kinds[0] == "snapshot" and set(kinds[1:]) == {"delta"}

    run(client, matching="book", steps=4)


def test_who_does_not_read_is_cut_off_and_the_market_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "MAX_UNREAD", 2)

    async def client(one: Client) -> None:
        async with one.stream(*CANDLES) as lazy, one.stream("candle_5m", symbols=["X"], ack=True) as keen:
            await lazy.hear()
            await keen.until("heartbeat")
            await keen.ack(T0)
            await keen.until("heartbeat")
            assert (await lazy.ws.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            await keen.ack(T0 + MINUTE)
            await keen.until("heartbeat")

    run(client)


def test_at_the_end_sockets_are_closed_and_say_so() -> None:
    async def main() -> None:
        server = SandboxServer(Stage(a_playlist(), settings()), CountedClock())
        async with aiohttp.ClientSession() as session:
            async with server.running() as url:
                one = Client(server, url, session)
                one.headers = {"X-API-Key": (await one.call("POST", "/faucet/claim"))[1]["api_key"]}
                ws = await session.ws_connect(url + "/ws", headers=one.headers)
                reading = asyncio.ensure_future(ws.receive())
                await asyncio.sleep(0.05)
            message = await reading
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            await ws.close()

    asyncio.run(main())

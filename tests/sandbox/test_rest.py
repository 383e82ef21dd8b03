"""The sandbox over REST: keys, errors, orders, history; and that nobody else can come in."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from flea_lab.errors import VenueError
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.stage import Stage
from tests.sandbox.client import Client, CountedClock, Json, run
from tests.sandbox.stages import HOUR, MINUTE, T0, a_playlist, settings


def test_orders_are_asked_for_and_taken_back() -> None:
    async def client(one: Client) -> None:
        for name in "abc":
            assert (await one.order(name, type="limit", limit_price="99.5"))[0] == 201
        assert (await one.call("GET", "/orders/a"))[1]["order"]["limit_price"] == "99.5"
        status, body = await one.call("DELETE", "/orders/a")
        assert (status, body["order"]["status"]) == (200, "cancelled")
        assert [o["client_order_id"] for o in (await one.call("GET", "/orders", status="open"))[1]["orders"]] == [
            "b",
            "c",
        ]
        assert await one.call("DELETE", "/orders") == (200, {"cancelled": ["b", "c"]})
        assert await one.call("DELETE", "/orders") == (200, {"cancelled": []})
        assert len((await one.call("GET", "/orders", status="all"))[1]["orders"]) == 3

    run(client, start="2025-01-01T00:01")


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "code"),
    [
        ("GET", "/candles/Z", {}, 404, "unknown_symbol"),
        ("GET", "/candles/X", {"interval": "2m"}, 400, "invalid_interval"),
        ("GET", "/candles/X", {"limit": 0}, 400, "invalid_limit"),
        ("GET", "/candles/X", {"limit": 5001}, 400, "invalid_limit"),
        ("GET", "/candles/X", {"limit": "-1"}, 400, "invalid_limit"),
        ("GET", "/candles/X", {"limit": "ten"}, 400, "invalid_limit"),
        ("GET", "/candles/X", {"start": "now"}, 400, "invalid_start"),
        ("GET", "/funding/Z", {}, 404, "unknown_symbol"),
        ("GET", "/fills", {"after": "1.5"}, 400, "invalid_after"),
        ("GET", "/orders", {"status": "lost"}, 400, "invalid_status"),
        ("GET", "/orders/none", {}, 404, "order_not_found"),
        ("DELETE", "/orders/none", {}, 404, "order_not_found"),
        ("GET", "/nothing", {}, 404, "not_found"),
        ("GET", "/candles", {}, 404, "not_found"),
        ("POST", "/account", {}, 405, "method_not_allowed"),
    ],
)
def test_every_error_has_a_code_and_a_text(method: str, path: str, query: Json, status: int, code: str) -> None:
    async def client(one: Client) -> None:
        answered, body = await one.call(method, path, **query)
        assert (answered, body["error"]) == (status, code)
        assert set(body) == {"error", "message"} and body["message"]

    run(client)


def test_an_order_that_cannot_be_read_is_refused_with_what_is_wrong() -> None:
    good = {"client_order_id": "a", "symbol": "X", "side": "buy", "type": "market", "size": "1"}
    bad: list[tuple[Any, str]] = [
        (b"", "invalid_request"),
        (b"{", "invalid_request"),
        (b"[]", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        ({**good, "sise": "1"}, "invalid_request"),
        ({**good, "side": "long"}, "invalid_request"),
        ({**good, "client_order_id": "a b"}, "invalid_request"),
        ({**good, "client_order_id": "a" * 65}, "invalid_request"),
        ({**good, "client_order_id": "a\n"}, "invalid_request"),
        ({**good, "size": "one"}, "invalid_size"),
        ({**good, "size": True}, "invalid_size"),
        ({**good, "type": "limit", "limit_price": "x"}, "invalid_price"),
    ]

    async def client(one: Client) -> None:
        for body, code in bad:
            status, answer = await one.call("POST", "/orders", body)
            assert (status, answer["error"]) == (400, code), body
        assert (await one.call("POST", "/orders", b" " * 70_000))[0] == 413
        assert (await one.call("GET", "/account"))[1]["seq"] == 0
        assert (await one.call("POST", "/orders", {**good, "size": 1.5}))[1]["order"]["size"] == "1.500"

    run(client, start="2025-01-01T00:01")


def test_without_a_good_key_nothing_but_the_open_paths_answers() -> None:
    async def client(one: Client) -> None:
        for headers in ({}, {"X-API-Key": "pf_test_nope"}, {"X-API-Key": ""}):
            one.headers = headers
            for path in ("/account", "/candles/X", "/orders", "/nothing"):
                status, body = await one.call("GET", path)
                assert (status, body["error"]) == (401, "invalid_key")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await one.session.ws_connect(one.url + "/ws", headers=headers)
            assert (await one.call("GET", "/health"))[0] == 200
        status, body = await one.call("GET", "/instruments")
        assert body["instruments"][0] == {
            "symbol": "X",
            "tick_size": "0.1",
            "lot_size": "0.001",
            "min_notional_usd": "5",
            "funding_interval_h": 8,
        }

    run(client)


def test_the_faucet_opens_an_account_a_claim_and_refuses_what_it_cannot_read() -> None:
    async def client(one: Client) -> None:
        status, body = await one.call("POST", "/faucet/claim", {"agent_id": "bot", "amount_usd": 12.5})
        assert (status, body["account_id"], body["credited"]) == (201, "bot-2", "12.500000")
        for wrong in (b"[]", {"agent_id": "a b"}, {"amount_usd": -1}, {"amount_usd": "1"}, {"amount_usd": 1e10}):
            status, body = await one.call("POST", "/faucet/claim", wrong)
            assert (status, body["error"]) == (400, "invalid_request")

    run(client)


def test_the_keys_are_not_kept() -> None:
    server = SandboxServer(Stage(a_playlist(), settings()), CountedClock())
    opened = server.open_account("me", 1.0)
    assert isinstance(opened, tuple)
    key = opened[0]
    assert key.startswith("pf_test_") and len(key) == 56
    assert key not in repr(vars(server))


def test_history_and_funding_are_what_was_played() -> None:
    async def client(one: Client) -> None:
        body = (await one.call("GET", "/candles/X", interval="1m", limit=3))[1]
        assert [row["t"] for row in body["candles"]] == [T0 + i * MINUTE for i in (57, 58, 59)]
        assert list(body["candles"][0]) == ["t", "o", "h", "l", "c", "v", "bv"]
        assert len((await one.call("GET", "/candles/Y"))[1]["candles"]) == 60
        hours = (await one.call("GET", "/candles/X", interval="1h"))[1]["candles"]
        assert [(row["t"], row["o"], row["c"]) for row in hours] == [(T0, 100.0, 159.5)]
        since = (await one.call("GET", "/candles/X", start=T0 + 58 * MINUTE, limit=9))[1]["candles"]
        assert [row["t"] for row in since] == [T0 + 58 * MINUTE, T0 + 59 * MINUTE]
        assert await one.call("GET", "/funding/X", start=T0) == (
            200,
            {"funding": [{"t": T0 + 5 * MINUTE, "rate": 0.25}]},
        )
        health = (await one.call("GET", "/health"))[1]
        assert health == {
            "status": "ok",
            "service": "purpleflea-sandbox",
            "time": T0 + HOUR,
            "clock": "market",
            "pace": "acked",
            "matching": "next_open",
            "played": False,
        }

    playlist = a_playlist(70, settled=[(0, "X", 0.5), (5, "X", 0.25), (60, "X", 0.125)])
    run(client, Stage(playlist, settings(start="2025-01-01T01:00")))


def test_too_many_requests_are_told_when_to_come_back() -> None:
    async def client(one: Client) -> None:
        for _ in range(3):
            assert (await one.call("GET", "/account"))[0] == 200
        async with one.session.get(one.url + "/account", headers=one.headers) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            body = await answer.json()
            assert (body["error"], body["retry_after_seconds"]) == ("rate_limited", int(answer.headers["Retry-After"]))

    run(client, requests_per_minute=3)


def test_only_loopback_is_bound_and_only_by_its_own_names() -> None:
    async def client(one: Client) -> None:
        assert one.url == f"http://127.0.0.1:{one.server.port}/trading-api"
        with socket.socket() as other:
            other.bind(("127.0.0.2", one.server.port))  # free: the server has neither 0.0.0.0 nor all of 127/8
        one.headers["Host"] = "evil.example"
        assert (await one.call("GET", "/health"))[1]["error"] == "forbidden_host"

    run(client)


def test_a_port_in_use_is_one_line() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            server = SandboxServer(Stage(a_playlist(), settings(port=port)), CountedClock())
            with pytest.raises(VenueError, match=f"port {port} on 127.0.0.1 is in use: choose another with --port"):
                async with server.listening():
                    pass

    asyncio.run(main())


def test_the_venues_time_is_the_markets_or_the_walls_with_its_skew() -> None:
    async def main() -> None:
        now_ns = (T0 + 500 * HOUR) * 1_000_000
        stage = Stage(a_playlist(), settings(clock="wall", clock_skew_s=5.0, pace=1.0), now_ns // 1_000_000)
        server = SandboxServer(stage, CountedClock(now_ns))
        assert server.venue_ms() == T0 + 500 * HOUR + 5_000
        assert stage.now_ms == T0 + 500 * HOUR

    asyncio.run(main())

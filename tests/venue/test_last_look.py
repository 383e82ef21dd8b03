"""No byte of an order leaves after a halt was decided: it is looked for in the step of the write, after every wait."""

import asyncio
from pathlib import Path

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import VenueError
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.one_in_flight import LooksLast
from flea_lab.venue.rest import Rest, Unsent


async def listening(heard: list[bytes], body: bytes = b"{}") -> tuple[asyncio.Server, str]:
    """A server on this machine that notes every byte it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            heard.append(piece)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/trading-api"


def rest_of(url: str) -> Rest:
    dialect = load_dialect({"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws"}, "a test")
    return Rest(dialect, None, WallClock())


@pytest.mark.parametrize("warm", [False, True])
def test_a_halt_while_the_connection_is_made_keeps_the_whole_request_back(warm: bool) -> None:
    async def play() -> None:
        heard: list[bytes] = []
        server, url = await listening(heard)
        rest = rest_of(url)
        await rest.open()
        if warm:
            await rest.once("GET", "/x", "read")
        heard.clear()
        asked: list[str] = []

        def blocked() -> str:
            asked.append("asked")
            return "halted"

        sending = asyncio.create_task(rest.once("POST", "/orders", "order", body=b'{"order":1}', blocked=blocked))
        assert not asked, "not before there is something to write on"
        with pytest.raises(Unsent, match=r"^halted$"):
            await sending
        assert asked == ["asked"]
        await rest.close()
        await asyncio.sleep(0.05)
        server.close()
        await server.wait_closed()
        assert b"".join(heard) == b"", "not one byte"

    asyncio.run(play())


def test_an_order_that_may_go_goes_whole_and_once() -> None:
    async def play() -> None:
        heard: list[bytes] = []
        server, url = await listening(heard)
        rest = rest_of(url)
        await rest.open()
        answer = await rest.once("POST", "/orders", "order", body=b'{"order":1}', blocked=lambda: "")
        assert answer.status == 200
        text = b"".join(heard)
        assert text.count(b"POST /trading-api/orders") == 1 and text.endswith(b'\r\n\r\n{"order":1}')
        assert text.lower().count(b"content-type: application/json") == 1 and b"content-length: 11" in text.lower()
        await rest.close()
        server.close()

    asyncio.run(play())


def test_a_broken_line_is_still_no_proof_that_nothing_left() -> None:
    async def play() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.transport.abort()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        rest = rest_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/trading-api")
        await rest.open()
        with pytest.raises(VenueError) as raised:
            await rest.once("POST", "/orders", "order", body=b"{}", blocked=lambda: "")
        assert not isinstance(raised.value, Unsent)
        await rest.close()
        server.close()

    asyncio.run(play())


def test_the_client_of_an_exchange_is_told_by_the_sender_what_to_look_at(tmp_path: Path) -> None:
    client = PurpleFlea(load_dialect({}, "a test"), None, ("X",), "1m", {}, WallClock())
    assert isinstance(client, LooksLast) and client.blocked() == ""

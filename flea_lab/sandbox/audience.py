"""Who listens to the sandbox: what each has subscribed to, what each is sent, and who has worked off what.

Rules. A frame is encoded once for everybody who hears it; where there are faults, each connection has its own. After a
heartbeat the market waits for every subscribed connection that acknowledges; in pace "acked" it also waits while there
is none. A connection that is gone is not waited for.
"""

import asyncio

import orjson
from aiohttp import WSMessage, WSMsgType, web

from flea_lab.sandbox import api
from flea_lab.sandbox.api import Ack, Frame, Json, Subscribe
from flea_lab.sandbox.connection import Connection, control, refusal
from flea_lab.sandbox.fault_line import FaultLine
from flea_lab.sandbox.faults import SUBSCRIBE, FaultPlan
from flea_lab.sandbox.order import Denied
from flea_lab.sandbox.stage import Stage


class Audience:
    """The `connections` of one stage; `changed` is set where one of them might no longer be waited for."""

    def __init__(self, stage: Stage, faults: FaultPlan) -> None:
        self.stage, self.faults, self.played = stage, faults, False
        self.connections: list[Connection] = []
        self.changed = asyncio.Event()
        self._books: dict[str, Json] = {}
        self._first_ms = stage.now_ms

    def at_s(self) -> float:
        """Seconds of the market since its first moment, by which faults come."""
        return (self.stage.now_ms - self._first_ms) / 1_000

    async def serve(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, account_id: str) -> None:
        """Hears and answers one connection until it is gone."""
        line = FaultLine(self.faults) if self.faults else None
        connection = Connection(socket, transport, account_id, line)
        self.connections.append(connection)
        try:
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(connection.drain())
                async for message in socket:
                    self._hear(connection, message)
                draining.cancel()
        finally:
            self.connections.remove(connection)
            self._listen()

    async def close(self) -> None:
        """Says goodbye to everybody."""
        for connection in list(self.connections):
            await connection.close()

    def beat(self) -> None:
        """Sends everybody a heartbeat."""
        for one in self._subscribed():
            one.beat(self.stage.now_ms)

    def end(self) -> None:
        """Tells everybody that the market is over, also whoever comes from now on."""
        self.played = True
        for one in self._subscribed():
            one.send(control("played", self.stage.now_ms))

    async def worked_off(self) -> None:
        """Returns when everybody who acknowledges has acknowledged the last heartbeat."""
        while not self._is_worked_off():
            self.changed.clear()
            await self.changed.wait()

    def publish(self) -> None:
        """Queues what happened on the stage for everybody who hears it."""
        for frame in self.stage.frames():
            if self.faults:
                self._spoil(frame)
            else:
                self._send(frame)
            if frame.channel == "orderbook_l2":
                self._books[frame.symbol] = frame.data

    def _send(self, frame: Frame) -> None:
        whole: bytes | None = None
        change: bytes | None = None
        book = frame.channel == "orderbook_l2"
        for one in self.connections:
            if not one.hears(frame):
                continue
            if book and self._follows(one, frame):
                change = change or self._change(frame).encode()
                one.send(change)
                continue
            whole = whole or frame.encode()
            one.send(whole)
            if book:
                one.synced.add(frame.symbol)

    def _spoil(self, frame: Frame) -> None:
        """`_send` where there are faults."""
        book = frame.channel == "orderbook_l2"
        for one in self.connections:
            if not one.hears(frame) or one.line is None:
                continue
            one.at_s = self.at_s()
            spoiled = one.line.frames(self._change(frame) if book and self._follows(one, frame) else frame, one.at_s)
            if spoiled:
                one.send(*(part.encode() for part in spoiled))
            if book:
                one.synced.add(frame.symbol)

    def _follows(self, one: Connection, frame: Frame) -> bool:
        """Whether a connection knows the book before this one and wants changes."""
        return one.deltas and frame.symbol in one.synced and frame.symbol in self._books

    def _change(self, frame: Frame) -> Frame:
        return frame._replace(data=api.delta_json(self._books[frame.symbol], frame.data))

    def _subscribed(self) -> list[Connection]:
        return [one for one in self.connections if one.channels]

    def _is_worked_off(self) -> bool:
        acking = [one for one in self._subscribed() if one.acking]
        if not acking and self.stage.settings.pace == "acked":
            return False
        return all(one.acked_ms >= one.asked_ms for one in acking)

    def _hear(self, connection: Connection, message: WSMessage) -> None:
        if connection.deaf:
            return
        if message.type is not WSMsgType.TEXT:
            connection.send(refusal("invalid_frame", "frames are JSON text"))
            return
        said = api.read_said(message.data)
        match said:
            case Denied():
                connection.send(refusal(said.code, said.message))
            case Subscribe():
                self._subscribe(connection, said)
            case Ack():
                self._acknowledge(connection, said.ts)
            case _:
                connection.wants = {pair for pair in connection.wants if pair[0] not in said.channels}
                connection.channels.difference_update(said.channels)
                self._listen()

    def _subscribe(self, connection: Connection, said: Subscribe) -> None:
        known = self.stage.channels, self.stage.playlist.symbols
        for asked, have, what in ((said.channels, known[0], "channel"), (said.symbols, known[1], "symbol")):
            for name in asked:
                if name not in have:
                    text = f"no {what} {name[:40]!r}, known are {', '.join(have)}"
                    connection.send(refusal(f"unknown_{what}", text))
        channels = [name for name in known[0] if name in said.channels]
        symbols = [name for name in known[1] if name in said.symbols]
        connection.wants.update((channel, symbol) for channel in channels for symbol in symbols)
        connection.channels.update(channels)
        connection.deltas = said.book == "delta"
        connection.synced.clear()
        acknowledged = self._acknowledged(symbols)
        if acknowledged:
            connection.send(orjson.dumps({"event": "subscribed", "channels": channels, "symbols": acknowledged}))
        if said.ack:
            connection.acking = True
            connection.acked_ms = -1
            connection.beat(self.stage.now_ms)
        if self.played:
            connection.send(control("played", self.stage.now_ms))
        self._listen()

    def _acknowledged(self, symbols: list[str]) -> list[str]:
        """Those of a subscription's symbols that its answer names; there is none where it names none."""
        match self.faults.first(SUBSCRIBE, self.at_s()):
            case "unacknowledged":
                return []
            case "half_acknowledged":
                return symbols[: len(symbols) // 2]
        return symbols

    def _acknowledge(self, connection: Connection, ts_ms: int) -> None:
        if ts_ms > self.stage.now_ms:
            text = f"ack of {ts_ms}, the last heartbeat was at most {self.stage.now_ms}"
            connection.send(refusal("invalid_ack", text))
            return
        connection.acking = True
        connection.acked_ms = max(connection.acked_ms, ts_ms)
        self.changed.set()

    def _listen(self) -> None:
        """Somebody came, went or wants something else."""
        self.stage.wanted = {channel for one in self.connections for channel in one.channels}
        self.changed.set()

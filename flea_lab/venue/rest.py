"""Requests of one session: questions are asked again, everything else is sent once. Nothing here knows what about."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.secret import Secret
from flea_lab.venue.budget import RateBudget, Use, stated
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.order_wire import complaint
from flea_lab.venue.reading import shown
from flea_lab.venue.reconnect import full_jitter_s

OK = (200, 201)
AGAIN = (408, 425, 429, 500, 502, 503, 504)
REFUSED = (400, 404, 409, 422)

Query = Mapping[str, str | int]
Blocked = Callable[[], str]
"""Why an order may not go at this instant; "" where it may."""

Passage = Callable[[], AbstractContextManager[str]]
"""Held from the last look of an order until its bytes are written; gives why it is shut, or ""."""


def open_passage() -> AbstractContextManager[str]:
    """A passage that nobody ever shuts."""
    return nullcontext("")


class Answer(NamedTuple):
    """What came back for one request."""

    status: int
    body: bytes
    retry_after_s: float | None
    where: str

    @property
    def said(self) -> str:
        """The refusal in one line: the venue's own code and text, or the beginning of what it sent instead."""
        found = complaint(self.body)
        text = ": ".join(filter(None, map(shown, found))) if found else shown(self.body.decode("utf-8", "replace"))
        return f"{self.where} answered {self.status} {text}".rstrip()


class Unsent(VenueError):
    """The request provably never left."""


class KeyRefused(VenueRefusal):
    """The venue does not take the key, or not in this way."""


class Banned(VenueRefusal):
    """The venue has shut this address out: whoever goes on asking is shut out for longer."""


class Rest:
    """Requests of one session; nothing here knows what they are about."""

    def __init__(self, dialect: Dialect, key: Secret | None, clock: Clock, published: int = 0) -> None:
        """`published` is how many requests a minute the venue is known to take, where the dialect names no limit."""
        self._dialect, self._key, self._clock = dialect, key, clock
        self._base = dialect.rest_url.rstrip("/")
        self.budget = RateBudget(stated(dialect.limits, published))
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Begins the session."""
        timeout = aiohttp.ClientTimeout(
            total=self._dialect.request_timeout_s, connect=min(5.0, self._dialect.request_timeout_s)
        )
        stay = aiohttp.TraceConfig()
        stay.on_request_redirect.append(_stay)
        self._session = aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[stay]
        )

    async def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            await self._session.close()

    def opened(self) -> aiohttp.ClientSession:
        """The session, which lives inside of `async with`."""
        if self._session is None or self._session.closed:
            raise ConfigError("the client is not open: use it in `async with`")
        return self._session

    def order_wait_s(self) -> float:
        """Seconds until an order may be sent within the venue's limits; 0 where it may be sent now."""
        return self.budget.wait_s(asyncio.get_running_loop().time(), "order")

    def headers(self) -> dict[str, str]:
        """The headers that carry the key."""
        return self._dialect.header(self._key.reveal()) if self._key is not None else {}

    def masked(self, text: str) -> str:
        """`text` without the key."""
        return self._key.masked_in(text) if self._key is not None else text

    def without_key(self, raw: bytes) -> bytes:
        """`raw` without the key."""
        return raw if self._key is None else raw.replace(self._key.reveal().encode(), b"***")

    def unkeyed(self, raw: bytes, text: str) -> str:
        """`text`, which shows a piece of `raw`, unless a piece of the key might be in it."""
        held = self._key is not None and self._key.reveal().encode() in raw
        return "what the venue sent holds the key and is not shown" if held else text

    async def get(self, path: str, query: Query | None = None) -> Answer:
        """The answer to a question, asked again while the venue is away; `VenueError` when it stays away."""
        return await self._patiently("GET", path, "read", query)

    async def delete(self, path: str) -> Answer:
        """The answer to a wish that may be repeated."""
        return await self._patiently("DELETE", path, "cancel")

    async def ask(self, path: str, body: bytes) -> Answer:
        """The answer to a question that is posted, asked again while the venue is away."""
        return await self._patiently("POST", path, "read", None, body)

    async def _patiently(
        self, method: str, path: str, use: Use, query: Query | None = None, body: bytes | None = None
    ) -> Answer:
        dialect, loop = self._dialect, asyncio.get_running_loop()
        reason = ""
        for attempt in range(1, dialect.reads + 1):
            while (turn_s := self.budget.wait_s(loop.time(), use)) > 0.0:
                await asyncio.sleep(turn_s)
            wait = full_jitter_s(attempt, dialect.backoff_first_s, dialect.backoff_last_s, self._clock.jitter())
            try:
                answer = await self.once(method, path, use, query, body)
            except VenueError as error:
                reason = str(error)
            else:
                code = (complaint(answer.body) or ("", ""))[0]
                if answer.status not in AGAIN and not (answer.status == 400 and code in dialect.ambiguous):
                    return self.allowed(answer)
                reason = self.masked(answer.said)
            if attempt < dialect.reads:
                await asyncio.sleep(wait)
        raise VenueError(f"{reason} (asked {dialect.reads} times)")

    def allowed(self, answer: Answer) -> Answer:
        """`answer`, unless it refuses the key (`KeyRefused`) or everything from here (`Banned`)."""
        if answer.status == 418:
            raise Banned(self.masked(f"{answer.said}: this address is shut out"))
        if answer.status in (401, 403):
            raise KeyRefused(self.masked(f"{answer.said}: the key, or the way it is sent, is refused"))
        return answer

    async def once(
        self,
        method: str,
        path: str,
        use: Use,
        query: Query | None = None,
        body: bytes | None = None,
        blocked: Blocked | None = None,
        passage: Passage = open_passage,
    ) -> Answer:
        """The answer to one request that is sent once; `Unsent` where it provably was not sent at all, also because
        the venue's limits would not hold, because `passage` was shut, or because `blocked` said inside of it, in the
        same step as the write, that it may not."""
        session, now_s = self.opened(), asyncio.get_running_loop().time()
        where = f"{method} {path}"
        if (wait_s := self.budget.wait_s(now_s, use)) > 0.0:
            raise Unsent(f"{where}: the venue's limits leave no {use} for {wait_s:.1f} s")
        self.budget.spend(now_s)
        url = URL(f"{self._base}{path}{'?' + urlencode(query) if query else ''}", encoded=True)
        headers = self.headers() | ({"Content-Type": "application/json"} if body is not None else {})
        fault: VenueError
        last = LastLook(body, blocked, passage) if body is not None and blocked is not None else None
        sent = body if last is None else last
        try:
            async with session.request(method, url, headers=headers, data=sent, allow_redirects=False) as response:
                content = await self._read(response)
                answer = Answer(response.status, content, _seconds(response.headers.get("Retry-After", "")), where)
                self._paced(answer, use)
                return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            fault = Unsent(self.masked(f"{where}: {reason_of(error)}"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            fault = VenueError(self.masked(f"{where}: {reason_of(error)}"))
            if last is not None and last.why:
                fault = Unsent(last.why)
        raise fault  # outside of the except block: what aiohttp raises may hold the headers of the request

    def _paced(self, answer: Answer, use: Use) -> None:
        """Slows down where the venue says that too much was asked."""
        if answer.status != 429:
            self.budget.answered()
            return
        self.budget.stopped(asyncio.get_running_loop().time(), use, answer.retry_after_s, self._clock.jitter())

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._dialect.max_body_bytes:
                raise ValueError(f"the answer is longer than max_body_bytes ({self._dialect.max_body_bytes})")
            chunks.append(chunk)
        return self.without_key(b"".join(chunks))


class LastLook(aiohttp.BytesPayload):
    """A body that is asked whether it may still go in the step in which it is written, once there is a connection.

    The head of a request waits for its body, so that nothing has left before. `why` is what kept it back.
    """

    def __init__(self, body: bytes, blocked: Blocked, passage: Passage = open_passage) -> None:
        super().__init__(body, content_type="application/json")
        self._blocked, self._passage = blocked, passage
        self.why = ""

    async def write_with_length(self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None) -> None:
        with self._passage() as shut:
            self.why = shut or self._blocked()
            if self.why:
                raise ValueError("kept back")
            await super().write_with_length(writer, content_length)


async def _stay(session: aiohttp.ClientSession, about: object, redirect: object) -> None:  # noqa: ARG001
    """Stops a websocket's upgrade, which aiohttp would lead elsewhere, header and all."""
    raise aiohttp.ClientConnectionError("the venue redirects, and a request that carries a key does not follow")


def reason_of(error: Exception) -> str:
    """The kind and the text of `error` in one short line; who is not there in plain words."""
    if type(error) is aiohttp.ClientConnectorError and error.errno:
        return f"cannot connect to {error.host}:{error.port}: {os.strerror(error.errno).lower()}"
    return f"{type(error).__name__}: {shown(str(error))}" if str(error) else type(error).__name__


def _seconds(text: str) -> float | None:
    """`Retry-After` in seconds, at most a day; None for a date, nonsense, or none at all.

    >>> _seconds("14"), _seconds("Wed, 21 Oct 2026 07:28:00 GMT")
    (14.0, None)
    """
    return min(float(text), 86_400.0) if text.isascii() and text.isdigit() and len(text) <= 6 else None

"""The last look of an order that ccxt sends: in the step in which its bytes are written, after all that ccxt waits for.

ccxt waits for its own throttle, and signs, between our call and its request; its session is one that asks once more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from flea_lab.venue.rest import Blocked, LastLook, Passage, open_passage

WRITES = ("post", "put", "patch", "delete")


class Look:
    """What became of the requests of one order: why one was kept back, and whether another one went."""

    def __init__(self, blocked: Blocked, passage: Passage = open_passage) -> None:
        self._blocked, self.passage, self.why, self.went = blocked, passage, "", False

    def ask(self) -> str:
        """Why the request that is about to be written may not go; "" where it may, and then it goes."""
        why = self._blocked()
        if why:
            self.why = why
        else:
            self.went = True
        return why

    def body(self, data: bytes) -> LastLook:
        """`data` as the body of a request that looks last."""
        return LastLook(data, self.ask, self.passage)

    @property
    def kept_back(self) -> str:
        """Why nothing of the order left; "" where something did."""
        return "" if self.went else self.why


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


@contextmanager
def looking(blocked: Blocked, passage: Passage = open_passage) -> Iterator[Look]:
    """What is asked of ccxt inside of it is an order, which goes only where `blocked` says nothing as it is written,
    inside of `passage`."""
    look = Look(blocked, passage)
    token = _LOOK.set(look)
    try:
        yield look
    finally:
        _LOOK.reset(token)


class LookingSession:
    """An HTTP session of ccxt's, of which what belongs to an order is written only after the last look."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        return partial(self._write, found) if name in WRITES else found

    def _write(self, send: Any, url: Any, *, data: bytes | None = None, **given: Any) -> Any:
        look = _LOOK.get()
        return send(url, data=data if look is None else look.body(data or b""), **given)

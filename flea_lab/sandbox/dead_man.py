"""Dead man's switches (pure): whose open orders are taken back when, unless their client is heard of again."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from flea_lab.sandbox.order import Denied

MOST_S = 3_600.0
LEAST_S = 1.0


class Cancellable(Protocol):
    """A timer that can be stopped."""

    def cancel(self) -> None:
        """Stops it."""


Later = Callable[[float, Callable[[], None]], Cancellable]
"""Calls the second after the first, in seconds."""


class Wish(Struct, frozen=True):
    """How long the client may be silent, in seconds; 0 disarms."""

    timeout_s: float


_WISH = msgspec.json.Decoder(Wish)


def read_wish(body: bytes) -> Wish | Denied:
    """The time that a request asks for: 0, or from `LEAST_S` to `MOST_S`."""
    try:
        wish = _WISH.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Denied(400, "invalid_request", " ".join(str(error).split())[:200])
    if not (wish.timeout_s == 0 or (math.isfinite(wish.timeout_s) and LEAST_S <= wish.timeout_s <= MOST_S)):
        text = f"timeout_s = {wish.timeout_s:g} is neither 0 nor from {LEAST_S:g} to {MOST_S:g}"
        return Denied(400, "invalid_timeout", text)
    return wish


class DeadMen:
    """One switch an account: `lapse` is called with the account when nobody has wished anew in time."""

    def __init__(self, later: Callable[[], Later], lapse: Callable[[str], None]) -> None:
        """`later` gives what sets a timer, once there is such a thing."""
        self._later, self._lapse = later, lapse
        self._timers: dict[str, Cancellable] = {}
        self.lapsed: dict[str, int] = {}

    def wish(self, account_id: str, wish: Wish) -> dict[str, Any]:
        """What the account is told: whether its switch is armed, and for how long."""
        timer = self._timers.pop(account_id, None)
        if timer is not None:
            timer.cancel()
        if wish.timeout_s:
            self._timers[account_id] = self._later()(wish.timeout_s, lambda: self._over(account_id))
        return {
            "armed": bool(wish.timeout_s),
            "timeout_s": wish.timeout_s,
            "lapsed": self.lapsed.get(account_id, 0),
        }

    def close(self) -> None:
        """Stops every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _over(self, account_id: str) -> None:
        del self._timers[account_id]
        self.lapsed[account_id] = self.lapsed.get(account_id, 0) + 1
        self._lapse(account_id)

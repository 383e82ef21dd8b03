"""Halting an account from outside: ask its runner, watch until nothing is open; where nobody answers, the HALT file."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from flea_lab.clock import Clock, Stopwatch, WallClock
from flea_lab.live.control_client import ControlClient, Declined, NoRunner, Unanswered
from flea_lab.live.doorway import is_clear
from flea_lab.live.latch import write_halt_file

POLL_S = 0.1
CLEAR_S = 1.0
"""How long an order that a silent runner is sending is waited for."""

Told = Callable[[dict[str, Any]], None]


class Halted(Struct, frozen=True, kw_only=True):
    """What became of a halt.

    "verified": the runner saw no open order at the exchange. "open": it stands, but time was up first. "unreached": no
    runner took it and the HALT file was written, `why` says it in one line. `status` is the last that the runner said.
    """

    outcome: Literal["verified", "open", "unreached"]
    status: dict[str, Any] = {}
    why: str = ""

    @property
    def open_orders(self) -> int:
        """Orders that may still be open, those of unknown fate included."""
        return int(self.status.get("open_orders", 0)) + int(self.status.get("unknown_orders", 0))


def halt_account(
    folder: Path, reason: str = "", *, wait_s: float = 30.0, tell: Told | None = None, clock: Clock | None = None
) -> Halted:
    """What became of the halt of the account in `folder`, after `wait_s` at most; `tell` hears every status.

    A runner that is silent, or ends before it could verify, is answered with the HALT file: no runner trades while it
    is there.
    """
    client = ControlClient(folder)
    status: dict[str, Any] = {}
    pause = threading.Event()
    try:
        client.halt(reason)
        watch = Stopwatch()
        while True:
            status = client.status()
            if tell is not None:
                tell(status)
            if status.get("halt_verified") is True:
                return Halted(outcome="verified", status=status)
            if not watch.elapsed_s() < wait_s:
                return Halted(outcome="open", status=status)
            pause.wait(POLL_S)
    except (NoRunner, Unanswered, Declined) as error:
        write_halt_file(folder, reason, clock or WallClock())
        why = str(error) if is_clear(folder, CLEAR_S) else f"{error}; an order that it is sending may still leave"
        return Halted(outcome="unreached", status=status, why=why)

"""Where alerts go beyond this machine: to every channel that takes them, to another where one fails, once or again.

Rules. A notice that no channel took within this process is delivered after a restart, if it is critical: what was taken
is written down by its id. A channel that fails is told once, on the others too, until it delivers again. Amounts in USD
do not leave the machine unless the settings say so.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import ALERTS
from flea_lab.live.alerts import Alerts, Notice
from flea_lab.live.alerts_channel import AppriseNotifier, Notifier
from flea_lab.live.alerts_courier import FIRST_S, PACE_S, Courier
from flea_lab.live.secrecy import Mask
from flea_lab.live.socket_path import write_private
from flea_lab.model.alert import AlertSettings, Kind, Severity
from flea_lab.secret import Secret

DELIVERED = "alerts.delivered"
CLOSE_S = 3.0
AGAIN = "(from before this start) "

_AMOUNT = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?= USD)")


class Post:
    """The channels of one account. A sink of its `Alerts`, which `alert` is to tell of a channel that fails."""

    def __init__(
        self,
        folder: Path,
        settings: AlertSettings,
        notifiers: Mapping[str, Notifier],
        *,
        pace_s: float = PACE_S,
        first_s: float = FIRST_S,
    ) -> None:
        self.alert: Callable[[Severity, str, str, Kind], None] = lambda *_: None
        self._file, self._balances = folder / DELIVERED, settings.balances
        self._lock, self._failing = threading.Lock(), set[str]()
        self.couriers = [
            Courier(
                name,
                settings.channels[name],
                notifier,
                title=f"flea_lab {folder.name}",
                limit_s=settings.send_s,
                delivered=self._took,
                failed=self._failed,
                pace_s=pace_s,
                first_s=first_s,
            )
            for name, notifier in notifiers.items()
        ]

    def __call__(self, notice: Notice) -> None:
        """Offers a notice to every channel that takes it; constant time."""
        outside = notice if self._balances else replace(notice, text=without_amounts(notice.text))
        for courier in self.couriers:
            if courier.channel.takes(notice.severity, notice.kind):
                courier.offer(outside)

    def start(self, undelivered: Sequence[Notice]) -> None:
        """Begins to deliver, first what an earlier process could not."""
        for courier in self.couriers:
            courier.start()
        for notice in undelivered:
            self(replace(notice, text=AGAIN + notice.text))

    def close(self) -> None:
        """Lets every channel deliver what waits, `CLOSE_S` at most; what is critical and left is on disk."""
        closers = [threading.Thread(target=one.close, args=(CLOSE_S,), daemon=True) for one in self.couriers]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(CLOSE_S)

    def _took(self, notices: Sequence[Notice]) -> None:
        text = "".join(f"{notice.id}\n" for notice in notices if notice.id)
        with self._lock:
            again = [courier.name for courier in self.couriers if courier.name in self._failing and not courier.failing]
            self._failing.difference_update(again)
            unkept = _append(self._file, text) if text else ""
        if unkept:
            self.alert("warning", f"{self._file}: {unkept}; what was delivered may be again", "delivered", "system")
        for name in again:
            self.alert("info", f"alert channel {name!r} delivers again", f"channel {name} delivers", "system")

    def _failed(self, courier: Courier, why: str, fresh: Sequence[Notice]) -> None:
        with self._lock:
            first = courier.name not in self._failing
            self._failing.add(courier.name)
        other = next((one for one in self.couriers if one is not courier and not one.failing), None)
        if other is not None:
            for notice in fresh:
                if not other.channel.takes(notice.severity, notice.kind):  # else it has it
                    other.offer(notice)
        if first:
            text = f"alert channel {courier.name!r} does not deliver: {why}; its alerts are in {ALERTS}"
            self.alert("warning", text, f"channel {courier.name} fails", "system")


def without_amounts(text: str) -> str:
    """`text` with every amount in USD masked.

    >>> without_amounts("cash 1,234.50 USD here, -3 USD there, 2 lots")
    'cash *** USD here, *** USD there, 2 lots'
    """
    return _AMOUNT.sub("***", text)


def undelivered(folder: Path, settings: AlertSettings, now_ns: int) -> list[Notice]:
    """Critical alerts of the last hours that no channel took, oldest first; forgets which older ones were taken."""
    taken = set(_lines(folder / DELIVERED))
    oldest_ns = now_ns - round(settings.again_h * 3.6e12)
    takers = settings.channels.values()
    found, known = [], set[str]()
    for name in (f"{ALERTS}.1", ALERTS):
        for line in _lines(folder / name):
            try:
                notice = msgspec.json.decode(line, type=Notice)
            except (msgspec.MsgspecError, ValueError):
                continue  # torn when a process died
            known.add(notice.id)
            wanted = notice.severity == "critical" and any(one.takes("critical", notice.kind) for one in takers)
            if notice.id and wanted and notice.id not in taken and notice.ts >= oldest_ns:
                found.append(notice)
    if taken - known:
        write_private(folder / DELIVERED, "".join(f"{one}\n" for one in sorted(taken & known)))
    return found


@contextmanager
def open_alerts(
    folder: Path,
    clock: Clock,
    mask: Mask,
    settings: AlertSettings,
    addresses: Mapping[str, Secret],
    console: TextIO | None = None,
) -> Iterator[Alerts]:
    """The alerts of the account in `folder`, told to every channel of `settings` too."""
    notifiers = {name: AppriseNotifier(name, address, settings.send_s) for name, address in addresses.items()}
    post = Post(folder, settings, notifiers)
    earlier = undelivered(folder, settings, clock.now_ns()) if notifiers else []
    with Alerts(folder, clock, console=console, sinks=(post,), mask=mask, every_s=settings.every_s) as alerts:
        post.alert = alerts.put
        post.start(earlier)
        try:
            yield alerts
        finally:
            alerts.close()
            post.close()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorkspaceError(f"{file}: cannot be read ({error.strerror})") from None


def _append(file: Path, text: str) -> str:
    """Why `text` is not in `file` now; "" where it is."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return ""

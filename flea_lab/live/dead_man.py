"""The dead man's switch: the venue takes every order back by itself when this event loop is not heard of in time.

Rules. Armed before the first order, and no order leaves while it is not. Refreshed by the loop itself, at a quarter of
its time, so that a loop that hangs lets it lapse. Disarmed only when the session ends and the venue has said that
nothing is open. A venue that has no such switch is said once, at the start. It is a last resort and no way to stop: it
knows neither positions nor stops from entries.
"""

import asyncio

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.live.brake import AlertPut
from flea_lab.live.paper import PaperVenue
from flea_lab.venue.protocol import Exchange
from flea_lab.venue.rest import KeyRefused

SHARE = 4
"""A switch is refreshed this often in its time; at 3 a single refresh that is lost could let it lapse."""

RETRY_S = 0.5


class DeadMan:
    """The switch of one session over `exchange`, set to `wanted_s`; 0 wants none."""

    def __init__(self, exchange: Exchange, wanted_s: float, alert: AlertPut) -> None:
        self._exchange, self._alert = exchange, alert
        can = exchange.capabilities
        self._can = can.dead_man_s > 0 and wanted_s > 0
        self.timeout_s = max(wanted_s, can.dead_man_s) if self._can else 0.0
        self._until_s = -1.0
        rests = can.limit_orders and can.cancel_all and not isinstance(exchange, PaperVenue)
        if not self._can and wanted_s > 0 and rests:
            alert("warning", "this venue has no dead man's switch: orders stay open if this process dies")

    @property
    def why_not(self) -> str:
        """Why no order may be sent now, as far as the switch goes; "" where it is armed, or there is none."""
        if not self._can or asyncio.get_running_loop().time() < self._until_s:
            return ""
        return "the dead man's switch is not armed"

    @property
    def state(self) -> str:
        """For a status: "armed", "lapsed" or "none"."""
        return "none" if not self._can else "lapsed" if self.why_not else "armed"

    async def run(self) -> None:
        """Arms and refreshes until cancelled; returns never."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._can:
                await asyncio.sleep(3_600.0)
                continue
            began = loop.time()  # the venue counts from when it hears it, which is later
            try:
                async with asyncio.timeout(self.timeout_s / SHARE):
                    await self._exchange.dead_man(self.timeout_s)
            except KeyRefused:
                raise
            except VenueRefusal as error:
                self._can, self.timeout_s = False, 0.0
                self._alert("warning", f"no dead man's switch: {error}. Orders stay open if this process dies")
                continue
            except (VenueError, TimeoutError) as error:
                self._alert("warning", f"the dead man's switch is not refreshed: {str(error) or 'no answer'}")
                await asyncio.sleep(RETRY_S)
                continue
            self._until_s = began + self.timeout_s
            await asyncio.sleep(self.timeout_s / SHARE)

    async def disarm(self) -> None:
        """Lets go of it: nothing is open any more. Where that fails it lapses, and there is nothing to take back."""
        if not self._can:
            return
        self._can = False
        try:
            async with asyncio.timeout(RETRY_S * 4):
                await self._exchange.dead_man(0.0)
        except (VenueError, TimeoutError) as error:
            self._alert("info", f"the dead man's switch is left to lapse: {str(error) or 'no answer'}")

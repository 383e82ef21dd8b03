"""Looking at an account at a pace, for venues that tell nothing of it by themselves."""

import asyncio
from collections.abc import Awaitable, Callable

from flea_lab.errors import VenueError, VenueRefusal


async def look_at_pace(every_s: float, look: Callable[[], Awaitable[object]]) -> None:
    """Looks every `every_s` until cancelled: what the venue does not say is asked again, a refusal of us is raised."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await look()
        except VenueRefusal:
            raise
        except VenueError:
            continue

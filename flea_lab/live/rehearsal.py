"""A live session on the sandbox in this process, over real REST and websocket on loopback: the third leg of parity.

Nothing is spared but the second process: the same server, client, loop, journal and control socket as `flea sandbox`
and `flea run`, in an event loop of a thread of its own, so that it also runs where a notebook's loop is running.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO

from flea_lab.clock import Clock, WallClock
from flea_lab.config import RunConfig
from flea_lab.errors import VenueError
from flea_lab.live.alerts import Alerts
from flea_lab.live.bot import trade
from flea_lab.live.opening import About, Bot, BuildCore
from flea_lab.live.runner import OVER
from flea_lab.live.store import FILE
from flea_lab.sandbox.play import Playlist
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.settings import SandboxSettings
from flea_lab.sandbox.stage import Stage
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect

ACCOUNT = "rehearsal"
LOOK_S = 0.2
STOP_S = 5.0

Progress = Callable[[int, int], None]
"""Hears how many bars are done, and of how many."""


def rehearse(
    config: RunConfig,
    build_core: BuildCore,
    warmup_bars: int,
    playlist: Playlist,
    settings: SandboxSettings,
    folder: Path,
    *,
    console: TextIO,
    code: str = "",
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Path:
    """The journal, in `folder`, of a session of `config` on a sandbox that plays `playlist` to its end.

    Alerts go to `console` and the folder. `VenueError` where the session ended before the market did.
    """
    clock = clock or WallClock()
    stop = threading.Event()

    async def session() -> str:
        stage = Stage(playlist, settings, clock.now_ns() // 1_000_000)
        server = SandboxServer(stage, clock)
        async with server.running() as url:
            opened = server.open_account(ACCOUNT, config.initial_cash_usd)
            if not isinstance(opened, tuple):
                raise VenueError(f"the sandbox opens no account: {opened}")
            dialect = load_dialect({"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws"}, "the rehearsal")
            key = Secret(opened[0])
            client = PurpleFlea(dialect, key, config.symbols, config.interval, config.instruments, clock, ack=True)
            about = About(
                account=ACCOUNT,
                venue="sandbox",
                config=config.name,
                config_id=config.id,
                promoted=False,
                code=code,
                key=key.fingerprint(),
            )
            with Alerts(folder, clock, console=console) as alerts:
                async with client:
                    bot = Bot(config, build_core, warmup_bars, client, client, folder, clock, alerts, about)
                    return await _watched(trade(bot, signals=False), stage, progress, stop)

    how = _in_a_thread(session, stop)
    if how != OVER:
        raise VenueError(f"the rehearsal ended early: {how}")
    return folder / FILE


def _in_a_thread(session: Callable[[], Coroutine[Any, Any, str]], stop: threading.Event) -> str:
    """What `session` returns or raises, run in a thread; an interrupt of this one sets `stop` and ends it."""
    ended: list[str] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ended.append(asyncio.run(session()))
        except BaseException as error:  # carried over to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, name="rehearsal", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        stop.set()
        thread.join(STOP_S)
        raise
    if failed:
        raise _plain(failed[0])
    return ended[0]


async def _watched(
    session: Coroutine[Any, Any, str], stage: Stage, progress: Progress | None, stop: threading.Event
) -> str:
    """What `session` returns, `progress` hearing meanwhile how far the stage has come; `stop` cancels it."""
    begun_ms, bars = stage.now_ms, stage.stop - stage.start
    running = asyncio.create_task(session, name="session")
    while not (await asyncio.wait({running}, timeout=LOOK_S))[0]:
        if stop.is_set():
            running.cancel()
        if progress is not None:
            progress(min(bars, (stage.now_ms - begun_ms) // stage.playlist.interval_ms), bars)
    return running.result()


def _plain(error: BaseException) -> BaseException:
    """The error itself, out of the group that a task group makes of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""`flea record`: what a feed says, onto a tape, until Ctrl-C or the time is over."""

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flea_lab.errors import ConfigError

if TYPE_CHECKING:
    from flea_lab.config import RunConfig
    from flea_lab.live.recorder import Recorder
    from flea_lab.venue.dialects import Dialect

app = typer.Typer()

SHOWN_S = 0.5
"""How often the progress is drawn."""


@app.command()
def record(
    path: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A TOML configuration: symbols, interval, dialect.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="How long; default: until Ctrl-C.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until this ISO time, UTC.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Base URL of the venue, if not the configured one.")] = None,
    dialect_name: Annotated[
        str | None,
        typer.Option("--dialect", metavar="NAME", help="Instead of CONFIG's: hyperliquid, ccxt:binanceusdm, ..."),
    ] = None,
    symbols: Annotated[str | None, typer.Option("--symbols", help="Instead of CONFIG's, separated by commas.")] = None,
    interval: Annotated[str | None, typer.Option("--interval", help="Instead of CONFIG's; 1m without either.")] = None,
    channels: Annotated[
        str, typer.Option("--channels", help="Any of candle, book, trades, funding.")
    ] = "candle,book,trades,funding",
    account: Annotated[str, typer.Option("--account", help="Whose key is shown to the venue.")] = "main",
    out: Annotated[
        Path | None, typer.Option("--out", help="The tape; one that is there is gone on with. Default: a new one.")
    ] = None,
    keep: Annotated[str, typer.Option("--keep", help="raw frames, the events read from them, or both.")] = "both",
    history: Annotated[int, typer.Option("--history", help="Candles of each symbol before the first frame.")] = 0,
    flush_s: Annotated[float, typer.Option("--flush-s", help="The most seconds that a kill can cost.")] = 1.0,
    fsync: Annotated[bool, typer.Option("--fsync", help="Force every flush onto the disk as well.")] = False,
    max_mb: Annotated[float | None, typer.Option("--max-mb", help="A new file beyond this size.")] = None,
    daily: Annotated[bool, typer.Option("--daily", help="A new file every day, at midnight UTC.")] = False,
) -> None:
    """Write what a venue's feed says onto a tape: candles, books, trades, funding, the connection: docs/data.md."""
    from flea_lab.clock import WallClock
    from flea_lab.data.tape_roll import TapeRoll
    from flea_lab.live.recorder import Recorder, RecorderSettings, channels_of
    from flea_lab.settings import load_settings

    values = {"keep": keep, "history": history, "flush_s": flush_s, "fsync": fsync, "max_mb": max_mb, "daily": daily}
    settings = load_settings(values, RecorderSettings, "flea record")
    config = _config(path)
    wanted = _wanted(config, symbols)
    clock = WallClock()
    limit_s = _limit_s(minutes, until, clock.now_ns())
    dialect, kinds = _dialect(config, url, dialect_name), channels_of(channels)
    if dialect.speech == "ccxt" and keep != "events":
        raise ConfigError(f"dialect {dialect.name!r} shows no raw frames: pass --keep events (in flea record)")
    step = interval or (config.interval if config else "1m")
    client = _client(dialect, config, wanted, step, kinds, account, clock)
    file = out if out is not None else _new_tape(config, dialect, clock.now_ns())
    tape = TapeRoll(file, max_bytes=settings.max_bytes, daily=settings.daily)
    print(f"record  {dialect.name} {dialect.rest_url or 'by ccxt'}  {', '.join(wanted)} {step}  {', '.join(kinds)}")
    print(f"tape    {tape.path}", flush=True)
    recorder = Recorder(tape, settings, clock, ack=_on_this_machine(dialect))
    done = asyncio.run(_record(recorder, client(recorder), wanted, step, limit_s))
    told = ", ".join(f"{count} {name}" for name, count in sorted(done.counts.items()))
    print(f"ended   {done.how}; {told}; {done.downs} times down, {done.faults} frames unread")


def _config(path: Path | None) -> "RunConfig | None":
    from flea_lab.config import load

    return None if path is None else load(path)


def _wanted(config: "RunConfig | None", symbols: str | None) -> tuple[str, ...]:
    named = tuple(part.strip() for part in (symbols or "").split(",") if part.strip())
    if not named and config is None:
        raise ConfigError("nothing to record: name a CONFIG, or --symbols BTCUSDT,ETHUSDT")
    return named or config.symbols  # type: ignore[union-attr]


def _limit_s(minutes: float | None, until: str | None, now_ns: int) -> float | None:
    if minutes is not None and until is not None:
        raise ConfigError("--minutes and --until exclude each other")
    if minutes is not None:
        if not 0 < minutes < 1e7:
            raise ConfigError(f"minutes = {minutes}: must be above 0 (in flea record)")
        return minutes * 60.0
    if until is None:
        return None
    limit_s = _epoch_s(until) - now_ns / 1e9
    if not limit_s > 0:
        raise ConfigError(f"until = {until!r} is over already (in flea record)")
    return limit_s


def _epoch_s(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"until = {text!r} is not an ISO date or time, such as 2026-05-05T12:00") from None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def _dialect(config: "RunConfig | None", url: str | None, name: str | None) -> "Dialect":
    from flea_lab.venue.dialects import load_dialect

    values: dict[str, Any] = dict(config.live.dialect) if config and name is None else {}
    if name is not None:
        values["name"] = name
    if url is not None:
        base = url.rstrip("/")
        values |= {"rest_url": base, "ws_url": f"ws{base.removeprefix('http')}/ws"}
    return load_dialect(values, "flea record")


def _on_this_machine(dialect: "Dialect") -> bool:
    """Whether it is a sandbox, which waits for those who acknowledge."""
    from urllib.parse import urlsplit

    here = urlsplit(dialect.rest_url).hostname in ("127.0.0.1", "localhost", "::1")
    return here and dialect.speech == "purpleflea"


def _client(
    dialect: "Dialect",
    config: "RunConfig | None",
    symbols: tuple[str, ...],
    interval: str,
    kinds: Any,
    account: str,
    clock: Any,
) -> Any:
    """What makes the client once there is somebody to tell of its frames."""
    from flea_lab.live.feeds import needs_key, open_feed, require_allowed
    from flea_lab.live.keys import load_key

    require_allowed(dialect)
    key = load_key(account) if needs_key(dialect) else None
    grids = config.instruments if config else {}

    def make(recorder: "Recorder") -> Any:
        return open_feed(
            dialect,
            key,
            symbols,
            interval,
            grids,
            clock,
            kinds,
            ack=_on_this_machine(dialect),
            partial=len(symbols) > 1,
            on_fault=recorder.hear_fault,
            on_raw=recorder.hear_raw if recorder.keeps_frames else None,
        )

    return make


def _new_tape(config: "RunConfig | None", dialect: "Dialect", now_ns: int) -> Path:
    from flea_lab.workspace import workspace

    name = config.name if config else dialect.name
    stamp = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
    workspace().ready()
    return workspace().tapes / f"{name}-{stamp}.tape"


async def _record(
    recorder: "Recorder", client: Any, symbols: tuple[str, ...], interval: str, limit_s: float | None
) -> Any:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, recorder.finish, f"stopped by {signal.Signals(number).name}")
    showing = asyncio.create_task(_show(recorder))
    try:
        return await recorder.run(client, symbols, interval, limit_s)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _show(recorder: "Recorder") -> None:
    from tqdm import tqdm

    from flea_lab.data.frames import iso

    with tqdm(desc="record", unit=" records", disable=None, leave=False) as bar:
        while True:
            await asyncio.sleep(SHOWN_S)
            bar.update(recorder.counts.total() - bar.n)
            market = iso(recorder.venue_ns // 1_000_000) if recorder.venue_ns else "no market time yet"
            link = "up" if recorder.up else "DOWN"
            bar.set_postfix_str(f"{recorder.tape.size / 1e6:.1f} MB, link {link}, {market}")

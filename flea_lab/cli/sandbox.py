"""`flea sandbox | faucet`: an exchange on this machine, and a key with play money on it."""

import asyncio
import signal
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from flea_lab.errors import ConfigError

app = typer.Typer()

URL = "http://127.0.0.1:8712/trading-api"

Pace = Annotated[
    str, typer.Option("--pace", help="acked: as fast as clients acknowledge. A number: that many times recorded speed.")
]
Matching = Annotated[
    str, typer.Option("--matching", help="How orders fill: next_open, as in research, or book, against depth.")
]
Requests = Annotated[
    int, typer.Option("--requests-per-minute", help="An account's requests beyond it are answered with 429.")
]
VenueTime = Annotated[
    str, typer.Option("--clock", help="market: the recorded time. wall: the market as if it were recorded now.")
]
Tape = Annotated[
    Path | None, typer.Option("--tape", help="Play this tape instead: its candles; with book its books and prints.")
]
Faults = Annotated[Path | None, typer.Option("--faults", metavar="TOML", help="What goes wrong: docs/sandbox.md.")]
Start = Annotated[
    str | None,
    typer.Option(
        "--start", help="ISO time from which bars are played, all before is history. Default: DAYS to the end."
    ),
]


@app.command()
def sandbox(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration: docs/configuration.md.")],
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1; 0 takes any free one.")] = 8712,
    pace: Pace = "acked",
    matching: Matching = "next_open",
    start: Start = None,
    days: Annotated[float, typer.Option("--days", help="How many days are played.")] = 1.0,
    latency_ms: Annotated[int, typer.Option("--latency-ms", help="Until an order works (book).")] = 0,
    queue_ahead: Annotated[
        float, typer.Option("--queue-ahead", help="Share of a level that is ahead of a resting order (book).")
    ] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Books a bar and symbol (book).")] = 12,
    maker_fee_bps: Annotated[
        float | None, typer.Option("--maker-fee-bps", help="Negative for a rebate. Default: the configuration's fee.")
    ] = None,
    taker_fee_bps: Annotated[
        float | None, typer.Option("--taker-fee-bps", help="Default: the configuration's fee.")
    ] = None,
    leverage: Annotated[float, typer.Option("--leverage", help="Largest exposure over equity.")] = 10.0,
    faucet_usd: Annotated[float, typer.Option("--faucet-usd", help="Play money of a claimed account.")] = 100_000.0,
    requests_per_minute: Requests = 1_000_000,
    clock: VenueTime = "market",
    clock_skew_s: Annotated[
        float, typer.Option("--clock-skew-s", help="By how much the venue's clock is ahead (wall).")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the books and prints around the candles.")] = 1,
    tape: Tape = None,
    faults: Faults = None,
) -> None:
    """Play the stored market of a configuration as an exchange on 127.0.0.1, until Ctrl-C: docs/sandbox.md."""
    from flea_lab.sandbox.settings import SandboxSettings
    from flea_lab.settings import load_settings

    values = {
        "port": port,
        "pace": _pace(pace),
        "matching": matching,
        "start": start,
        "days": days,
        "latency_ms": latency_ms,
        "queue_ahead": queue_ahead,
        "steps": steps,
        "maker_fee_bps": maker_fee_bps,
        "taker_fee_bps": taker_fee_bps,
        "leverage": leverage,
        "faucet_usd": faucet_usd,
        "requests_per_minute": requests_per_minute,
        "clock": clock,
        "clock_skew_s": clock_skew_s,
        "seed": seed,
    }
    _play(path, _with_faults(load_settings(values, SandboxSettings, "flea sandbox"), faults), tape)


def _with_faults(settings: Any, path: Path | None) -> Any:
    return settings if path is None else structs.replace(settings, faults=_faults(path))


def _faults(path: Path) -> Any:
    from flea_lab.sandbox.faults import FaultSettings
    from flea_lab.settings import load_settings

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from None
    return load_settings(values, FaultSettings, str(path))


def _pace(text: str) -> str | float:
    try:
        return text if text == "acked" else float(text)
    except ValueError:
        raise ConfigError(f"pace = {text!r}: must be acked or a number from 1 to 1000 (in flea sandbox)") from None


def _play(path: Path, settings: Any, tape: Path | None) -> None:
    from flea_lab.backtest.playlist import playlist_of
    from flea_lab.clock import WallClock
    from flea_lab.config import load
    from flea_lab.sandbox.server import SandboxServer
    from flea_lab.sandbox.settings import with_costs
    from flea_lab.sandbox.stage import Stage
    from flea_lab.wiring import load_market, market_of_tape

    config = load(path)
    full = with_costs(settings, config.costs.fee_bps, config.costs.slippage_bps)
    clock = WallClock()
    loaded, recording = (load_market(config), None) if tape is None else market_of_tape(config, tape, progress=True)
    stage = Stage(playlist_of(loaded.market), full, clock.now_ns() // 1_000_000, recording)
    server = SandboxServer(stage, clock)
    try:
        asyncio.run(_serve(server, stage))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("sandbox  stopped, its accounts are gone")
    finally:
        if server.faults:
            print(f"faults   {server.faults.text()}", flush=True)


async def _serve(server: Any, stage: Any) -> None:
    serving = asyncio.current_task()
    assert serving is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # ended as by Ctrl-C: connections are told
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    async with server.listening() as url:
        print(f"sandbox  {url}  {played_text(stage)}", flush=True)
        await server.play()
        print("sandbox  the recorded market is over, still answering", flush=True)
        await asyncio.Event().wait()


def played_text(stage: Any) -> str:
    """What a stage plays, for a person."""
    from flea_lab.data.frames import iso

    tape = stage.playlist
    first, last = int(tape.open_ms[stage.start]), int(tape.open_ms[stage.stop - 1])
    bars, symbols = stage.stop - stage.start, ", ".join(tape.symbols)
    return f"plays {bars} bars of {symbols} {tape.interval} from {iso(first)} to {iso(last)}"


@app.command()
def faucet(
    url: Annotated[str, typer.Option("--url", help="The sandbox, as it printed it.")] = URL,
    account: Annotated[str, typer.Option("--account", help="The name to keep the key under.")] = "main",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a key that is there.")] = False,
) -> None:
    """Claim play money from a sandbox: the key is kept for the runner, readable by you only, and never shown."""
    from flea_lab.live.faucet import claim_key

    claimed = claim_key(url, account, replace=replace)
    print(f"account  {claimed.account_id}")
    print(f"credit   {claimed.credited} USD of play money")
    print(f"key      {claimed.file}")

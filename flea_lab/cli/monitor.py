"""`flea monitor` and `flea alerts`: accounts on a page and as metrics; what they told, and whether a channel works."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flea_lab.errors import ConfigError

if TYPE_CHECKING:
    from flea_lab.live.monitor import Monitor

app = typer.Typer()
alerts = typer.Typer(no_args_is_help=True, help="Alerts: the last ones, and whether a channel works.")


@app.command("monitor")
def monitor(
    accounts: Annotated[list[str] | None, typer.Argument(metavar="[ACCOUNT]...", help="Which; all by default.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 takes any.")] = 8790,
    balances: Annotated[bool, typer.Option("--balances", help="Money and quantities in /metrics too.")] = False,
) -> None:
    """Serve a page of the accounts with a HALT button, and /metrics for Prometheus, on this machine only."""
    from flea_lab.clock import WallClock
    from flea_lab.live.account import require_there
    from flea_lab.live.monitor import Monitor

    for account in accounts or ():
        require_there(account)
    asyncio.run(_served(Monitor(accounts or (), WallClock(), balances=balances), port))


async def _served(found: "Monitor", port: int) -> None:
    runner = await found.start(port)
    print(f"monitor  {found.url}\nmetrics  http://127.0.0.1:{found.port}/metrics", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


@alerts.command("test")
def send_test(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="As in [alerts.channels.CHANNEL].")],
    send_s: Annotated[float, typer.Option("--send-s", min=0.1, max=30.0, help="How long it may take.")] = 5.0,
) -> None:
    """Send one alert to a channel, whose address is in its file, the environment or the keyring."""
    from flea_lab.live.alerts_channel import AppriseNotifier, NotSent, load_address

    notifier = AppriseNotifier(channel, load_address(channel), send_s)
    notifier.prepare()
    try:
        notifier.send("flea_lab", "a test: this channel works")
    except NotSent as error:
        print(f"alert channel {channel} was not told: {error}")
        raise typer.Exit(1) from None
    print(f"sent to {channel}")


@alerts.command("list")
def list_(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose alerts.")],
    last: Annotated[int, typer.Option("--last", min=1, max=1_000, help="How many.")] = 20,
) -> None:
    """Show the last alerts of an account, the newest last."""
    from flea_lab.live.account import account_folder
    from flea_lab.live.monitor_state import last_alerts

    folder: Path = account_folder(account)
    if not folder.is_dir():
        raise ConfigError(f"account {account!r}: nothing has run there")
    found = last_alerts(folder, last)[::-1]
    if not found:
        print(f"no alert of account {account}")
        return
    for one in found:
        moment = datetime.fromtimestamp(one.ts // 1_000_000_000, UTC)
        more = f" (and {one.held:,} more)" if one.held else ""
        print(f"{moment:%Y-%m-%d %H:%M:%S}  {one.severity:<8}  {one.kind:<8}  {one.text}{more}")

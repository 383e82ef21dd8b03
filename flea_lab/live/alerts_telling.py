"""What a session tells of its trading: fills, drawdown steps, and one structured record of every order's turn.

It hears each event after the core took it, with what the core said to it, and waits for nothing.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flea_lab.core import Event, TradingCore
from flea_lab.live.alerts import Alerts
from flea_lab.live.opening import Bot
from flea_lab.live.runner import Runner
from flea_lab.live.telemetry import FIELDS, Telemetry, Value
from flea_lab.live.telemetry_lag import LoopLag
from flea_lab.model.alert import AlertSettings
from flea_lab.model.trading import Alert, Command, Control, Fill, NewOrder, OrderReport, Refused
from flea_lab.money import USD


class Teller:
    """Tells `alerts` and `telemetry` of what happens to `core`."""

    def __init__(
        self, core: TradingCore, settings: AlertSettings, alerts: Alerts, telemetry: Telemetry | None = None
    ) -> None:
        self._core, self._alerts, self._telemetry = core, alerts, telemetry
        self._fills = any(channel.takes("info", "fill") for channel in settings.channels.values())
        self._steps = sorted(settings.drawdown_steps)
        self._told, self._decided_ns = 0, core.decided_ns

    def __call__(self, event: Event, commands: Sequence[Command]) -> None:
        """Hears one event and what came of it."""
        if isinstance(event, Fill) and self._fills:
            grid = self._core.instruments[event.symbol]
            verb = "bought" if event.side == "buy" else "sold"
            text = f"{verb} {grid.qty(event.lots):g} {event.symbol} at {grid.price(event.price_ticks):,g}"
            self._alerts.put("info", text, f"fill {event.symbol}", "fill")
        if self._core.decided_ns != self._decided_ns:
            self._decided_ns = self._core.decided_ns
            self._look_at_equity()
        if self._telemetry is not None:
            if isinstance(event, OrderReport | Control):
                self._record(self._telemetry, event)
            for command in commands:
                if isinstance(command, NewOrder | Refused | Alert):
                    self._record(self._telemetry, command)

    def _look_at_equity(self) -> None:
        """Tells the deepest step that equity has fallen through since its peak, each once until it is back there."""
        equity, peak = self._core.ledger.equity_uusd(), self._core.gate.peak_uusd
        if not equity < peak:
            self._told = 0
            return
        fall = 1.0 - equity / peak
        passed = sum(fall >= step for step in self._steps)
        if passed > self._told:
            self._told = passed
            step = self._steps[passed - 1]
            text = f"equity is {fall:.1%} below its peak: past {step:.0%}, now {equity / USD:,.2f} USD"
            self._alerts.put("warning", text, f"drawdown {step:g}", "drawdown")

    def _record(self, telemetry: Telemetry, said: object) -> None:
        fields: dict[str, Value] = {}
        for name in getattr(said, "__struct_fields__", ()):
            value = getattr(said, name)
            if name in FIELDS and isinstance(value, str | int | float | bool) and value != "":
                fields[name] = value
        intent = getattr(said, "intent", None)
        if intent is not None and "symbol" not in fields:
            fields["symbol"] = intent.symbol
        telemetry.log(type(said).__name__, fields)


@contextmanager
def told(bot: Bot, runner: Runner, *, wall_clock: bool) -> Iterator[None]:
    """Has a session's fills, drawdowns and orders told while it lasts, and the lag of its loop looked at.

    Only where the venue's time is the time of day does a loop that hung keep positions from growing: a market that is
    played waits for it.
    """
    live = bot.config.live
    with Telemetry(bot.folder, bot.clock, bot.alerts.mask) as telemetry:
        about = {"account": bot.about.account, "venue": bot.about.venue, "config_id": bot.about.config_id}
        telemetry.log("begins", {**about, "pid": os.getpid()})
        runner.listeners.append(Teller(runner.core, bot.config.alerts, bot.alerts, telemetry))
        loop = asyncio.get_running_loop()
        lag = LoopLag(
            loop,
            bot.alerts.put,
            alert_s=live.lag_alert_s,
            block_s=live.lag_block_s,
            telemetry=telemetry,
            heeded=lambda: wall_clock and runner.state == "trading",
        )
        runner.lag = lambda: (lag.now.p99_s, lag.why_not)
        try:
            yield
        finally:
            lag.close()
            telemetry.log("ends", {**about, "state": runner.state, "reason": runner.error})

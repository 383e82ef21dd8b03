"""One event in, commands out. Owns the order of the layers; no clock, no socket, no thread.

Rules. All candles that close at one instant are one bar of the account: it is decided when every symbol's candle is
there, or when something later (or a heartbeat past the grace) says that the rest will not come. First every position
is marked, then the account is judged, then each symbol in the config's order is stepped, combined, sized, reviewed and
routed; what the earlier symbols ordered counts as exposure for the later ones.
"""

import math
from collections.abc import Mapping, Sequence

from flea_lab.errors import DataError
from flea_lab.execution.router import Router
from flea_lab.ledger import Ledger, gross_uusd, position_uusd
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Account,
    Alert,
    Approved,
    Command,
    Control,
    Fill,
    Halt,
    NewOrder,
    OrderReport,
    Reduce,
    Refused,
    Resume,
)
from flea_lab.risk.checks import BELOW_MINIMUM, CHECKS, worst_uusd
from flea_lab.risk.gate import Gate, TradingState
from flea_lab.signal.kernel import Bar, Stream
from flea_lab.strategy.desk import Desk

NAN = float("nan")
Event = Candle | Trade | Funding | Heartbeat | OrderReport | Control


class TradingCore:
    """The trading desk as a pure state machine. Replay and the live runner hold the same one."""

    def __init__(
        self,
        *,
        symbols: Sequence[str],
        instruments: Mapping[str, Instrument],
        desk: Desk,
        gate: Gate,
        ledger: Ledger,
        router: Router,
        vpin: Mapping[str, Stream],
        slippage_e8: int,
        trade_from_ns: int,
        grace_ns: int = 0,
    ) -> None:
        self.desk, self.gate, self.ledger, self.router = desk, gate, ledger, router
        self.symbols = tuple(symbols)
        self._instruments = dict(instruments)
        self._vpin = dict(vpin)
        self._slippage_e8 = slippage_e8
        self._trade_from_ns = trade_from_ns
        self._grace_ns = grace_ns
        self._funding_rate = dict.fromkeys(symbols, NAN)
        self._waiting: dict[str, tuple[Candle, int]] = {}
        self._bar_ns = 0
        self._decided_ns = 0
        self.convictions = dict.fromkeys(symbols, NAN)
        self.toxicity = dict.fromkeys(symbols, NAN)

    def on(self, event: Event) -> tuple[Command, ...]:
        """What to do about `event`. Events come in the order in which they were received."""
        match event:
            case Candle():
                return self._on_candle(event)
            case OrderReport():
                return self._on_report(event)
            case Heartbeat():
                return self._on_heartbeat(event)
            case Funding():
                return self._on_funding(event)
            case Halt() | Reduce() | Resume():
                return self._on_control(event)
        return ()

    def account(self) -> Account:
        """The account as it stands."""
        return self.ledger.account(self._decided_ns, self.gate.day_open_uusd, self.gate.peak_uusd)

    def _on_candle(self, candle: Candle) -> tuple[Command, ...]:
        if not candle.complete:
            return ()
        ts, symbol = candle.ts_event, candle.symbol
        if symbol not in self._instruments:
            return (Alert(ts_event=ts, severity="warning", text=f"candle for {symbol}, which is not traded here"),)
        ticks = self._instruments[symbol].ticks(candle.close)  # an impossible price raises before anything changes
        commands: tuple[Command, ...] = ()
        if self._waiting and ts > self._bar_ns:
            commands = self._decide()
        if ts <= self._decided_ns or ts < self._bar_ns or symbol in self._waiting:
            text = f"candle of {symbol} closing {ts} came late or twice and was not used"
            return (*commands, Alert(ts_event=ts, severity="warning", text=text))
        self._bar_ns = ts
        self._waiting[symbol] = candle, ticks
        if len(self._waiting) == len(self.symbols):
            commands += self._decide()
        return commands

    def _on_funding(self, funding: Funding) -> tuple[Command, ...]:
        symbol, ts = funding.symbol, funding.ts_event
        if symbol not in self._instruments:
            return (Alert(ts_event=ts, severity="warning", text=f"funding of {symbol}, which is not traded here"),)
        if not math.isfinite(funding.rate):
            raise DataError(f"funding of {symbol} at {ts}: rate {funding.rate} is not a number")
        self._funding_rate[symbol] = funding.rate
        self.ledger.fund(symbol, funding.rate)
        return ()

    def _on_heartbeat(self, beat: Heartbeat) -> tuple[Command, ...]:
        if self._waiting and beat.ts_event >= self._bar_ns + self._grace_ns:
            return self._decide()
        return ()

    def _on_report(self, report: OrderReport) -> tuple[Command, ...]:
        before, after = self.router.blotter.on(report)
        command = after.command
        sign = 1 if command.side == "buy" else -1
        self.ledger.pend(command.symbol, sign * (after.open_lots - before.open_lots))
        if isinstance(report, Fill):
            self.ledger.fill(report)
        return ()

    def _on_control(self, control: Control) -> tuple[Command, ...]:
        self.gate.on(control)
        if isinstance(control, Halt):
            alert = Alert(ts_event=control.ts_event, severity="critical", text=f"halted: {control.reason}")
            return (*self.router.cancel_all(control.ts_event), alert)
        return ()

    def _decide(self) -> tuple[Command, ...]:
        """The bar of the account that closes at `_bar_ns`: mark, judge, then one symbol after the other."""
        ts, bars = self._bar_ns, self._waiting
        self._waiting, self._decided_ns = {}, ts
        for symbol, (_, ticks) in bars.items():
            self.ledger.mark(symbol, ticks)
        trading = ts >= self._trade_from_ns
        commands: list[Command] = self._judge(ts) if trading else []
        equity = self.ledger.equity_uusd()
        for symbol in self.symbols:
            if symbol not in bars:
                continue
            candle, ticks = bars[symbol]
            conviction = self._step(candle)
            if trading:
                command = self._order(symbol, conviction, ts, ticks, equity)
                if command is not None:
                    commands.append(command)
        return tuple(commands)

    def _judge(self, ts: int) -> list[Command]:
        fresh = self.gate.advance(ts, self.ledger.equity_uusd())
        if not fresh:
            return []
        alerts = [Alert(ts_event=ts, severity="critical", text=f"halted by {name}") for name in fresh]
        return [*self.router.cancel_all(ts), *alerts]

    def _step(self, candle: Candle) -> float:
        symbol = candle.symbol
        bar = Bar(
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.buy_volume,
            self._funding_rate[symbol],
        )
        if symbol in self._vpin:
            self.toxicity[symbol] = self._vpin[symbol].on(bar).vpin
        conviction = self.desk.step(symbol, bar)
        self.convictions[symbol] = conviction
        return conviction

    def _order(self, symbol: str, conviction: float, ts: int, ticks: int, equity: int) -> NewOrder | Refused | None:
        if not abs(conviction) >= self.desk.combination.min_conviction:  # silence, found before anything is valued
            return None
        book, s = self.ledger.book, self.ledger.row[symbol]
        position = position_uusd(book, s)
        intent = self.desk.intent(symbol, conviction, ts, ticks, equity, position)
        if intent is None:
            return None
        size = intent.size_uusd if intent.side == "buy" else -intent.size_uusd
        worst = worst_uusd(size, ticks, self._slippage_e8)
        verdict = self.gate.review(intent, equity, position, gross_uusd(book), worst, self.toxicity[symbol])
        if not isinstance(verdict, Approved):
            return verdict
        order = self.router.on(verdict)
        if order is None:
            return Refused(intent, BELOW_MINIMUM, CHECKS[BELOW_MINIMUM][1])
        self.ledger.pend(symbol, order.lots if order.side == "buy" else -order.lots)
        return order

    @property
    def halted(self) -> bool:
        """Whether nothing passes the gate."""
        return self.gate.trading_state is TradingState.HALTED

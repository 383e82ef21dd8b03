"""One event in, commands out. Owns the order of the layers; no clock, no socket, no thread.

Rules. All candles that close at one instant are one bar of the account: it is decided when every symbol's candle is
there, or when something later (or a heartbeat past the grace) says that the rest will not come. First every position
is marked, then the account is judged, then each symbol in the config's order is stepped, combined, sized, reviewed and
routed; what the earlier symbols ordered counts as exposure for the later ones.

Funding stamped at or after the open of a bar that is not decided yet is held until that bar is: the position that
pays is the one before the fills that follow. A fill or an opening bar stamped later lets it go first. A settlement or
a fill told twice counts once.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flea_lab.core_state import GO_BACK, STATE_VERSION, CoreState
from flea_lab.data.features import BarFeatures
from flea_lab.dealing import Dealer, contradiction, overfill
from flea_lab.errors import DataError
from flea_lab.execution.order import OPEN
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import Slicing
from flea_lab.ledger import LOTS, Ledger, position_uusd
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Account,
    Adopt,
    Alert,
    Command,
    Control,
    Doubt,
    Fill,
    Halt,
    HandCancel,
    HandOrder,
    OrderReport,
    Reduce,
    Resume,
    WarmUp,
)
from flea_lab.model.vouched import Vouched
from flea_lab.risk.gate import Gate, TradingState
from flea_lab.risk.tolerance import Doubts
from flea_lab.signal.kernel import FIELDS, N_PLAIN, Bar, Stream, pack_plain
from flea_lab.strategy.desk import BAR_BYTES, Desk

NAN = float("nan")
VPIN_AT = FIELDS.index("vpin")
NOTHING: tuple[Command, ...] = ()
Waiting = tuple[Candle, int]
"""A candle of the bar that is not decided yet, and its close in ticks."""

Event = Candle | Trade | Vouched | BookSnapshot | Features | Funding | Heartbeat | OrderReport | Control


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
        doubts: Doubts,
        vpin: Mapping[str, Stream],
        slippage_e8: int,
        trade_from_ns: int,
        bar_ns: int,
        grace_ns: int = 0,
        limit_ttl_ns: int | None = None,
        features: Mapping[str, BarFeatures] | None = None,
        slicing: Slicing | None = None,
    ) -> None:
        self.desk, self.gate, self.ledger, self.router, self.doubts = desk, gate, ledger, router, doubts
        self.symbols = tuple(symbols)
        self._instruments = dict(instruments)
        self._vpin, self._features = dict(vpin), dict(features or {})
        self.dealer = Dealer(gate, ledger, router, instruments, slippage_e8, bar_ns, slicing)
        self._working = self.dealer.working if slicing is not None else None
        self._trade_from_ns = trade_from_ns
        self._bar_length_ns = bar_ns
        self._grace_ns = grace_ns
        self._limit_ttl_ns = limit_ttl_ns
        self._settled_ns = dict.fromkeys(symbols, -1)
        self._settling: list[Funding] = []
        self._paid: list[tuple[Funding, int]] = []
        self._funding_rate = dict.fromkeys(symbols, NAN)
        self._waiting: dict[str, Waiting] = {}
        self._bar_ns = 0
        self._decided_ns = 0
        self.toxicities = np.full(len(self.symbols), NAN)
        self.measured = bool(self._features or self._vpin)

    def on(self, event: Event) -> tuple[Command, ...]:
        """What to do about `event`. Events come in the order in which they were received."""
        if type(event) is Vouched or type(event) is Trade:  # what there is most of
            features = self._features.get(event.symbol)
            if features is not None:
                features.on(event)
            return NOTHING
        match event:
            case Candle():
                return self._on_candle(event)
            case BookSnapshot() | Features():
                self._hear(event)
            case OrderReport():
                return self._on_report(event)
            case Heartbeat():
                return self._on_heartbeat(event)
            case Funding():
                return self._on_funding(event)
            case Halt() | Reduce() | Resume():
                return self._on_control(event)
            case Doubt():
                return self._on_doubt(event)
            case Adopt():
                return self._on_adopt(event)
            case HandOrder():
                return self._on_hand_order(event)
            case HandCancel():
                return self.dealer.working.end_one(event)
            case WarmUp():
                self._waiting.clear()
                self._trade_from_ns = event.until_ns + 1
        return ()

    @property
    def convictions(self) -> dict[str, float]:
        """What every symbol's alphas say together, in [-1, 1]; NaN while one is not ready."""
        return dict(zip(self.symbols, self.desk.convictions.tolist(), strict=True))

    @property
    def toxicity(self) -> dict[str, float]:
        """VPIN of every symbol as the gate takes it, NaN where it is not known."""
        return dict(zip(self.symbols, self.toxicities.tolist(), strict=True))

    def fresh_features(self) -> dict[str, BarFeatures]:
        """What measures the features that the config reads, as new, by symbol; none where it reads none."""
        return {
            symbol: BarFeatures(self._bar_length_ns, features.settings) for symbol, features in self._features.items()
        }

    def account(self) -> Account:
        """The account as it stands."""
        return self.ledger.account(self._decided_ns, self.gate.day_open_uusd, self.gate.peak_uusd)

    def dump(self) -> CoreState:
        """All that it remembers, orders aside (each is kept by its own id); `load` into a core of the same config."""
        given, marked = self.gate.watch.dump()
        parents, hours = self.dealer.working.dump()
        return CoreState(
            cash_uusd=self.ledger.cash_uusd,
            arrays={name: array.tobytes() for name, array in self._arrays().items()},
            funding_rate=dict(self._funding_rate),
            settled_ns=dict(self._settled_ns),
            settling=list(self._settling),
            waiting=[candle for candle, _ in self._waiting.values()],
            bar_ns=self._bar_ns,
            decided_ns=self._decided_ns,
            trade_from_ns=self._trade_from_ns,
            convictions=self.convictions,
            toxicity=self.toxicity,
            minted=self.router.minted,
            features={symbol: features.dump() for symbol, features in self._features.items()},
            given=given,
            marked=marked,
            parents=parents,
            hours=hours,
        )

    def load(self, state: CoreState) -> None:
        """Goes on from `state`; `DataError` where it is not of this config. Orders are restored by the blotter."""
        arrays = self._arrays()
        if state.version != STATE_VERSION:
            told = f"the saved state of the core has version {state.version}, this code reads {STATE_VERSION}"
            raise DataError(f"{told}: {GO_BACK}")
        mine, saved = {k: v.nbytes for k, v in arrays.items()}, {k: len(v) for k, v in state.arrays.items()}
        if mine != saved:
            name = next(name for name in (*mine, *saved) if mine.get(name) != saved.get(name))
            told = f"{name!r} has {saved.get(name, 0)} bytes there, {mine.get(name, 0)} here"
            raise DataError(f"the saved state of the core is not of this config and code ({told}): {GO_BACK}")
        if state.features.keys() != self._features.keys():
            raise DataError("the saved state of the core has the features of other symbols than this config needs")
        for symbol, features in self._features.items():
            features.load(state.features[symbol])
        for name, array in arrays.items():
            array[...] = np.frombuffer(state.arrays[name], dtype=array.dtype).reshape(array.shape)
        self.doubts.wake()
        self.ledger.cash_uusd = state.cash_uusd
        self._funding_rate, self._settled_ns = dict(state.funding_rate), dict(state.settled_ns)
        self._settling = list(state.settling)
        self._waiting = {c.symbol: (c, self._instruments[c.symbol].ticks(c.close)) for c in state.waiting}
        self._bar_ns, self._decided_ns, self._trade_from_ns = state.bar_ns, state.decided_ns, state.trade_from_ns
        for s, symbol in enumerate(self.symbols):
            self.desk.convictions[s], self.toxicities[s] = state.convictions[symbol], state.toxicity[symbol]
        self.router.resume(state.minted)
        self.gate.watch.load(state.given, state.marked)
        self.dealer.working.load(state.parents, state.hours)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array that it remembers in, by name."""
        found: dict[str, npt.NDArray[Any]] = {
            "book": self.ledger.book,
            "gate": self.gate.state,
            "doubts": self.doubts.state,
        }
        for symbol in self.symbols:
            found[f"alphas {symbol}"] = self.desk.memory(symbol)
            found[f"opinions {symbol}"] = self.desk.opinions(symbol)
        for symbol, stream in self._vpin.items():
            found[f"vpin {symbol}"] = stream.memory
        return found

    def _on_candle(self, candle: Candle) -> tuple[Command, ...]:
        if not candle.complete:
            return ()
        ts, symbol = candle.ts_event, candle.symbol
        grid = self._instruments.get(symbol)
        if grid is None:
            return (Alert(ts_event=ts, severity="warning", text=f"candle for {symbol}, which is not traded here"),)
        ticks = grid.ticks(candle.close)  # an impossible price raises before anything changes
        commands: tuple[Command, ...] = ()
        if self._waiting and ts > self._bar_ns:
            commands = self._decide()
        if ts <= self._decided_ns or ts < self._bar_ns or symbol in self._waiting:
            text = f"candle of {symbol} closing {ts} came late or twice and was not used"
            return (*commands, Alert(ts_event=ts, severity="warning", text=text))
        if self._settling:
            self._settle(ts - self._bar_length_ns)
        if self._features:
            self._hear(candle)
        self._bar_ns = ts
        self._waiting[symbol] = candle, ticks
        if len(self._waiting) == len(self.symbols):
            commands += self._decide()
        return commands

    def _hear(self, event: Candle | Trade | Vouched | BookSnapshot | Features | Funding) -> None:
        """Gives `event` to the features of its symbol, where the config reads any."""
        features = self._features.get(event.symbol)
        if features is not None:
            features.on(event)

    def _on_funding(self, funding: Funding) -> tuple[Command, ...]:
        if funding.state != "settled":
            self._hear(funding)
            return ()
        symbol, ts = funding.symbol, funding.ts_event
        if symbol not in self._instruments:
            return (Alert(ts_event=ts, severity="warning", text=f"funding of {symbol}, which is not traded here"),)
        if not math.isfinite(funding.rate):
            raise DataError(f"funding of {symbol} at {ts}: rate {funding.rate} is not a number")
        if ts <= self._settled_ns[symbol]:
            return ()
        self._settled_ns[symbol] = ts
        self._settling.append(funding)
        if not self._waiting:
            self._settle(self._decided_ns)
        return ()

    def _settle(self, until_ns: int) -> None:
        """Settles what is held and stamped up to `until_ns`."""
        due = [funding for funding in self._settling if funding.ts_event <= until_ns]
        self._settling = [funding for funding in self._settling if funding.ts_event > until_ns]
        for funding in due:
            self._funding_rate[funding.symbol] = funding.rate
            self._paid.append((funding, -self.ledger.fund(funding.symbol, funding.rate)))

    def take_paid(self) -> list[tuple[Funding, int]]:
        """Settlements since the last call, each with what it cost (negative: brought) in micro-dollars."""
        paid, self._paid = self._paid, []
        return paid

    def _on_heartbeat(self, beat: Heartbeat) -> tuple[Command, ...]:
        late = beat.ts_event - self._grace_ns
        if self._waiting and late >= self._bar_ns:
            return self._decide()
        if self._settling and not self._waiting:
            self._settle(late - self._bar_length_ns)
        return self._working.tick(beat.ts_event) if self._working is not None else NOTHING

    def _on_report(self, report: OrderReport) -> tuple[Command, ...]:
        before, after = self.router.blotter.on(report)
        alerts = () if before.status in OPEN else contradiction(before, report)
        if after is before:
            return alerts
        command = after.command
        sign = 1 if command.side == "buy" else -1
        self.ledger.pend(command.symbol, sign * (after.exposed_lots - before.exposed_lots))
        if self._working is not None:
            self._working.on(before, after)
        if isinstance(report, Fill):
            if self._settling:
                self._settle(report.ts_event)
            self.ledger.fill(report)
            if after.filled_lots > command.lots:
                alerts = (*alerts, overfill(after, report))
        return alerts

    def _on_control(self, control: Control) -> tuple[Command, ...]:
        self.gate.on(control)
        if isinstance(control, Halt):
            alert = Alert(ts_event=control.ts_event, severity="critical", text=f"halted: {control.reason}")
            return (*self._take_back(control.ts_event), alert)
        return ()

    def _take_back(self, ts: int) -> tuple[Command, ...]:
        """Ends what is worked in slices, and a cancel for every order that may still trade."""
        self.dealer.working.stop(ts)
        return self.router.cancel_all(ts)

    def _on_adopt(self, adopt: Adopt) -> tuple[Command, ...]:
        ts, text = adopt.ts_event, "the account is taken over from the venue"
        self.ledger.adopt(adopt.lots, adopt.cash_uusd, adopt.fees_uusd, adopt.funding_uusd)
        self.gate.on(Reduce(ts_event=ts, reason=text))
        cancels = self._take_back(ts)  # before missing fills are forgiven: a parent counts them as out
        for symbol, lots in self.router.blotter.forgive().items():
            self.ledger.pend(symbol, -lots)
        alert = Alert(ts_event=ts, severity="critical", text=f"{text}: only orders that reduce a position pass")
        return (*cancels, alert)

    def _on_doubt(self, doubt: Doubt) -> tuple[Command, ...]:
        symbol, ts = doubt.symbol, doubt.ts_event
        if symbol not in self._instruments:
            return (Alert(ts_event=ts, severity="warning", text=f"doubt of {symbol}, which is not traded here"),)
        self.doubts.doubt(symbol)
        return ()

    def _on_hand_order(self, order: HandOrder) -> tuple[Command, ...]:
        symbol, ts = order.symbol, order.ts_event
        if symbol not in self._instruments:
            return (Alert(ts_event=ts, severity="warning", text=f"order for {symbol}, which is not traded here"),)
        unsettled = self.doubts.awake and self.doubts.unsettled(symbol)
        toxicity = float(self.toxicities[self.ledger.row[symbol]])
        return self.dealer.by_hand(order, self.ledger.equity_uusd(), toxicity, unsettled)

    def _decide(self) -> tuple[Command, ...]:
        """The bar of the account that closes at `_bar_ns`: mark, judge, step, then one symbol's order after the
        other's."""
        ts, bars = self._bar_ns, self._waiting
        self._waiting, self._decided_ns = {}, ts
        for s, symbol in enumerate(self.symbols):
            if symbol in bars:
                self._see(s, bars[symbol][0])
        equity = self._mark(bars)
        trading = ts >= self._trade_from_ns
        commands = self._judge(ts, equity) if trading else NOTHING
        if trading and self._limit_ttl_ns is not None:
            commands += self.router.expire(ts - self._limit_ttl_ns, ts)
        if self._working is not None:
            for symbol, (candle, _) in bars.items():
                self._working.heard(symbol, ts, candle.volume)
            commands += self._working.tick(ts) if trading else NOTHING
        if self._step(bars) and trading:
            commands += self._orders(bars, ts, equity)
        if self.gate.watch.remembers_bars:
            for symbol, (_, ticks) in bars.items():
                self.gate.watch.marked(symbol, ticks)
        if self._settling:
            self._settle(ts)
        return commands

    def _mark(self, bars: Mapping[str, Waiting]) -> int:
        """Values every position that has a bar at its close; the equity then."""
        if len(bars) == len(self.symbols):
            return self.ledger.mark_all([bars[symbol][1] for symbol in self.symbols])
        for symbol, (_, ticks) in bars.items():
            self.ledger.mark(symbol, ticks)
        return self.ledger.equity_uusd()

    def _judge(self, ts: int, equity: int) -> tuple[Command, ...]:
        fresh = self.gate.advance(ts, equity)
        if not fresh:
            return NOTHING
        alerts = [Alert(ts_event=ts, severity="critical", text=f"halted by {name}") for name in fresh]
        return (*self._take_back(ts), *alerts)

    def _step(self, bars: Mapping[str, Waiting]) -> bool:
        """Steps the signals of every symbol that has a bar; whether any has something to say."""
        if len(bars) == len(self.symbols):
            return self.desk.step_rows(0, len(bars))
        speaking = False
        for s, symbol in enumerate(self.symbols):
            if symbol in bars:
                speaking |= self.desk.step_rows(s, s + 1)
        return speaking

    def _see(self, s: int, candle: Candle) -> None:
        """Lays out what the signals of row `s` see: its candle, its funding, and its features where it reads any."""
        symbol = candle.symbol
        if self.doubts.awake:
            self.doubts.bar(symbol, candle.ts_event)
        pack_plain(
            self.desk.bars,
            s * BAR_BYTES,
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.buy_volume,
            self._funding_rate[symbol],
        )
        if self.measured:
            self._measure(s, candle)

    def _measure(self, s: int, candle: Candle) -> None:
        """Lays out the features of row `s`, and how toxic its flow is."""
        row, symbol = self.desk.bars[s], candle.symbol
        if symbol in self._features:
            row[N_PLAIN:] = self._features[symbol].row(candle.ts_event)
        stream = self._vpin.get(symbol)
        self.toxicities[s] = row[VPIN_AT] if stream is None else stream.on(Bar(*row.tolist())).vpin

    def _orders(self, bars: Mapping[str, Waiting], ts: int, equity: int) -> tuple[Command, ...]:
        """What is done about every symbol's conviction, in their order."""
        made: list[Command] = []
        for symbol, conviction in zip(self.symbols, self.desk.convictions.tolist(), strict=True):
            if symbol in bars and abs(conviction) >= self.desk.combination.min_conviction:  # else silence
                made += self._order(symbol, conviction, bars[symbol], ts, equity)
        return tuple(made)

    def _order(self, symbol: str, conviction: float, bar: Waiting, ts: int, equity: int) -> tuple[Command, ...]:
        s = self.ledger.row[symbol]
        candle, ticks = bar
        intent = self.desk.intent(symbol, conviction, ts, ticks, equity, position_uusd(self.ledger.book, s))
        if intent is None:
            return NOTHING
        unsettled = self.doubts.awake and self.doubts.unsettled(symbol)
        return self.dealer.on(intent, equity, float(self.toxicities[s]), unsettled, candle.volume)

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The grids of what is traded here, by symbol."""
        return self._instruments

    def qty(self, symbol: str) -> float:
        """The position in `symbol`, signed, in base units."""
        return self._instruments[symbol].qty(int(self.ledger.book[self.ledger.row[symbol], LOTS]))

    @property
    def decided_ns(self) -> int:
        """Close of the last bar that was decided, ns UTC; 0 before the first."""
        return self._decided_ns

    @property
    def settled_ns(self) -> Mapping[str, int]:
        """Stamp of the last funding of every symbol, ns UTC; -1 before the first."""
        return self._settled_ns

    @property
    def settling(self) -> bool:
        """Whether funding is held that the account has not felt yet."""
        return bool(self._settling)

    @property
    def halted(self) -> bool:
        """Whether nothing passes the gate."""
        return self.gate.trading_state is TradingState.HALTED

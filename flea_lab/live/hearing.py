"""What the market says between two bars: watched for faults, its books kept, the features of the coming bar measured.

Rules. A book is measured only where it can be vouched for; what is missing makes the features of its bar unknown, and
what is unknown is not decided on. The core is told the features of a bar right before its candle, as one message that
the journal keeps: what was between the bars need not be heard twice. Of a fault that the config does not tolerate the
core is told likewise, where it was found: at the latest before the candle that has it.
"""

import base64
from collections.abc import Mapping

import msgspec

from flea_lab.config import RunConfig, alphas
from flea_lab.data.features import BarFeatures, FeatureState
from flea_lab.data.health import FROZEN_AFTER
from flea_lab.data.market_watch import MarketWatch, Told
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Features, Funding, Trade
from flea_lab.model.trading import Doubt
from flea_lab.risk.tolerance import DOUBTED, Tolerance
from flea_lab.signal.kernel import FEATURES
from flea_lab.venue.dialects import CCXT

RULES = {"purpleflea-seed": "seed", "purpleflea": "hyperliquid"}
"""Names of dialects whose books follow rules of another name."""

PRINTED = frozenset(("trades", "trade_imbalance", "vpin"))
"""The features that are measured of prints."""

Between = Trade | BookSnapshot | BookDelta | Funding


def reads_prints(config: RunConfig) -> bool:
    """Whether a signal or a guard of `config` reads what is measured of prints."""
    inputs = {name for kernel in alphas(config).kernels for name in kernel.inputs}
    return config.risk.vpin.source == "trades" or not PRINTED.isdisjoint(inputs)


class Hearing:
    """One feed, listened to for one core."""

    def __init__(
        self,
        dialect: str,
        interval: str,
        features: Mapping[str, BarFeatures],
        *,
        wall_clock: bool = True,
        tolerance: Tolerance | None = None,
        prints: bool = False,
        frozen_after: int = FROZEN_AFTER,
    ) -> None:
        """`features` are those that the config reads, by symbol; none where it reads none; `prints` says that some are
        measured of prints. Without `wall_clock` the venue's time is that of a recorded market, and nothing is said of
        it."""
        rules = "snapshots" if dialect.startswith(CCXT) else RULES.get(dialect, dialect)
        self.watch = MarketWatch(rules, interval, frozen_after=frozen_after)
        self._features, self._wall_clock, self._prints = dict(features), wall_clock, prints
        tolerated: tuple[str, ...] = (tolerance or Tolerance()).kinds
        if not wall_clock:
            tolerated = (*tolerated, "early_close")  # what came before its time cannot be told
        self._doubted = {
            (channel, kind)
            for channel, kinds in DOUBTED.items()
            for kind in kinds
            if kind not in tolerated and (prints or channel != "trades")
        }

    def on(self, event: Between) -> Told:
        """Takes what came between two bars; faults found, and the wish for a snapshot."""
        told = self.watch.on(event)
        if told and not self._wall_clock:
            told = tuple(one for one in told if isinstance(one, Resync) or one.channel != "clock")
        features = self._features.get(event.symbol)
        if features is None:
            return told
        if isinstance(event, BookSnapshot | BookDelta):
            book = self.watch.book(event.symbol)
            if book is None:
                features.lose("book")
            else:
                features.on(book)
        elif isinstance(event, Trade):
            if any(isinstance(one, Finding) and one.kind == "gap" for one in told):
                features.lose("trades")
            features.on(event)
        else:
            features.on(event)
        return told

    def bar(self, candle: Candle) -> tuple[Features | None, Told]:
        """The features of a complete candle's bar, None where nobody reads any; and what is wrong with the candle."""
        told = self.watch.on(candle)
        features = self._features.get(candle.symbol)
        if features is None:
            return None, told
        row = features.close(candle.ts_event)
        named = dict(zip(FEATURES, row, strict=True))
        return Features(symbol=candle.symbol, ts_event=candle.ts_event, ts_recv=candle.ts_recv, **named), told

    def dump(self) -> str:
        """The features as they stand, as text, "" where nobody reads any; for `load` after a restart."""
        if not self._features:
            return ""
        states = {symbol: features.dump() for symbol, features in self._features.items()}
        return base64.b64encode(msgspec.msgpack.encode(states)).decode()

    def load(self, text: str) -> None:
        """Goes on from what `dump` gave: windows of prints are whole again, the bar that was being heard is not."""
        states = msgspec.msgpack.decode(base64.b64decode(text), type=dict[str, FeatureState])
        for symbol, features in self._features.items():
            features.load(states[symbol])
            features.lose("book")
            features.lose("trades")

    def lost(self, ts_event: int) -> Told:
        """Takes that the connection was lost: books and prints are unknown until they are heard again."""
        for features in self._features.values():
            features.lose("book")
            features.lose("trades")
        told = self.watch.lost(ts_event)
        if not self._prints:
            return told
        return (*told, *[self._unheard(symbol, ts_event) for symbol in self._features])

    def _unheard(self, symbol: str, ts: int) -> Finding:
        return Finding(
            kind="disconnected",
            channel="trades",
            symbol=symbol,
            ts_from=ts,
            ts_to=ts,
            resolved="unknown",
            venue=self.watch.venue,
        )

    def doubt(self, finding: Finding) -> Doubt | None:
        """What the core is told of a fault; None where the config tolerates it, or does not read what is faulty."""
        if (finding.channel, finding.kind) not in self._doubted:
            return None
        return Doubt(ts_event=finding.ts_from, symbol=finding.symbol, kind=finding.kind)

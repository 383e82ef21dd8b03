"""Do sweep and replay decide the same? Equal digests, or the first difference with everything that went into it.

Within a bar things are compared in the order in which they come about: positions (fills at the open), equity (marks,
fees, funding), what the gate holds it against, opinions, convictions, decisions. The first that differs is where the
two parted; what differs later follows.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from flea_lab.backtest.fold import Folded
from flea_lab.backtest.market import Market, window
from flea_lab.backtest.replay import Replayed
from flea_lab.config import Alphas, RunConfig, alphas
from flea_lab.decision import Decisions, digest, first_difference, line
from flea_lab.model.market import MS_NS
from flea_lab.money import USD
from flea_lab.signal.kernel import FIELDS
from flea_lab.wiring import load_market, prepare, run_fold, run_replay


@dataclass(frozen=True)
class Difference:
    """Where two legs parted: the bar, what differed first, both values, and the inputs of that bar."""

    bar: int
    close_ns: int
    symbol: str
    what: str
    sweep: str
    replay: str
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def closes(self) -> str:
        """Close of the bar, ISO UTC."""
        return datetime.fromtimestamp(self.close_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class ParityReport:
    """The verdict on one config: how many decisions, both digests, and the first difference if there is one."""

    config: RunConfig
    bars: int
    decisions: tuple[int, int]
    digests: tuple[str, str]
    first: Difference | None

    @property
    def equal(self) -> bool:
        return self.first is None and self.digests[0] == self.digests[1]

    def text(self) -> str:
        """A few lines for a person."""
        head = f"{self.config.name} ({self.config.id[:10]}) over {self.bars:,} bars of {', '.join(self.config.symbols)}"
        legs = [
            f"{head}",
            f"  sweep   {self.decisions[0]:>8,} decisions  {self.digests[0][:16]}",
            f"  replay  {self.decisions[1]:>8,} decisions  {self.digests[1][:16]}",
        ]
        if self.first is None:
            return "\n".join([*legs, "equal, decision by decision"])
        first = self.first
        legs += [
            f"they part at bar {first.bar}, closing {first.closes}, on {first.symbol or 'the account'}: {first.what}",
            f"  sweep   {first.sweep}",
            f"  replay  {first.replay}",
            *(f"  {name:<24} {value}" for name, value in first.inputs.items()),
        ]
        return "\n".join(legs)


def check_parity(config: RunConfig, market: Market | None = None, *, progress: bool = False) -> ParityReport:
    """Both legs of `config`, compared; on the stored market unless one is given."""
    market = load_market(config).market if market is None else market
    _, start = prepare(config, market)
    folded = run_fold(config, market, start, curves=True)
    seen, _ = run_replay(config, market, start, progress=progress)
    return compare(config, market, start, folded, seen)


def last_days(config: RunConfig, market: Market, days: float | None) -> Market:
    """The last `days` of `market` with the warm-up of `config` before them; all of it for None or where it is less."""
    if days is None:
        return market
    _, warmup = prepare(config, market)
    begin = int(np.searchsorted(market.open_ms, int(market.open_ms[-1]) + market.interval_ms - days * 86_400_000))
    return window(market, max(0, begin - warmup), market.n)


def compare(config: RunConfig, market: Market, start: int, folded: Folded, seen: Replayed) -> ParityReport:
    """The report on two legs that were run from bar `start`."""
    symbols = config.symbols
    return ParityReport(
        config=config,
        bars=market.n,
        decisions=(len(folded.decisions), len(seen.decisions)),
        digests=(digest(folded.decisions, symbols), digest(seen.decisions, symbols)),
        first=_first(config, market, start, folded, seen),
    )


def _first(config: RunConfig, market: Market, start: int, folded: Folded, seen: Replayed) -> Difference | None:
    """The earliest difference; at the same bar, the one that comes about first."""
    found = [
        _series(config, "position, in lots", folded.sink.lots[:, start:], seen.lots[:, start:], start),
        _series(config, "equity, in micro-USD", folded.sink.equity[None, start:], seen.equity[None, start:], start),
        *_account(config, folded, seen, start),
        *_opinions(config, market, folded, seen),
        _decision(config, market, folded.decisions, seen.decisions),
    ]
    candidates = [
        (bar, rank, row, what, a, b) for rank, hit in enumerate(found) if hit for bar, row, what, a, b in [hit]
    ]
    if not candidates:
        return None
    bar, _, row, what, a, b = min(candidates, key=lambda c: c[:2])
    symbol = config.symbols[row] if row is not None else ""
    inputs = _inputs(config, market, alphas(config), bar, row or 0, folded, seen)
    return Difference(bar, int(market.close_ns[bar]), symbol, what, a, b, inputs)


Hit = tuple[int, int | None, str, str, str]


def _account(config: RunConfig, folded: Folded, seen: Replayed, start: int) -> list[Hit | None]:
    """Differences in what the gate holds the account against."""
    names = ("the day's base, in micro-USD", "peak equity, in micro-USD", "latches (1 daily, 2 drawdown)")
    pairs = [(folded.sink.gate[None, start:, j], seen.gate[None, start:, j]) for j in range(len(names))]
    return [_series(config, name, *pair, start) for name, pair in zip(names, pairs, strict=True)]


def _opinions(config: RunConfig, market: Market, folded: Folded, seen: Replayed) -> list[Hit | None]:
    """Differences in what each alpha said, then in the conviction; bars that a symbol does not have aside."""
    here, trace = market.close_ticks > 0, folded.sink.trace
    hits = []
    for k, alpha in enumerate(config.signals):
        for j, name in enumerate(("direction", "confidence")):
            pair = trace[:, :, 1 + 2 * k + j], seen.opinions[:, :, k, j]
            hits.append(_series(config, f"{name} of {alpha.kernel}", *pair, 0, here))
    return [*hits, _series(config, "conviction", trace[:, :, 0], seen.convictions, 0, here)]


def _series(config: RunConfig, what: str, a: Any, b: Any, offset: int, where: Any = None) -> Hit | None:
    differs = (a != b) & ~((a != a) & (b != b))
    if where is not None:
        differs &= where
    bars = np.flatnonzero(differs.any(axis=0))
    if len(bars) == 0:
        return None
    at = int(bars[0])
    row = int(np.argmax(differs[:, at]))
    single = differs.shape[0] == 1 and len(config.symbols) > 1
    return at + offset, None if single else row, what, repr(a[row, at].item()), repr(b[row, at].item())


def _decision(config: RunConfig, market: Market, a: Decisions, b: Decisions) -> Hit | None:
    at = first_difference(a, b)
    if at is None:
        return None
    sides = [stream[at] if at < len(stream) else None for stream in (a, b)]
    times = [int(side["ts_ns"]) for side in sides if side is not None]
    earliest = min(times)
    row = next(int(side["symbol"]) for side in sides if side is not None and int(side["ts_ns"]) == earliest)
    texts = [
        "no decision" if side is None or int(side["ts_ns"]) != earliest else line(side, config.symbols)
        for side in sides
    ]
    bar = int(np.searchsorted(market.close_ns, earliest))
    return bar, row, "decision (time symbol side cents lots ticks check)", texts[0], texts[1]


def _inputs(
    config: RunConfig, market: Market, found: Alphas, bar: int, row: int, folded: Folded, seen: Replayed
) -> dict[str, Any]:
    """What the decision on this bar was made from, on both sides where both have it."""
    offered = market.features[row, min(bar, market.features.shape[1] - 1)].tolist()
    candle = dict(zip(FIELDS, [*market.bars[row, bar].tolist(), *offered], strict=True))
    out: dict[str, Any] = {f"bar {name}": value for name, value in candle.items() if value == value}
    for k, kernel in enumerate(found.kernels):
        for leg, opinion in (
            ("sweep", folded.sink.trace[row, bar, 1 + 2 * k :]),
            ("replay", seen.opinions[row, bar, k]),
        ):
            out[f"{kernel.name} {leg}"] = f"direction {float(opinion[0])!r}, confidence {float(opinion[1])!r}"
    convictions = float(folded.sink.trace[row, bar, 0]), float(seen.convictions[row, bar])
    out["conviction"] = f"sweep {convictions[0]!r}, replay {convictions[1]!r}"
    out["equity USD"] = f"sweep {folded.sink.equity[bar] / USD:,.6f}, replay {seen.equity[bar] / USD:,.6f}"
    out["position lots"] = f"sweep {folded.sink.lots[row, bar]}, replay {seen.lots[row, bar]}"
    if config.risk.vpin.source != "absent":
        out["vpin replay"] = repr(seen.toxicity[row, bar])
    out["bar opens ms UTC"] = int(market.open_ms[bar])
    out["closes ns UTC"] = int(market.open_ms[bar] + market.interval_ms) * MS_NS
    return out

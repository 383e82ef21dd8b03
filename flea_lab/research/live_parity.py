"""The third leg of parity: a live session over REST and websocket, held against replay and sweep on the same market."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from flea_lab.backtest.market import Market
from flea_lab.config import RunConfig
from flea_lab.decision import Decisions, Recorder, digest, first_difference, line
from flea_lab.journal import COMMAND
from flea_lab.live.journal import entries
from flea_lab.live.session_frames import curve_of
from flea_lab.money import USD
from flea_lab.research.parity import ParityReport, check_parity
from flea_lab.wiring import load_market, prepare, run_rehearsal, run_replay


@dataclass(frozen=True)
class LiveReport:
    """Three legs of one config: `legs` compares sweep and replay, the rest compares the live session with the replay.

    `first` says where the live session parted from the replay, "" where it did not.
    """

    legs: ParityReport
    decisions: int
    digest: str
    bars: int
    first: str

    @property
    def equal(self) -> bool:
        """Whether all three decided the same, and the account went the same way."""
        return self.legs.equal and not self.first and self.digest == self.legs.digests[1]

    def text(self) -> str:
        """A few lines for a person."""
        *head, last = self.legs.text().split("\n") if self.legs.equal else (self.legs.text(), "")
        live = f"  live    {self.decisions:>8,} decisions  {self.digest[:16]}  over REST and websocket"
        if self.first:
            last = f"the live session parts from the replay:\n{self.first}"
        return "\n".join(filter(None, [*head, live, last]))


def check_live_parity(config: RunConfig, market: Market | None = None, *, progress: bool = False) -> LiveReport:
    """All three legs of `config` on the stored market unless one is given."""
    market = load_market(config).market if market is None else market
    _, start = prepare(config, market)
    legs = check_parity(config, market, progress=progress)
    stream, equity = _live(config, market, start, progress)
    return compare_live(config, market, start, legs, stream, equity)


def _live(config: RunConfig, market: Market, start: int, progress: bool) -> tuple[Decisions, dict[int, int]]:
    """What a session decided, and its equity in micro-dollars by close in ms."""
    with (
        tempfile.TemporaryDirectory(prefix="flea-parity-") as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        tqdm(total=market.n - start, desc="live", unit="bar", disable=not progress, leave=False) as bar,
    ):
        journal = run_rehearsal(
            config, market, start, Path(folder), console=nowhere, progress=lambda done, _: bar.update(done - bar.n)
        )
        curve = curve_of(journal)
        equity = {int(ts): round(usd * USD) for ts, usd in zip(curve["ts"], curve["equity_usd"], strict=True)}
        return decisions_of(journal, config), equity


def decisions_of(journal: Path, config: RunConfig) -> Decisions:
    """The decisions in a journal, in order."""
    recorder = Recorder(config.symbols)
    recorder.on(entry for _, kind, entry in entries(journal) if kind == COMMAND)  # type: ignore[misc]
    return recorder.decisions()


def compare_live(
    config: RunConfig, market: Market, start: int, legs: ParityReport, stream: Decisions, equity: dict[int, int]
) -> LiveReport:
    """The report on a session's decisions and equity, beside a replay of the same market from bar `start`."""
    seen, _ = run_replay(config, market, start)
    return LiveReport(
        legs=legs,
        decisions=len(stream),
        digest=digest(stream, config.symbols),
        bars=market.n - start,
        first=first_parting(config, market, start, seen.decisions, stream, seen.equity, equity),
    )


def first_parting(
    config: RunConfig,
    market: Market,
    start: int,
    replayed: Decisions,
    lived: Decisions,
    curve: np.ndarray,
    equity: dict[int, int],
) -> str:
    """Where a session left the replay: the first bar from `start` with another equity, or the first other decision.

    `curve` is the replay's equity in micro-dollars at every close, `equity` the session's by close in ms. "" where they
    are the same.
    """
    closes = market.open_ms + market.interval_ms
    parted = next((i for i in range(start, market.n) if equity.get(int(closes[i])) != int(curve[i])), None)
    at = first_difference(replayed, lived)
    sides = [stream[at] if at is not None and at < len(stream) else None for stream in (replayed, lived)]
    decided_ns = min((int(side["ts_ns"]) for side in sides if side is not None), default=None)
    if parted is not None and (decided_ns is None or int(closes[parted]) * 1_000_000 <= decided_ns):
        when, ours = np.datetime64(int(closes[parted]), "ms"), equity.get(int(closes[parted]))
        told = "no such bar" if ours is None else f"{ours / USD:,.6f} USD"
        return f"  equity at the close of {when}Z\n    replay  {int(curve[parted]) / USD:,.6f} USD\n    live    {told}"
    if decided_ns is None:
        return ""
    texts = ["no decision" if side is None else line(side, config.symbols) for side in sides]
    return f"  decision {at} (time symbol side cents lots ticks check)\n    replay  {texts[0]}\n    live    {texts[1]}"

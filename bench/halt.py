"""How fast a halt is: on disk after a breach, at the venue after a halt, and by `flea kill` past a runner that hangs.

Real processes over loopback: a sandbox that plays a stored market, a runner with limit orders that rest, `flea kill`
started cold. Wall time, as whoever waits for it sees it. The last line is JSON; `ratio` is the smallest of bound over
99th percentile, below 1 where a bound does not hold.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from flea_lab.clock import WallClock
from flea_lab.config import RunConfig, alphas, from_dict
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.live.account import LOG, ready_folder
from flea_lab.live.control_client import ControlClient
from flea_lab.live.journal import open_journal
from flea_lab.live.keys import store_key
from flea_lab.live.launcher import Session
from flea_lab.live.phrase import clearing_phrase
from flea_lab.live.process import end, last_line, open_log, start_detached, start_sandbox
from flea_lab.live.pump import Pump
from flea_lab.model.market import Candle
from flea_lab.model.trading import Accepted, Fill, NewOrder, Resume
from flea_lab.runs import to_toml
from flea_lab.secret import Secret
from flea_lab.wiring import build_core
from flea_lab.workspace import workspace

FULL = {"breaches": 1_000, "halts": 200, "kills": 200}
QUICK = {"breaches": 200, "halts": 10, "kills": 6}
SMOKE = {"breaches": 5, "halts": 1, "kills": 1}
BOUND_MS = {"breach_to_durable": 50.0, "halt_to_gone": 1_000.0, "kill_to_gone": 3_000.0, "kill_to_verified": 3_000.0}
ACCOUNT = "halted"
MINUTE_NS = 60_000_000_000
RESTING = 3


def main() -> None:
    """Measures the three, prints a table, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="few halts and kills")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    given = ask.parse_args()
    counts = SMOKE if given.smoke else QUICK if given.quick else FULL
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        os.environ |= {"FLEA_HOME": f"{folder}/home", "XDG_RUNTIME_DIR": folder}
        os.environ.pop("FLEA_API_KEY", None)
        found = breaches(counts["breaches"]) | halts_and_kills(counts, held)
    figures = {name: percentiles(values) for name, values in found.items()}
    print(f"{'milliseconds':<22}{'n':>6}{'p50':>10}{'p99':>10}{'max':>10}{'bound':>10}")
    for name, one in figures.items():
        bound = f"{BOUND_MS[name]:>10,.0f}" if name in BOUND_MS else f"{'':>10}"
        print(f"{name:<22}{one['n']:>6}{one['p50']:>10.1f}{one['p99']:>10.1f}{one['max']:>10.1f}{bound}")
    ratio = min(bound / figures[name]["p99"] for name, bound in BOUND_MS.items())
    print(json.dumps({"ratio": round(ratio, 3), "bound_ms": BOUND_MS, "ms": figures}))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Number, median, 99th percentile and largest, in milliseconds."""
    ms = np.array(seconds) * 1e3
    p50, p99 = np.percentile(ms, [50, 99])
    return {"n": len(ms), "p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(ms.max()), 2)}


# ---- a breach of the drawdown, until it is on disk


def breaches(count: int) -> dict[str, list[float]]:
    """Seconds from the candle that breaches to the journal's word that the latch is durable."""
    config = one_symbol()
    found = alphas(config)
    core = build_core(config, found, 0, prefix="bench", cash_uusd=100_000_000_000)
    folder = ready_folder("breach")
    journal = open_journal(folder, lambda settle: settle())
    pump = Pump(core, journal, WallClock())
    at = 1_000
    [order] = [c for c in pump.on(candle(at, 100.0, 0.9)).commands if isinstance(c, NewOrder)]
    pump.on(Accepted(client_order_id=order.client_order_id, ts_event=at * MINUTE_NS))
    pump.on(fill(order, at))
    taken = []
    for _ in range(count):
        at += 2
        pump.on(candle(at - 1, 100.0, 0.5))
        began = time.perf_counter()
        step = pump.on(candle(at, 60.0, 0.5))
        while not step.ticket.settled:
            time.sleep(0.00005)
        taken.append(time.perf_counter() - began)
        assert core.gate.closed() == ("drawdown",) and not step.ticket.failed
        pump.on(Resume(ts_event=at * MINUTE_NS, clears=("drawdown",), by="bench"))
    journal.close()
    return {"breach_to_durable": taken}


def one_symbol() -> RunConfig:
    """A config that buys once and whose drawdown limit a fall of 40 % breaches."""
    return from_dict(
        {
            "name": "breach",
            "symbols": ["BTCUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "tick_imbalance", "params": {"window": 1, "threshold": 0.1, "full_scale": 0.5}}],
            "combination": {"min_confidence": 0.0, "min_conviction": 0.1},
            "sizing": {"base_fraction": 0.5, "market_above": 0.1},
            "risk": {"max_daily_loss": 1.0, "max_drawdown": 0.1, "max_concentration": 1.0, "max_order_usd": 1e6},
            "data": {"venue": "synthetic"},
        }
    )


def candle(at: int, price: float, share: float) -> Candle:
    """A bar that closes in minute `at` at `price`, `share` of it bought by takers."""
    ts = at * MINUTE_NS
    return Candle(
        symbol="BTCUSDT", ts_event=ts, ts_recv=ts, open=price, high=price, low=price, close=price,
        volume=1.0, buy_volume=share, complete=True,
    )  # fmt: skip


def fill(order: NewOrder, at: int) -> Fill:
    """The order, filled whole at 100."""
    return Fill(
        client_order_id=order.client_order_id, ts_event=at * MINUTE_NS, symbol=order.symbol, side=order.side,
        lots=order.lots, price_ticks=1_000, fee_uusd=0, reference_ticks=1_000, fill_id="f1",
    )  # fmt: skip


# ---- halts of a real runner, and kills past it


def halts_and_kills(counts: dict[str, int], held: ExitStack) -> dict[str, list[float]]:
    """Seconds of the halts and of the kills of one runner."""
    config = busy()
    store_market(config, 1_500 + counts["halts"] * 40)
    home = workspace().ready().root
    file = home / "busy.toml"
    file.write_text(to_toml(config.to_dict()))
    sandbox = held.enter_context(start_sandbox(file, pace=120.0, options={"matching": "book"}))
    venue = Venue(sandbox.url)
    store_key(ACCOUNT, Secret(venue.key))
    session = start_runner(file, sandbox.url, held)
    measured = halts(session, venue, counts["halts"])
    pid = session.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    held.callback(lambda: os.kill(pid, signal.SIGCONT))
    return measured | kills(venue, counts["kills"])


def halts(session: Session, venue: "Venue", count: int) -> dict[str, list[float]]:
    """Seconds from a halt asked for to its file on disk, to the last resting order gone, to the word that it is so."""
    answered, gone, verified = [], [], []
    client, phrase = ControlClient(session.folder), clearing_phrase(ACCOUNT, ["kill_switch"])
    for _ in range(count):
        until(lambda: venue.open(), "an order that rests")
        began = time.perf_counter()
        client.halt("bench")
        answered.append(time.perf_counter() - began)
        while venue.open():
            time.sleep(0.001)
        gone.append(time.perf_counter() - began)
        until(lambda: client.status()["halt_verified"], "the runner's word")
        verified.append(time.perf_counter() - began)
        assert not venue.open()
        until(lambda: cleared(session, phrase), "a resume")
    return {"halt_to_durable": answered, "halt_to_gone": gone, "halt_to_verified": verified}


def cleared(session: Session, phrase: str) -> bool:
    """Whether the runner trades again."""
    if session.status()["latches"]:
        session.resume(["kill_switch"], "bench", phrase=phrase)
    return session.status()["state"] == "trading"


def kills(venue: "Venue", count: int) -> dict[str, list[float]]:
    """Seconds from the start of a cold `flea kill` to the last order gone, and to its end, verified, status 0."""
    gone, done = [], []
    for n in range(count):
        venue.rest(n)
        assert len(venue.open()) >= RESTING
        began = time.perf_counter()
        words = [sys.executable, "-m", "flea_lab", "kill", ACCOUNT, "--json"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        while venue.open():
            time.sleep(0.002)
        gone.append(time.perf_counter() - began)
        said = json.loads(process.communicate()[0])
        done.append(time.perf_counter() - began)
        assert process.returncode == 0 and said["outcome"] == "verified" and not venue.open(), said
        assert "its process is stopped" in said["runner"], said
    return {"kill_to_gone": gone, "kill_to_verified": done}


class Venue:
    """The sandbox's account, asked over a connection of its own."""

    def __init__(self, url: str) -> None:
        asked = urllib.request.Request(f"{url}/faucet/claim", data=b"{}", method="POST")
        with urllib.request.urlopen(asked, timeout=5) as answer:
            self.key: str = json.load(answer)["api_key"]
        parts = urlsplit(url)
        self._base = parts.path
        self._line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer."""
        self._line.request(method, f"{self._base}{path}", json.dumps(body) if body else None, {"X-API-Key": self.key})
        return json.loads(self._line.getresponse().read())

    def open(self) -> list[Any]:
        """The open orders."""
        found: list[Any] = self.ask("GET", "/orders?status=open")["orders"]
        return found

    def rest(self, n: int) -> None:
        """Gives orders that rest far below the market."""
        for i in range(RESTING):
            order = {"symbol": "BTCUSDT", "side": "buy", "type": "limit", "size": "0.001", "limit_price": "10000.0"}
            said = self.ask("POST", "/orders", {"client_order_id": f"bench-{n}-{i}", **order})
            assert "order" in said, said


def busy() -> RunConfig:
    """A config whose limit orders rest, most of them."""
    return from_dict(
        {
            "name": "busy",
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "tick_imbalance", "params": {"window": 2, "threshold": 0.0, "full_scale": 0.3}}],
            "combination": {"min_confidence": 0.0, "min_conviction": 0.02},
            "sizing": {"base_fraction": 0.2, "mode": "target", "market_above": 1.0},
            "risk": {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 1.0},
            "data": {"venue": "synthetic"},
            "live": {"limit_ttl_s": 3_600.0, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.5, "dead_man_s": 0.0},
        }
    )


def store_market(config: RunConfig, bars: int) -> None:
    """Puts a synthetic market of the config's symbols into the store."""
    store = CandleStore(workspace().ready().store)
    for symbol in config.symbols:
        candles, funding, label = synthetic_market(symbol, n_bars=bars)
        store.write(Dataset("synthetic", symbol, "1m"), candles, Origin(source=label, synthetic=True))
        store.write_funding("synthetic", symbol, funding)


def start_runner(file: Path, url: str, held: ExitStack) -> Session:
    """The runner of the config in `file`, once it trades."""
    folder = ready_folder(ACCOUNT)
    words = ["-m", "flea_lab", "run", str(file), "--unpromoted", f"--url={url}", f"--account={ACCOUNT}"]
    with open_log(folder / LOG) as log:
        process = start_detached(words, log, folder)
    held.callback(end, process)
    session = Session(ACCOUNT)
    until(lambda: (folder / "control").exists() or process.poll() is not None, "the runner")
    if process.poll() is not None:
        raise SystemExit(f"the runner ended: {last_line(folder / LOG)}")
    until(lambda: session.status()["state"] == "trading", "trading")
    return session


def until(holds: Callable[[], Any], what: str, within_s: float = 120.0) -> None:
    """Returns once `holds`."""
    began = time.perf_counter()
    while not holds():
        if time.perf_counter() - began > within_s:
            raise SystemExit(f"not within {within_s} s: {what}")
        time.sleep(0.005)


if __name__ == "__main__":
    main()

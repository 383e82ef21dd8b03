"""From the wire to a decision to an order, over real sockets on loopback: the live bot beside a bare client.

The sandbox plays in a process of its own, so that a client's CPU is its own. The bare client is aiohttp and json: no
journal, no risk, no account, nothing checked. Both hear the same frames in turns. The last line is JSON; `ratio` is
CPU per message of the bare client over ours, below 1 where ours costs more.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
CLIENTS = ("flea", "bare")
KINDS = ("candles", "books", "trades")
FULL = {"rounds": 5, "load": 400, "trade": 400}
QUICK = {"rounds": 2, "load": 200, "trade": 200}
SMOKE = {"rounds": 1, "load": 4, "trade": 5}
HISTORY = 400


def main() -> None:
    """Measures messages, then orders, and prints two tables, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="two rounds of half the bars")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        _child(*given.child)
        return
    settings = SMOKE if given.smoke else QUICK if given.quick else FULL
    figures: dict[str, Any] = {**settings}
    for phase, measure in (("messages", messages), ("orders", orders)):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
            pairs = [Pair(name, phase, Path(folder), settings, started) for name in CLIENTS]
            figures |= measure(pairs, settings)
    print(json.dumps(figures))


class Pair:
    """A venue and its one client, each a process; `ask` and `cpu_s` speak to them."""

    def __init__(self, client: str, phase: str, folder: Path, settings: dict[str, int], started: ExitStack) -> None:
        home = folder / client
        (home / "signals").mkdir(parents=True)
        shutil.copy(HERE.parent / "kernels" / "every_bar.py", home / "signals")
        played = (settings["rounds"] + 1) * max(settings["load"], settings["trade"])
        (home / "settings.json").write_text(json.dumps({"history": HISTORY, "bars": played + 10}))
        self.client = client
        self._venue = start(home, "venue", phase)
        started.callback(self._venue.kill)
        opened = read(self._venue)
        self._client = start(home, client, phase, opened["url"], opened["key"])
        started.callback(self._client.kill)
        read(self._venue)  # subscribed

    def ask(self, **what: Any) -> dict[str, Any]:
        """The venue's answer."""
        return talk(self._venue, json.dumps(what))

    def cpu_s(self) -> float:
        """CPU seconds of the client so far, all its threads."""
        return float(talk(self._client, "cpu")["cpu_s"])

    def end(self) -> dict[str, Any]:
        """Ends both; what the client measured itself."""
        assert self._venue.stdin is not None
        self._venue.stdin.write('{"end": true}\n')
        self._venue.stdin.flush()
        said = read(self._client)
        for process in (self._client, self._venue):
            if process.wait(30):
                raise SystemExit(f"a process of {self.client} ended with status {process.returncode}")
        return said


def messages(pairs: list[Pair], settings: dict[str, int]) -> dict[str, Any]:
    """CPU of the client per frame, by kind and of all together."""
    us: dict[tuple[str, str], list[float]] = {(p.client, kind): [] for p in pairs for kind in (*KINDS, "all")}
    counts: dict[str, int] = {}
    for turn in range(settings["rounds"] + 1):
        for pair in pairs:
            counts = pair.ask(load=settings["load"])
            total = 0.0
            for kind in KINDS:
                before = pair.cpu_s()
                pair.ask(send=kind)
                spent = pair.cpu_s() - before
                total += spent
                if turn:  # the first warms up
                    us[pair.client, kind].append(spent / counts[kind] * 1e6)
            if turn:
                us[pair.client, "all"].append(total / sum(counts.values()) * 1e6)
    for pair in pairs:
        pair.end()
    print(f"CPU of the client per message, socket to the core's answer, {settings['rounds']} rounds")
    print(f"{'message':<10}{'a round':>9}{'flea us':>9}{'bare us':>9}{'bare/flea':>11}")
    found: dict[str, Any] = {"messages": sum(counts.values())}
    for kind in (*KINDS, "all"):
        ours, theirs = median(us["flea", kind]), median(us["bare", kind])
        count = counts.get(kind, sum(counts.values()))
        print(f"{kind:<10}{count:>9,}{ours:>9.1f}{theirs:>9.1f}{theirs / ours:>11.2f}")
        found[kind] = {"flea_us": ours, "bare_us": theirs, "ratio": theirs / ours}
    found["ratio"] = found["all"]["ratio"]
    return found


def orders(pairs: list[Pair], settings: dict[str, int]) -> dict[str, Any]:
    """Latency from the candle that closes a bar to its order at the venue."""
    us: dict[str, list[float]] = {pair.client: [] for pair in pairs}
    for turn in range(settings["rounds"] + 1):
        for pair in pairs:
            took = pair.ask(trade=settings["trade"])["us"]
            if turn:
                us[pair.client] += took
    ends = {pair.client: pair.end() for pair in pairs}
    n = len(us["flea"])
    rows = {
        "flea, candle sent to order at the venue": us["flea"],
        "  of it in the core: candle to order": ends["flea"]["core_us"][-n:],
        "  of it the journal, until it is on disk": ends["flea"]["commits_us"][-n:],
        "    of that, while the loop stands still": ends["flea"]["blocked_us"][-n:],
        "bare, candle sent to order at the venue": us["bare"],
    }
    print(f"latency in us, {n:,} orders each")
    print(f"{'':<42}{'p50':>8}{'p95':>8}{'p99':>8}")
    found: dict[str, Any] = {"orders": n}
    for (text, values), name in zip(rows.items(), ("flea", "core", "journal", "blocked", "bare"), strict=True):
        p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
        print(f"{text:<42}{p50:>8.0f}{p95:>8.0f}{p99:>8.0f}")
        found[f"{name}_latency_us"] = {"p50": p50, "p95": p95, "p99": p99}
    return found


def start(home: Path, *words: str) -> "subprocess.Popen[str]":
    """A child of this script that works in the workspace `home`."""
    return subprocess.Popen(
        [sys.executable, str(HERE), "--child", *words[:1], str(home), *words[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FLEA_HOME": str(home)},
    )


def talk(child: "subprocess.Popen[str]", line: str) -> dict[str, Any]:
    """The child's answer to `line`."""
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()
    return read(child)


def read(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """The child's next line."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"a child ended with status {child.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found


def _child(name: str, home: str, *words: str) -> None:
    if name == "venue":
        import asyncio

        from engines.venue import serve

        asyncio.run(serve(Path(home), *words))
        return
    from engines.live_client import run

    run(name, *words)


if __name__ == "__main__":
    main()

"""How each command of the documents is tried: at once, on a runner, among the slow tests, or not at all, and why."""

from functools import cache
from typing import Any

from tests.laws.test_docs import command_line

AT_ONCE = {
    *("flea data import", "flea data synth", "flea data list", "flea data check"),
    *("flea tape list", "flea tape check", "flea tape slice", "flea tape merge", "flea tape replay"),
    *("flea tape features", "flea tape convert", "flea signals", "flea config", "flea promoted"),
    *("flea runs", "flea runs diff", "flea runs index", "flea runs clean", "flea journal check", "flea alerts list"),
    *("flea schedule list", "flea schedule add", "flea schedule remove", "flea schedule history"),
    *("flea schedule next", "flea status", "flea halt", "flea resume", "flea sim --seed"),
}
"""In this process, on the stored workspace; a runner that answers is there."""

LATER = {
    *("flea demo", "flea sweep", "flea walkforward", "flea parity", "flea operations", "flea nightly"),
    *("flea alerts test", "flea sim --seeds"),
}
"""The same, among the slow tests."""

LIVED = (
    *(
        "flea report",
        "flea verify",
        "flea promote",
        "flea sandbox",
        "flea faucet",
        "flea run",
        "flea record",
        "flea status",
    ),
    *("flea session", "flea halt", "flea resume", "flea stop", "flea kill", "flea monitor", "flea schedule run"),
)
"""One life of a bot with real processes, in this order, among the slow tests."""

CLUSTER = "dask"
"""How the lines begin that start what a sweep's chunks are sent to: begun for that sweep, among the slow tests."""

NETWORK = "asks an exchange: no test leaves this machine; tests/data/test_exchange.py asks a stand-in"
NOT_RUN = {
    "make demo": "makes an environment first; the command behind it, flea demo, is run among the slow tests",
    "make test": "is what runs this",
    "make sim": "4,000 scenarios; the command behind it is run on fewer",
    "flea data fetch binance_um BTCUSDT 1m --since 2025-01-01": NETWORK,
    "flea data fetch hyperliquid BTC 1h --since 2025-01-01 --until 2025-02-01": NETWORK,
    "flea data fetch kraken BTC/USD 1d --since 2024-01-01": NETWORK,
    "uv pip compile --universal": "asks a package index; tests/laws/test_docs.py holds the lock against pyproject.toml",
}
"""What no test runs: how the line begins, and why."""

DRAWINGS = {
    "docs/architecture.md: what the venue says": "a drawing of the runner's loop",
}
"""Blocks that nothing can be held against: page and how they begin."""

STATUS = {
    "flea data check": "1 where there is anything in a ledger",
    "flea tape check": "1 where there is anything wrong",
    "flea nightly": "1 where nothing was traded on that day",
    "flea operations": "1 where something needs a person",
}
"""Commands that may end with status 1 and have worked."""


@cache
def tree() -> Any:
    return command_line()


def leaf_of(text: str) -> str:
    """The command that a line calls, without its arguments; `flea sim` by what it takes."""
    words, command = text.split(), tree()
    at = 1
    while at < len(words) and words[at] in getattr(command, "commands", {}):
        command, at = command.commands[words[at]], at + 1
    leaf = " ".join(words[:at])
    return f"{leaf} {words[at]}" if leaf == "flea sim" else leaf


def not_run(text: str) -> str:
    """Why a line is not run, nothing where it is."""
    return next((why for begins, why in NOT_RUN.items() if text.startswith(begins)), "")

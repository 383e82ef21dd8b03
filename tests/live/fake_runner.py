"""Stands in for `flea run`: holds the lock, answers the socket, says what it was given, and trades nothing."""

import json
import os
import signal
import sys
import threading
from typing import Any

from flea_lab.clock import WallClock
from flea_lab.errors import FleaError
from flea_lab.live.account import ready_folder
from flea_lab.live.control import ControlServer
from flea_lab.live.lock import lock_account


class FakeRunner:
    """Its halt is verified when the status was asked `asks` times after it."""

    def __init__(self, account: str, config_id: str, asks: int) -> None:
        self.ended = threading.Event()
        self.left = asks
        self.asked: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {
            "state": "trading", "account": account, "venue": "sandbox", "pid": os.getpid(), "config": "seed",
            "config_id": config_id, "promoted": False, "open_orders": asks, "unknown_orders": 0, "latches": [],
            "halt_verified": False, "positions": {"BTCUSDT": 0.5}, "equity_usd": 100_000.0, "bars": 1,
        }  # fmt: skip

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if request["verb"] == "stop":
            self.ended.set()
        if request["verb"] == "halt":
            self.status |= {"state": "halted", "latches": ["kill_switch"]}
        if request["verb"] == "resume":
            self.status |= {"state": "trading", "latches": [], "halt_verified": False}
        if request["verb"] == "status" and self.status["state"] == "halted":
            self.left = max(0, self.left - 1)
            self.status |= {"open_orders": self.left, "halt_verified": self.left == 0}
        return self.status


def main() -> None:
    words = dict(word.removeprefix("--").split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
    account = words["account"]
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    facts = {"argv": sys.argv[1:], "env": dict(os.environ), "fds": links, "cwd": os.getcwd()}
    previous = os.umask(0)
    os.umask(previous)
    folder = ready_folder(account)
    (folder / "facts.json").write_text(json.dumps({**facts, "umask": previous, "sid": os.getsid(0)}))
    print("hello from the runner")
    runner = FakeRunner(account, os.environ.get("FLEA_OFFLINE", ""), asks=3)
    signal.signal(signal.SIGTERM, lambda *_: runner.ended.set())
    with lock_account(folder, WallClock()), ControlServer(folder, runner):
        runner.ended.wait(60)


if __name__ == "__main__":
    try:
        if any(word.startswith("--url=fail") for word in sys.argv):
            raise FleaError("no key for account 'main': flea faucet")
        main()
    except FleaError as error:
        print(f"flea: {error}", file=sys.stderr)
        sys.exit(2)

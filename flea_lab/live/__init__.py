"""Live trading from a notebook: launch a runner, attach to it, halt it. The runner is a process of its own."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flea_lab.live.faucet import claim_key as claim_key
    from flea_lab.live.feed import MarketFeed as MarketFeed
    from flea_lab.live.halt import Halted as Halted
    from flea_lab.live.launcher import Session as Session
    from flea_lab.live.launcher import attach as attach
    from flea_lab.live.launcher import launch as launch
    from flea_lab.live.process import SandboxProcess as SandboxProcess
    from flea_lab.live.process import start_sandbox as start_sandbox

# Loaded when first asked for: a runner imports its parts without those of a notebook.
_HOMES = {
    "claim_key": "faucet",
    "MarketFeed": "feed",
    "Halted": "halt",
    "Session": "launcher",
    "attach": "launcher",
    "launch": "launcher",
    "SandboxProcess": "process",
    "start_sandbox": "process",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

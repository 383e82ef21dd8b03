"""Imports go strictly down the floors; the few arrows inside a row are listed one by one."""

from pathlib import Path

import pytest

from tests.laws.source import PACKAGE, ROOT, imports, matches, modules, plant

FLOORS = {
    1: ("errors", "clock", "settings", "workspace", "compiled", "fingerprint", "inlined", "lanes", "money", "secret"),
    2: ("model",),
    3: ("signal",),
    4: ("strategy", "risk", "execution", "venue", "data", "ledger"),
    5: (
        "core",
        "core_state",
        "dealing",
        "working",
        "config",
        "decision",
        "journal",
        "sandbox",
        "runs",
        "promotion",
        "trials",
        "overdue",
    ),
    6: ("backtest", "live"),
    7: ("wiring", "wiring_live"),
    8: ("research", "testing", "sim", "schedule"),
    9: ("view",),
    10: ("report",),
    11: ("cli", "__main__"),
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}

SAME_ROW = {
    ("settings", "errors"),
    ("workspace", "errors"),
    ("compiled", "errors"),
    ("compiled", "fingerprint"),
    ("compiled", "inlined"),
    ("money", "errors"),
    ("money", "compiled"),
    ("secret", "errors"),
    ("core", "core_state"),
    ("journal", "core"),
    ("core", "dealing"),
    ("dealing", "working"),
    ("runs", "config"),
    ("promotion", "runs"),
    ("promotion", "config"),
    ("wiring", "wiring_live"),
    ("__main__", "cli"),
}

# Down, and still not allowed: a signal knows numbers only, neither messages nor money.
NOT_EVEN_DOWN = {("signal", "model"), ("signal", "money")}

# The messages hold no IO, no frames and nothing compiled.
MODEL_NEVER = ("pandas", "numba", "pyarrow", "asyncio", "aiohttp", "pathlib", "io", "os", "socket")


def violations(root: Path) -> list[str]:
    found = []
    for module in modules(root):
        if module.component and module.component not in FLOOR:
            found.append(f"{module.inner}: {module.component} stands on no floor")
            continue
        for item in imports(module):
            fault = _fault(module.component, item.target)
            if fault:
                found.append(f"{module.inner}:{item.line}: {fault}")
    return found


def _fault(component: str, target: str) -> str:
    if component == "model" and matches(target, MODEL_NEVER):
        return f"model must not import {target}"
    if target != PACKAGE and not target.startswith(f"{PACKAGE}."):
        return ""
    other = [*target.split("."), ""][1]
    if other in ("", "__version__") and component:
        return ""
    if other == component and component:
        return ""
    if other not in FLOOR:
        return f"imports {target}, which stands on no floor"
    if not component:
        return f"the package itself must import nothing of its own, here {other}"
    if (component, other) in NOT_EVEN_DOWN:
        return f"{component} must not know {other}"
    if FLOOR[other] < FLOOR[component] or (component, other) in SAME_ROW:
        return ""
    return f"{component} (floor {FLOOR[component]}) imports {other} (floor {FLOOR[other]})"


def test_imports_go_down_the_floors() -> None:
    assert violations(ROOT) == []


def test_the_law_sees_the_package() -> None:
    assert {"errors", "clock", "settings", "workspace"} <= {module.component for module in modules(ROOT)}


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("risk/gate.py", "from flea_lab.strategy import desk\n", "risk (floor 4) imports strategy (floor 4)"),
        ("risk/gate.py", "def f():\n    import flea_lab.core\n", "risk (floor 4) imports core (floor 5)"),
        ("risk/gate.py", "from ..core import Core\n", "risk (floor 4) imports core (floor 5)"),
        ("risk/__init__.py", "from .. import live\n", "risk (floor 4) imports live (floor 6)"),
        ("model/trading.py", "from flea_lab import signal\n", "model (floor 2) imports signal (floor 3)"),
        ("signal/rolling.py", "from flea_lab.model.market import Candle\n", "signal must not know model"),
        ("model/market.py", "import pandas as pd\n", "model must not import pandas"),
        ("ledger.py", "import importlib\nimportlib.import_module('flea_lab.risk')\n", "ledger (floor 4) imports risk"),
        ("config.py", "if TYPE_CHECKING:\n    import flea_lab.runs\n", "config (floor 5) imports runs (floor 5)"),
        ("plumbing.py", "", "plumbing stands on no floor"),
        ("__init__.py", "from flea_lab.core import Core\n", "must import nothing of its own"),
    ],
)
def test_an_arrow_up_or_sideways_is_found(tmp_path: Path, path: str, text: str, fault: str) -> None:
    [found] = violations(plant(tmp_path, {f"flea_lab/{path}": text}))
    assert fault in found


def test_arrows_down_and_listed_ones_pass(tmp_path: Path) -> None:
    files = {
        "flea_lab/runs.py": "from flea_lab.config import RunConfig\nfrom flea_lab import __version__\n",
        "flea_lab/backtest/replay.py": "from flea_lab.core import Core\nfrom .fold import fold\nimport numpy\n",
        "flea_lab/backtest/fold.py": "import flea_lab.signal.kernel\n",
    }
    assert violations(plant(tmp_path, files)) == []

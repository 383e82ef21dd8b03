"""Time, identity and entropy come from clock.py; sockets, vectorbt and processes from the places listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.source import ROOT, Import, Module, called, dotted, imports, matches, modules, plant

ENTROPY = ("time", "uuid", "random", "secrets", "os.urandom", "os.getrandom")
NOW = ("now", "utcnow", "today")
SEEDED = ("default_rng", "SeedSequence", "PCG64", "Philox", "SFC64")  # allowed with a seed, never without one

NETWORK = (
    *("asyncio", "aiohttp", "picows", "ccxt", "requests", "httpx", "websockets"),
    *("urllib.request", "http.client", "socket"),
)
NETWORK_IN = (
    "venue/rest.py", "venue/stream.py", "venue/websocket.py", "venue/info.py", "venue/polling.py",
    "venue/hyperliquid_feed.py", "venue/hyperliquid_exchange.py",
    "venue/hyperliquid_signing.py", "venue/published_exchange.py", "venue/ccxt_library.py", "venue/ccxt_venue.py",
    "venue/ccxt_exchange.py",
    "testing/", "data/sources/", "sandbox/server.py", "sandbox/connection.py", "sandbox/audience.py",
    "live/", "sim/", "view/", "report/", "cli.py", "cli/",
)  # fmt: skip

UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib")
UNSAFE_CALLS = ("eval", "exec", "compile", "__import__")
UNSAFE_METHODS = ("eval", "read_pickle", "to_pickle")

PROCESSES = ("subprocess", "multiprocessing", "os.system", "os.popen", "os.fork", "pty")
# Who may start a process, and what for.
PROCESSES_IN = {
    "schedule/process.py": "every job of a schedule is a command of its own",
    "schedule/stub.py": "stays beside that command and writes down how it ended",
    "live/": "the runner is a process of its own",
    "sim/campaign.py": "a campaign of simulations runs on every core",
    "runs/": "asks git which commit a result came from; a run is executed again in a process of its own",
}


def violations(root: Path) -> list[str]:
    return [
        f"{module.inner}:{line}: {fault}"
        for module in modules(root)
        for line, fault in (*_import_faults(module), *_call_faults(module))
    ]


def _import_faults(module: Module) -> Iterator[tuple[int, str]]:
    for item in imports(module):
        for fault in _faults_of(module, item):
            yield item.line, fault


def _faults_of(module: Module, item: Import) -> Iterator[str]:
    place, target = module.inner, item.target
    drawn = target.startswith("numpy.random.") and not _is_type(target)
    if place != "clock.py" and (drawn or matches(target, ENTROPY)):
        yield f"{target} belongs to clock.py"
    if matches(target, NETWORK) and not place.startswith(NETWORK_IN):
        yield f"{target} is not for this module"
    if matches(target, UNSAFE_MODULES):
        yield f"{target} runs what it reads"
    if matches(target, PROCESSES) and not place.startswith(tuple(PROCESSES_IN)):
        yield f"{target}: nobody has said why this module starts processes"
    if matches(target, ("vectorbt",)) and not (place.startswith("backtest/vbt/") and item.in_function):
        yield "vectorbt is imported under backtest/vbt and inside functions only"


def _is_type(target: str) -> bool:
    return target.rsplit(".", 1)[-1] in ("Generator", "BitGenerator", *SEEDED)


def _call_faults(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            fault = _attribute_fault(module, node)
        elif isinstance(node, ast.Call):
            fault = _call_fault(node)
        else:
            continue
        if fault:
            yield node.lineno, fault


def _attribute_fault(module: Module, node: ast.Attribute) -> str:
    name = dotted(node)
    if matches(name, ("os.urandom", "os.getrandom")) and module.inner != "clock.py":
        return f"{name} belongs to clock.py"
    if matches(name, ("os.system", "os.popen", "os.fork")) and not module.inner.startswith(tuple(PROCESSES_IN)):
        return f"{name}: nobody has said why this module starts processes"
    if name.startswith(("np.random.", "numpy.random.")) and not _is_type(name):
        return f"{name}: randomness is a Generator argument"
    return ""


def _call_fault(call: ast.Call) -> str:
    name = called(call)
    last = name.rsplit(".", 1)[-1]
    seed = call.args[:1] + [word.value for word in call.keywords if word.arg in ("seed", "entropy")]
    if "." in name and last in NOW:
        return f"{name}() reads the wall clock"
    if last in ("Timestamp", "datetime64", "to_datetime") and any(_says_now(arg) for arg in call.args):
        return f"{name}('now') reads the wall clock"
    if last in SEEDED and (not seed or (isinstance(seed[0], ast.Constant) and seed[0].value is None)):
        return f"{name}() without a seed draws entropy"
    if name in UNSAFE_CALLS or ("." in name and last in UNSAFE_METHODS):
        return f"{name}() runs what it reads"
    if any(word.arg == "allow_pickle" and not _is_false(word.value) for word in call.keywords):
        return f"{name}(allow_pickle) runs what it reads"
    return ""


def _says_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("now", "today")


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_clock_entropy_network_and_processes_stay_in_their_places() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("core.py", "import time\n", "time belongs to clock.py"),
        ("core.py", "def f():\n    from time import sleep\n", "time.sleep belongs to clock.py"),
        ("core.py", "import uuid\n", "uuid belongs to clock.py"),
        ("core.py", "from random import gauss\n", "random.gauss belongs to clock.py"),
        ("core.py", "import os\nx = os.urandom(8)\n", "os.urandom belongs to clock.py"),
        ("core.py", "import datetime as d\nx = d.datetime.now(d.UTC)\n", "d.datetime.now() reads the wall clock"),
        ("core.py", "import pandas as pd\nx = pd.Timestamp('now')\n", "reads the wall clock"),
        ("core.py", "import numpy as np\nx = np.random.normal()\n", "randomness is a Generator argument"),
        ("core.py", "from numpy.random import normal\n", "belongs to clock.py"),
        ("core.py", "import numpy as np\nx = np.random.default_rng()\n", "without a seed"),
        ("core.py", "import numpy as np\nx = np.random.default_rng(None)\n", "without a seed"),
        ("core.py", "import asyncio\n", "asyncio is not for this module"),
        ("venue/wire.py", "from aiohttp import web\n", "aiohttp.web is not for this module"),
        ("view/figures.py", "def f():\n    import vectorbt\n", "under backtest/vbt"),
        ("backtest/vbt/portfolio.py", "import vectorbt as vbt\n", "inside functions only"),
        ("runs.py", "import pickle\n", "pickle runs what it reads"),
        ("runs.py", "x = eval('1')\n", "eval() runs what it reads"),
        ("runs.py", "def f(g):\n    exec(g)\n", "exec() runs what it reads"),
        ("runs.py", "import numpy as np\nx = np.load('a', allow_pickle=True)\n", "runs what it reads"),
        ("runs.py", "import pandas as pd\nx = pd.read_pickle('a')\n", "runs what it reads"),
        ("core.py", "import subprocess\n", "why this module starts processes"),
        ("core.py", "import os\nos.system('ls')\n", "why this module starts processes"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, path: str, text: str, fault: str) -> None:
    [found] = violations(plant(tmp_path, {f"flea_lab/{path}": text}))
    assert fault in found


def test_what_is_allowed_passes(tmp_path: Path) -> None:
    files = {
        "flea_lab/clock.py": "import time\nimport uuid\nimport os\nx = os.urandom(8)\n",
        "flea_lab/data/synthetic.py": "import numpy as np\ndef f(rng: np.random.Generator): return rng.normal()\n",
        "flea_lab/wiring.py": "import numpy as np\ndef f(seed): return np.random.default_rng(seed)\n",
        "flea_lab/backtest/vbt/portfolio.py": "def f():\n    import vectorbt as vbt\n    return vbt\n",
        "flea_lab/venue/stream.py": "import asyncio\nimport aiohttp\n",
        "flea_lab/model/market.py": "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)\n",
    }
    assert violations(plant(tmp_path, files)) == []

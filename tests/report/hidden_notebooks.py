"""What may happen in a notebook that its file does not tell, and the part that a stored result has to be marked with.

Each case is a notebook and the steps of a person, or of a program, in front of it. The last cell asks what is hidden.
`part` opens the line that must be there, `item` is a text in it; no part but it and `also` may be named. The clean ones
must not be marked at all.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

Step = tuple[Any, ...]
"""("run", i), ("edit", i, source), ("delete", i), ("insert", i, source), ("restart",), ("outside", function of the
shell), ("unheard", source): executed without a place in the history. Cells are named as in the first state."""

GIVEN: list[Any] = []
"""What a test hands to a notebook's cell."""
SETUP = "import flea_lab.view.notebook as flea\nfrom flea_lab.config import from_dict\n\nflea.setup()"
CONFIG = 'config = {"name": "small", "symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}'
RUN = "run = from_dict(config)"
ASK = "from flea_lab import runs\n\nhidden = runs.hidden_state(run)"
MINE = CONFIG.replace("ema_momentum", "mine")
KERNEL = '''class Params(Settings):
    scale: Fraction = {scale}


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(Params, State, inputs=("open", "close"))
def mine(s, bar, p, memory):
    """With the bar."""
    return State(1.0 if bar.close > bar.open else -1.0, p.scale)
'''
SIGNAL = "%%signal mine\n" + KERNEL


class Notebook(NamedTuple):
    """A notebook, what was done with it, and what must be said."""

    name: str
    cells: tuple[str, ...]
    steps: tuple[Step, ...]
    part: str = ""
    item: str = ""
    also: tuple[str, ...] = ()


def in_order(count: int) -> tuple[Step, ...]:
    return tuple(("run", at) for at in range(count))


def push(name: str, value: Any) -> Step:
    """A value put into the kernel by its interface."""

    def done(shell: Any) -> None:
        shell.push({name: value})

    return ("outside", done)


def put(name: str, value: Any) -> Step:
    """A value put straight into the namespace."""

    def done(shell: Any) -> None:
        shell.user_ns[name] = value

    return ("outside", done)


def act(work: Callable[[Any], Any]) -> Step:
    return ("outside", work)


def turn_widget(shell: Any) -> None:
    shell.user_ns["fee"].set_state({"value": 7})  # what a front end's message does


def mutate(shell: Any) -> None:
    shell.user_ns["config"]["signals"].append({"kernel": "rsi_reversion"})


def edit_signal(_: Any) -> None:
    file = Path(os.environ["FLEA_HOME"]) / "signals" / "mine.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n# another\n", encoding="utf-8")


def unfreeze(shell: Any) -> None:
    msgspec.structs.force_setattr(shell.user_ns["run"], "initial_cash_usd", 5.0)


def reload_wording(_: Any) -> None:
    importlib.reload(importlib.import_module("flea_lab.report.wording"))


def empty(shell: Any) -> None:
    shell.reset(new_session=True)


def register(shell: Any) -> None:
    """A channel that a program outside opens; what it sends is bound at once."""
    shell.user_ns["on_message"]({"fee_bps": 9.0})


WRITTEN = f"""import os
from pathlib import Path

from flea_lab.signal.registry import load_kernel
from flea_lab.view.signal_magic import HEADER

file = Path(os.environ["FLEA_HOME"]) / "signals" / "mine.py"
file.parent.mkdir(parents=True, exist_ok=True)
text = HEADER.format(name="mine") + {KERNEL.format(scale=1.0)!r}
first = file.write_text(text) and load_kernel(file)"""
AGAIN = 'second = file.write_text(text.replace("1.0 if", "0.0 if")) and load_kernel(file)'
FIVE = (SETUP, CONFIG, RUN, "n = 0", ASK)

HIDDEN = (
    Notebook(
        "out of order",
        (SETUP, "cash = 5.0", "cash = 7.0", CONFIG, RUN, ASK),
        tuple(("run", at) for at in (0, 2, 1, 3, 4, 5)),
        "cell order",
        "In [3]",
    ),
    Notebook(
        "a counter twice",
        (SETUP, CONFIG, RUN, "n = 0", "n += 1", ASK),
        tuple(("run", at) for at in (0, 1, 2, 3, 4, 4, 5)),
        "cell twice",
        "In [5], In [6]",
    ),
    Notebook(
        "an append twice",
        (SETUP, "fees = []", "fees.append(1.0)", CONFIG, RUN, ASK),
        tuple(("run", at) for at in (0, 1, 2, 2, 3, 4, 5)),
        "cell twice",
        "In [3], In [4]",
    ),
    Notebook(
        "a pure cell twice",
        FIVE,
        tuple(("run", at) for at in (0, 1, 2, 2, 3, 4)),
        "cell twice",
        "In [3], In [4]",
    ),
    Notebook(
        "deleted after it ran",
        (SETUP, CONFIG, 'config["initial_cash_usd"] = 5.0', RUN, ASK),
        (*in_order(4), ("delete", 2), ("run", 4)),
        "cell gone",
        "In [3]",
    ),
    Notebook(
        "edited after it ran",
        FIVE,
        (*in_order(4), ("edit", 3, "n = 1"), ("run", 4)),
        "cell edited",
        "In [4]",
    ),
    Notebook(
        "edited beyond recognition after it ran",
        (SETUP, CONFIG, RUN, "import math", ASK),
        (*in_order(4), ("edit", 3, '"""What is left is a remark, and no more."""'), ("run", 4)),
        "cell edited",
        "In [4]",
    ),
    Notebook(
        "edited and executed again",
        (SETUP, CONFIG, RUN, ASK),
        (
            ("run", 0),
            ("run", 1),
            ("edit", 1, CONFIG.replace("1m", "5m")),
            ("run", 1),
            ("run", 2),
            ("run", 3),
        ),
        "cell twice",
        "In [2], In [3]",
        ("cell edited",),
    ),
    Notebook(
        "a cell above was left out",
        (SETUP, CONFIG, 'config["initial_cash_usd"] = 5.0', RUN, ASK),
        tuple(("run", at) for at in (0, 1, 3, 4)),
        "cell left out",
        "initial_cash_usd",
    ),
    Notebook(
        "inserted above, and not executed",
        (SETUP, CONFIG, RUN, ASK),
        (*in_order(3), ("insert", 2, 'config["initial_cash_usd"] = 5.0'), ("run", 3)),
        "cell left out",
        "initial_cash_usd",
    ),
    Notebook(
        "a signal redefined in a later cell",
        (SETUP, WRITTEN, MINE, RUN, AGAIN, ASK),
        in_order(6),
        "signal",
        "mine was loaded in 2 versions",
    ),
    Notebook(
        "%%signal with another source",
        (SETUP, SIGNAL.format(scale=1.0), MINE, RUN, ASK),
        (*in_order(4), ("edit", 1, SIGNAL.format(scale=0.5)), ("run", 1), ("run", 4)),
        "signal",
        "mine was loaded in 2 versions",
        ("cell twice", "cell edited", "cell order"),
    ),
    Notebook(
        "a signal's file edited after it was loaded",
        (SETUP, WRITTEN, MINE, RUN, ASK),
        (*in_order(4), act(edit_signal), ("run", 4)),
        "signal",
        "mine was edited",
    ),
    Notebook(
        "a name put into the namespace",
        FIVE,
        (*in_order(3), put("fee_bps", 9.0), ("run", 3), ("run", 4)),
        "name",
        "fee_bps",
    ),
    Notebook(
        "a name bound anew by the kernel's interface",
        FIVE,
        (*in_order(4), push("n", 1), ("run", 4)),
        "name",
        "n was bound outside",
    ),
    Notebook(
        "a name bound by a message",
        (SETUP, CONFIG, RUN, "fee_bps = 1.0\non_message = globals().update", ASK),
        (*in_order(4), act(register), ("run", 4)),
        "name",
        "fee_bps was bound outside",
    ),
    Notebook(
        "executed outside the history",
        FIVE,
        (*in_order(4), ("unheard", "n = 5"), ("run", 4)),
        "name",
        "n was bound outside",
    ),
    Notebook(
        "a configuration changed in place from outside",
        (SETUP, CONFIG, "n = 0", RUN, ASK),
        (*in_order(3), act(mutate), ("run", 3), ("run", 4)),
        "name",
        "config was changed outside",
    ),
    Notebook(
        "a frozen configuration changed in place",
        FIVE,
        (*in_order(4), act(unfreeze), ("run", 4)),
        "name",
        "run was changed outside",
    ),
    Notebook(
        "a function of the package replaced",
        (SETUP, CONFIG, RUN, "from flea_lab.report import facts\n\nfacts.days = lambda result: 1.0", ASK),
        in_order(5),
        "module",
        "flea_lab.report.facts.days",
    ),
    Notebook(
        "a constant of the package changed",
        (SETUP, CONFIG, RUN, "from flea_lab.report import sections\n\nsections.SHORT_DAYS = 1", ASK),
        in_order(5),
        "module",
        "flea_lab.report.sections.SHORT_DAYS",
    ),
    Notebook(
        "a method of the package replaced",
        (SETUP, CONFIG, RUN, "from flea_lab.clock import Stopwatch\n\nStopwatch.elapsed_s = lambda self: 0.0", ASK),
        in_order(5),
        "module",
        "flea_lab.clock.Stopwatch.elapsed_s",
    ),
    Notebook(
        "a module of the package loaded again",
        (SETUP, CONFIG, RUN, "from flea_lab.report import sections", ASK),
        (*in_order(4), act(reload_wording), ("run", 4)),
        "module",
        "flea_lab.report.wording",
    ),
    Notebook(
        "numpy's global state seeded by hand",
        (SETUP, CONFIG, RUN, "import numpy as np\n\nnp.random.seed(3)", ASK),
        in_order(5),
        "random state",
        "numpy",
    ),
    Notebook(
        "an environment variable of a deleted cell",
        (SETUP, CONFIG, 'import os\n\nos.environ["MY_FEE"] = "9"', RUN, ASK),
        (*in_order(4), ("delete", 2), ("run", 4)),
        "environment",
        "MY_FEE",
        ("cell gone",),
    ),
    Notebook(
        "another folder",
        (SETUP, CONFIG, RUN, 'import os\n\nos.chdir("/")', ASK),
        in_order(5),
        "folder",
        "/",
    ),
    Notebook(
        "an exception passed over",
        (SETUP, CONFIG, RUN, "n = 1\nn / 0", ASK),
        in_order(5),
        "cell failed",
        "In [4]",
    ),
    Notebook(
        "a widget that was turned",
        (
            SETUP,
            CONFIG,
            "import ipywidgets\n\nfee = ipywidgets.IntSlider(3)",
            'config["initial_cash_usd"] = 100.0 * fee.value',
            RUN,
            ASK,
        ),
        (*in_order(3), act(turn_widget), ("run", 3), ("run", 4), ("run", 5)),
        "name",
        "fee was changed outside",
    ),
    Notebook(
        "an object of an earlier run brought back",
        (SETUP, CONFIG, "n = 0", ASK),
        (("run", 0), ("run", 1), put("run", "RUN"), ("run", 2), ("run", 3)),
        "name",
        "run",
    ),
    Notebook(
        "a result of the configuration before",
        (SETUP, CONFIG, RUN, "n = 0", ASK),
        (
            ("run", 0),
            ("run", 1),
            ("run", 2),
            ("edit", 1, CONFIG.replace("small", "other")),
            ("run", 1),
            ("run", 3),
            ("run", 4),
        ),
        "cell twice",
        "In [2], In [4]",
        ("cell order",),
    ),
    Notebook(
        "the namespace emptied, the kernel not",
        FIVE,
        (*in_order(4), act(empty), *in_order(5)),
        "kernel reset",
        "without a new kernel",
    ),
)

CLEAN = (
    Notebook("in order", FIVE, in_order(5)),
    Notebook("restarted after everything", FIVE, (*in_order(3), ("run", 1), push("n", 3), ("restart",), *in_order(5))),
    Notebook("cells below not executed yet", (*FIVE, "n + 1", "n + 2"), in_order(5)),
    Notebook("a cell edited before it ran", FIVE, (*in_order(3), ("edit", 3, "n = 2"), ("run", 3), ("run", 4))),
    Notebook(
        "magics, stars and definitions",
        (
            SETUP,
            CONFIG,
            "from math import *\n%time n = sqrt(4)",
            "%%time\nm = n",
            "%%capture said\nprint(1)",
            "def f():\n    global g\n    g = 1\n\n\nf()",
            "for k in (1, 2):\n    pass\ndel k",
            RUN,
            ASK,
        ),
        in_order(9),
    ),
    Notebook(
        "figures looked at",
        (SETUP, CONFIG, RUN, "import plotly.graph_objects as go\n\nfigure = go.Figure()", "figure.show()", ASK),
        in_order(6),
    ),
    Notebook(
        "a widget that nobody touched",
        (SETUP, CONFIG, "import ipywidgets\n\nfee = ipywidgets.IntSlider(3)", "n = fee.value", RUN, ASK),
        in_order(6),
    ),
    Notebook("a tool that looks at the names", FIVE, (*in_order(4), ("unheard", "_looked = dir()"), ("run", 4))),
    Notebook("the same source in two cells", (SETUP, CONFIG, "n = 0", "n = 0", RUN, ASK), in_order(6)),
)

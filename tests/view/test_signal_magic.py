"""A cell becomes a signal of the workspace, with its test; a cell that breaks the law leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from flea_lab.config import alphas, from_dict
from flea_lab.errors import ConfigError, KernelError, WorkspaceError
from flea_lab.signal.registry import MODULES, load_kernel
from flea_lab.testing import subjects
from flea_lab.view.notebook import setup
from flea_lab.view.signal_magic import SignalRefused, load_ipython_extension, save_signal, summary
from flea_lab.workspace import workspace

CELL = '''
class Params(Settings):
    window: Bars = 50

class State(NamedTuple):
    n: float = 0.0
    direction: float = nan
    confidence: float = nan

@kernel(Params, State, inputs=("close",), warmup=lambda p: p.window, memory=lambda p: p.window)
def breakout(s, bar, p, memory):
    """With the close towards the edge of its channel that is nearer."""
    push(memory, bar.close)
    if s.n + 1 < p.window:
        return State(s.n + 1)
    low, high = lowest(memory), highest(memory)
    place = 2 * (bar.close - low) / (high - low) - 1 if high > low else 0
    return State(s.n + 1, place, abs(place))
'''


@pytest.fixture
def signals(home: Path) -> Path:
    return workspace().ready().signals


def edited(old: str, new: str) -> str:
    assert CELL.count(old) == 1
    return CELL.replace(old, new)


def test_a_cell_becomes_a_signal_that_a_config_can_name(signals: Path) -> None:
    saved = save_signal("breakout", CELL, signals)
    assert sorted(path.name for path in signals.iterdir()) == ["breakout.py", "test_breakout.py"]
    assert saved.kernel == load_kernel(saved.path)
    assert saved.kernel.doc == "With the close towards the edge of its channel that is nearer."
    assert "breakout" in subjects()
    values = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "breakout", "params": {"window": 30}}]}
    found = alphas(from_dict(values))
    assert (found.kernels[0].name, found.params[0].window, found.warmup) == ("breakout", 30, 30)
    with pytest.raises(ConfigError, match=r"window = 0: expected `int` >= 1 \(in config, signals\[0\] breakout\)"):
        from_dict(values | {"signals": [{"kernel": "breakout", "params": {"window": 0}}]})


def test_the_summary_says_what_a_person_wants_to_know(signals: Path) -> None:
    text = summary(save_signal("breakout", CELL, signals))
    for line in (
        "signal breakout is ready",
        "parameters  window = 50  (1 to 5,000, bars)",
        "inputs      close",
        "warm-up     50 bars",
        "law         kept: 11 laws on 1,500 bars, and with 2 limits",
        'kernel = "breakout"',
        "params = { window = 50 }",
    ):
        assert line in text
    assert f"saved       {signals / 'breakout.py'}, with test_breakout.py" in text


def test_the_generated_test_passes_and_can_fail(signals: Path) -> None:
    saved = save_signal("breakout", CELL, signals)
    assert run_pytest(signals) == 0
    saved.path.write_text(saved.path.read_text().replace("abs(place))", "2.0)"))
    assert run_pytest(signals) == 1


def run_pytest(folder: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("s.n + 1 < p.window", "s.n < p.window", r"'warms up as it says' at bar 49 \(close .*\): direction is nan"),
        ("2 * (bar", "3 * (bar", r"'stays in range' at bar \d+ \(close .*\): direction is 1\.\d+, outside \[-1, 1\]"),
        (" if high > low else 0", "", r"'warms up as it says' at bar \d+ .*: direction is nan, but warm-up is 50 bars"),
        ("abs(place))", "0.5)", r"'stays in range' .*: direction is 0 with confidence 0.5; no opinion"),
        ('inputs=("close",)', 'inputs=("open",)', "'reads its inputs only' .* when close, which it does not"),
        (", memory=lambda p: p.window", "", "'keeps to its memory': its step uses memory but it has none, declare"),
        ("window: Bars = 50", "window: int = 50", "'declares': parameter window of Params has no lower limit"),
        ("lowest(memory), highest", "lowst(memory), highest", r"name 'lowst' is not defined \(line 17 of the cell\)$"),
        ("push(memory, bar.close)", "push(memory, bar.clos)", r"Unknown attribute 'clos' .*\(line 14 of the cell\)"),
        ("place, abs(place))", "place)", r"'warms up as it says' at bar 49 .*: confidence is nan"),
        ("place, abs(place))", "'up', 1)", r"State: direction must be a number, not unicode_type \(line 19 "),
        ("place, abs(place))", "place, 1, 1)", r"State\(n, direction, confidence\): too many positional arguments"),
        ("def breakout", "def brakeout", "^signal breakout: must define a kernel named 'breakout', found brakeout$"),
        ("class State(NamedTuple):", "class State(NamedTuple)", r": SyntaxError: .*\(line 6 of the cell\)$"),
        ("    window: Bars", "    import nowhere\n    window: Bars", "^signal breakout: ModuleNotFoundError: No mod"),
        ("n: float = 0.0", "n: float", "^kernel breakout: every state field needs a start value, a float$"),
        ('inputs=("close",)', 'inputs=("price",)', "^kernel breakout: input 'price' is not a bar field, known are"),
        (
            'inputs=("close",)',
            'parts={"move": parts.change("clsoe")}',
            "^kernel breakout: part move has the source 'clsoe', which is neither one of open, high",
        ),
        ("s, bar, p, memory)", "s, bar, p)", "^kernel breakout: its step takes 3 arguments, it must take state, bar"),
    ],
)
def test_a_cell_that_cannot_be_a_signal_leaves_nothing_behind(signals: Path, old: str, new: str, message: str) -> None:
    loaded = imported()
    with pytest.raises(KernelError, match=message) as caught:
        save_signal("breakout", edited(old, new), signals)
    assert "\n" not in str(caught.value)
    assert list(signals.iterdir()) == []
    assert imported() == loaded


def imported() -> list[str]:
    return sorted(name for name in sys.modules if name.startswith(MODULES))


def test_a_bad_edit_keeps_the_good_version(signals: Path) -> None:
    saved = save_signal("breakout", CELL, signals)
    before = {path.name: path.read_bytes() for path in signals.iterdir()}
    with pytest.raises(KernelError, match="'stays in range'"):
        save_signal("breakout", edited("2 * (bar", "3 * (bar"), signals)
    assert {path.name: path.read_bytes() for path in signals.iterdir()} == before
    assert load_kernel(saved.path) is saved.kernel


def test_an_edit_of_equal_length_within_the_same_second_is_a_new_signal(signals: Path) -> None:
    first = save_signal("breakout", CELL, signals)
    stamp = first.path.stat()
    second = save_signal("breakout", edited("Bars = 50", "Bars = 60"), signals)
    os.utime(second.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert load_kernel(second.path).params().window == 60
    assert not (signals / "__pycache__").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "needs one name"),
        ("two words", "needs one name"),
        ("Break", "lower-case letters, digits and _, at most 40, and no keyword"),
        ("../escape", "lower-case letters, digits and _"),
        ("class", "lower-case letters, digits and _, at most 40, and no keyword"),
        ("test_me", "lower-case letters, digits and _, at most 40, and no keyword"),
        ("ema_momentum", "signal name 'ema_momentum' is a built-in signal's, choose another"),
        ("mean", "signal name 'mean' is something that a signal cell imports, choose another"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(signals: Path, shell: Any, name: str, message: str) -> None:
    with pytest.raises(SignalRefused, match=message) as caught:
        shell.run_cell_magic("signal", name, CELL)
    assert caught.value._render_traceback_() == [f"KernelError: {caught.value}"]
    assert list(signals.iterdir()) == []


@pytest.fixture
def shell() -> Any:
    found = InteractiveShell.instance()
    load_ipython_extension(found)
    yield found
    InteractiveShell.clear_instance()


def test_the_magic_prints_the_summary_and_leaves_the_kernel_in_the_notebook(
    home: Path, shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell_magic("signal", "breakout", CELL)
    assert capsys.readouterr().out.startswith("signal breakout is ready\n")
    assert shell.user_ns["breakout"].name == "breakout"
    assert (home / "signals/breakout.py").is_file()


def test_a_workspace_that_cannot_be_written_is_told(
    tmp_path: Path, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FLEA_HOME", str(blocked))
    with pytest.raises(SignalRefused, match=r"workspace .* is a file, not a folder \(set FLEA_HOME\)"):
        shell.run_cell_magic("signal", "breakout", CELL)
    with pytest.raises(WorkspaceError, match=r"^signal breakout cannot be saved in .*: Not a directory"):
        save_signal("breakout", CELL, blocked)


def test_setup_prepares_a_notebook_and_nothing_else(shell: Any) -> None:
    import plotly.io

    setup()
    assert plotly.io.renderers.default == "plotly_mimetype"
    assert plotly.io.json.config.default_engine == "orjson"
    assert "signal" in shell.magics_manager.magics["cell"]


def test_setup_outside_of_a_notebook_is_refused() -> None:
    InteractiveShell.clear_instance()
    with pytest.raises(ConfigError, match=r"^notebook.setup\(\) was called outside of a notebook$"):
        setup()

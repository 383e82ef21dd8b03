"""A whole session, and no key in anything that it leaves behind; a planted leak is found by the same search.

The whole: pytest tests/live/test_canary.py -m slow
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

import flea_lab
from flea_lab.live import SandboxProcess, attach, start_sandbox
from flea_lab.live.account import account_folder
from flea_lab.live.keys import key_file, load_key, store_key
from flea_lab.live.launcher import Session
from flea_lab.live.process import minimal_environment
from flea_lab.secret import Secret
from tests.live.processes import config_file, status, until
from tests.live.test_kills import busy, claimed, store_market

ACCOUNT, WRONG, PAPER = "canary", "wrong", "canary-paper"
CHECKOUT = Path(flea_lab.__file__).resolve().parents[1]

PLANTED = """
import aiohttp, sys
request = aiohttp.ClientSession._request
async def spied(self, method, url, **named):
    with open(sys.argv[-1], "a") as out:
        print(method, url, dict(self.headers), dict(named.get("headers") or {}), file=out)
    return await request(self, method, url, **named)
aiohttp.ClientSession._request = spied
from flea_lab.cli.live import run
run(sys.argv[1], venue="sandbox", account=sys.argv[2], url=sys.argv[3], unpromoted=True, check=False, other_code=False)
"""

CELLS = (
    "from flea_lab.live import attach, launch\nfrom flea_lab.errors import FleaError",
    "session = launch({file!r}, account='canary', url={url!r}, unpromoted=True)\nsession",
    "import time\nwhile session.status()['bars'] < 30:\n    time.sleep(0.05)\nsession.status()",
    "session.fills(), session.equity()",
    "try:\n    launch({file!r}, venue='live', live=True, account='canary')\n"
    "except FleaError as error:\n    print('refused:', error)",
    "try:\n    launch({file!r}, account='wrong', url={url!r}, unpromoted=True)\n"
    "except FleaError as error:\n    print('refused:', error)",
    "paper = launch({file!r}, venue='paper', account='canary-paper', url={url!r}, unpromoted=True)\npaper.status()",
    "paper.stop()\nraise RuntimeError(f'the end of {{session!r}}: {{session.status()}}')",
)


def leaks(key: str, *places: Path) -> list[str]:
    """The files below `places` that hold the key or a third of it, key files apart."""
    parts = [part.encode() for part in (key, key[-16:], key[len(key) // 2 :][:16])]
    found = []
    for place in places:
        for file in place.rglob("*"):
            if file.suffix == ".key" and file.parent.name == "keys":
                continue
            if file.is_file() and any(part in file.read_bytes() for part in parts):
                found.append(str(file.relative_to(place)))
    return found


def of_process(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SandboxProcess, Path]]:
    """A sandbox, a config for it, and a key in the place where keys are."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    home.mkdir(parents=True, exist_ok=True)
    store_market(4_000)
    file = config_file(busy(), home)
    with start_sandbox(file, pace=600, days=2.0) as sandbox:
        store_key(ACCOUNT, Secret(claimed(sandbox.url)))
        yield sandbox, file


def flea(out: Path, *words: str) -> str:
    """What `flea WORDS...` says; kept in `out`, as a person's terminal would."""
    ran = subprocess.run(
        [sys.executable, "-m", "flea_lab", *words],
        capture_output=True, text=True, env=minimal_environment(), timeout=120, check=False,
    )  # fmt: skip
    with out.open("a") as kept:
        kept.write(ran.stdout + ran.stderr)
    return ran.stdout + ran.stderr


def typed(out: Path) -> None:
    """A person at IPython, which keeps a history: papermill's kernels do not."""
    lines = (
        f"from flea_lab.live import attach\nsession = attach({ACCOUNT!r})\nsession, session.status()\nvars(session)\n"
    )
    words = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"]
    ran = subprocess.run(
        words, input=lines, capture_output=True, text=True, timeout=120, check=False,
        env={**minimal_environment(), "IPYTHONDIR": os.environ["IPYTHONDIR"]},
    )  # fmt: skip
    with out.open("a") as kept:
        kept.write(ran.stdout + ran.stderr)
    assert "trading" in ran.stdout, ran.stdout + ran.stderr


def test_a_runner_that_is_killed_leaves_no_key_and_a_planted_leak_is_found(
    here: tuple[SandboxProcess, Path], tmp_path: Path
) -> None:
    sandbox, file = here
    key = load_key(ACCOUNT).reveal()
    debug, log = tmp_path / "debug.txt", tmp_path / "planted.log"
    with log.open("ab") as out:
        words = [sys.executable, "-c", PLANTED, str(file), ACCOUNT, sandbox.url, str(debug)]
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=minimal_environment())
    try:
        until(lambda: status(ACCOUNT).get("bars", 0) > 210 or process.poll() is not None, 120.0, "bars")
        assert process.poll() is None, log.read_text()
        assert ACCOUNT in of_process(process.pid, "cmdline")
        assert key not in of_process(process.pid, "cmdline") + of_process(process.pid, "environ")
    finally:
        process.kill()
        process.wait()
    assert (account_folder(ACCOUNT) / "journal.sqlite-wal").stat().st_size > 0
    assert leaks(key, tmp_path) == ["debug.txt"], "what was planted, and nothing else"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_whole_session_leaves_no_key_anywhere(here: tuple[SandboxProcess, Path], tmp_path: Path) -> None:
    import papermill

    sandbox, file = here
    key, wrong = load_key(ACCOUNT).reveal(), "pf_test_" + "0123456789ab" * 4
    paper = claimed(sandbox.url)
    for account, one in ((WRONG, wrong), (PAPER, paper)):
        store_key(account, Secret(one))
    cells = [cell.format(file=str(file), url=sandbox.url) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    before, after, terminal = tmp_path / "session.ipynb", tmp_path / "executed.ipynb", tmp_path / "terminal.txt"
    nbformat.write(notebook, before)
    try:
        with pytest.raises(papermill.PapermillExecutionError, match="the end of Session"):
            papermill.execute_notebook(before, after, kernel_name="python3", progress_bar=False, cwd=tmp_path)
        said = after.read_text()
        assert said.count("refused:") >= 2 and "is not promoted" in said and "invalid_key" in said
        pid = attach(ACCOUNT).pid or 0
        assert key not in of_process(pid, "cmdline") + of_process(pid, "environ")
        assert "trading" in flea(terminal, "status", f"--account={ACCOUNT}")
        typed(terminal)
        flea(terminal, "halt", f"--account={ACCOUNT}")
        assert "KILLED" in flea(terminal, "kill", ACCOUNT)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Session(ACCOUNT).alive, 10.0)
        flea(terminal, "status", f"--account={ACCOUNT}")
        flea(terminal, "alerts", "list", f"--account={ACCOUNT}")
        flea(terminal, "session", ACCOUNT)
    finally:
        for account in (ACCOUNT, PAPER):
            Session(account).stop()
    names = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    expected = {"journal.sqlite", "journal.sqlite-wal", "alerts.jsonl", "runner.log", "executed.ipynb"}
    expected.add("history.sqlite")
    assert expected <= names, expected - names
    assert any(name.endswith(".html") for name in names), terminal.read_text()
    assert key_file(ACCOUNT).read_text().strip() == key
    for one in (key, wrong, paper):
        assert leaks(one, tmp_path) == []
    if (CHECKOUT / ".git").exists():
        assert key not in subprocess.run(["git", "diff"], cwd=CHECKOUT, capture_output=True, text=True).stdout

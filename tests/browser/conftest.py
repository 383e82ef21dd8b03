"""A JupyterLab of this test session's own and a page of a headless Chromium on it; nothing but 127.0.0.1 is reached."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.laws.source import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
STARTS = 3
"""A port that was free may be taken by the time that the server comes to listen."""
LONG_S = 240.0
"""How long anything may take that a page waits for: a wait ends with what it waits for, whatever the machine."""


class Lab(NamedTuple):
    """A running server: its address, its token, the folder it serves, and the workspace of its kernels."""

    url: str
    token: str
    root: Path
    home: Path


def chromium() -> str:
    """The Chromium to drive; where there is none, the test is skipped and says why."""
    named = os.environ.get("FLEA_CHROMIUM", "")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        what = f"FLEA_CHROMIUM names {named}, which does not start" if named else "no " + ", ".join(BROWSERS)
        pytest.skip(f"no browser, so the notebook is not clicked through: {what}")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    executable = chromium()
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the notebook is not clicked")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab with folders of its own; `browser` comes first, since without one there is nothing to serve."""
    folder = tmp_path_factory.mktemp("lab")
    root, home = folder / "root", folder / "flea"
    root.mkdir()
    settings = folder / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment, log = _environment(folder, home), folder / "lab.log"
    for _ in range(STARTS):
        lab = Lab(f"http://127.0.0.1:{free_port()}", secrets.token_hex(16), root, home)
        with log.open("ab") as out, _ended(_command(lab), env=environment, stdout=out, stderr=out, cwd=root) as server:
            if _answers(lab, server):
                yield lab
                return
    pytest.fail(f"JupyterLab did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """A page that can reach nothing beyond this machine; what it tried is an error of the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 1250})
    beyond: list[str] = []

    def look(route: Any) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            route.continue_()
        else:
            beyond.append(url)
            route.abort()

    context.set_default_timeout(LONG_S * 1e3)
    context.route("**/*", look)
    yield context.new_page()
    context.close()
    assert beyond == []


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def put_notebook(lab: Lab, name: str, **parameters: Any) -> str:
    """The copy of a notebook that the server shows, its parameters set."""
    notebook = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))
    cell = next(one for one in notebook["cells"] if "parameters" in one["metadata"].get("tags", []))
    cell["source"] = [*cell["source"], f"\nparameters |= {parameters!r}"]
    (lab.root / Path(name).name).write_text(json.dumps(notebook), encoding="utf-8")
    return Path(name).name


def open_notebook(page: Any, lab: Lab, name: str) -> None:
    """Shows the notebook, its kernel ready: a cell that is run before it is asks for a kernel, for ever."""
    page.goto(f"{lab.url}/lab/tree/{name}?reset&token={lab.token}")
    page.wait_for_function(
        "() => { const shown = window.jupyterapp && jupyterapp.shell.currentWidget;"
        " const context = shown && shown.sessionContext;"
        " return context && context.isReady && context.session.kernel.status === 'idle' }"
    )


def run_all(page: Any) -> None:
    """Starts every cell; not awaited, the page goes on."""
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")


def _command(lab: Lab) -> list[str]:
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={lab.url.rpartition(':')[2]}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={lab.root}",
        f"--IdentityProvider.token={lab.token}",
        "--KernelManager.transport_encryption=auto",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def _environment(folder: Path, home: Path) -> dict[str, str]:
    own = {
        "HOME": folder / "user",
        "FLEA_HOME": home,
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "IPYTHONDIR": folder / "ipython",
        "PYTHONPATH": ROOT,
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache",  # what is compiled already
    }
    (folder / "user").mkdir()
    inherited = {name: value for name, value in os.environ.items() if name != "FLEA_DATA_DIR"}
    return {**inherited, **{name: str(value) for name, value in own.items()}, "JUPYTER_PLATFORM_DIRS": "1"}


@contextmanager
def _ended(command: list[str], **named: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of `command`, which is gone afterwards."""
    server = subprocess.Popen(command, **named)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(lab: Lab, server: "subprocess.Popen[bytes]") -> bool:
    """Whether the server came to answer."""
    by = time.monotonic() + LONG_S
    while time.monotonic() < by and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=10):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False

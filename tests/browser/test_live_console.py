"""The live console as a person meets it: JupyterLab, a real browser, a runner that is a process of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flea_lab.live.launcher import Session
from flea_lab.live.own_sandbox import current, end_own_sandbox
from tests.browser.conftest import LONG_S, Lab, open_notebook, put_notebook, run_all
from tests.live.processes import status, until

pytestmark = pytest.mark.timeout(900)

CONSOLE = ".jp-OutputArea .flea-live-console"
NAME = "notebook"


@pytest.fixture(scope="module")
def console(lab: Lab, page: Any) -> Iterator[Any]:
    """The page with the console on it; what is launched from it is ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(lab.home))
        open_notebook(page, lab, put_notebook(lab, "live/runner.ipynb", fast=False, pace=250.0, account=NAME))
        run_all(page)
        page.locator(f"{CONSOLE} .js-plotly-plot").wait_for()
        yield page
        account = current(NAME)
        Session(account).stop()
        end_own_sandbox(account)


def click(page: Any, button: str) -> None:
    page.locator(f"{CONSOLE} button:text-is('{button}'):enabled").click()


def says(page: Any, part: str, text: str) -> None:
    """Waits until `part` of the console says `text`."""
    page.locator(f"{CONSOLE} .flea-{part}", has_text=text).wait_for()


def shoot(page: Any, file: Path) -> None:
    """A picture of the console, for people."""
    page.locator(CONSOLE).screenshot(path=file)


def test_launched_by_a_click_it_fills_and_a_click_halts_it_verified(console: Any, tmp_path: Path) -> None:
    says(console, "state", "NO RUNNER")
    says(console, "fills", "no fill yet")
    says(console, "unpromoted", "UNPROMOTED demo")
    click(console, "Launch")
    console.locator(f"{CONSOLE} .flea-fill").first.wait_for()
    says(console, "state", "TRADING")
    click(console, "HALT")
    says(console, "message", "halted: no open order at the exchange")
    says(console, "state", "HALTED")
    shoot(console, tmp_path / "halted.png")
    session = Session(current(NAME))
    assert session.status()["halt_verified"] and session.alive
    click(console, "Stop")
    says(console, "state", "NO RUNNER")
    assert not session.alive


def test_without_its_kernel_the_runner_trades_on_and_a_new_console_attaches(console: Any, tmp_path: Path) -> None:
    click(console, "Launch")
    says(console, "state", "TRADING")
    session = Session(current(NAME))
    pid = session.pid
    console.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    bars = until(lambda: status(session.account).get("bars"), LONG_S, "its status")
    until(lambda: status(session.account).get("bars", 0) > bars, LONG_S, "bars after the kernel was gone")
    assert session.pid == pid and session.status()["state"] == "trading"
    run_all(console)
    says(console, "message", f"attached to the runner of account {session.account}, pid {pid}")
    says(console, "state", "TRADING")
    console.locator(f"{CONSOLE} .flea-fill").first.wait_for()
    shoot(console, tmp_path / "attached.png")

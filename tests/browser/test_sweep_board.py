"""The sweep board as a person meets it: JupyterLab, a real browser, values typed, buttons and a cell clicked."""

import re
from pathlib import Path
from typing import Any

import pytest

from flea_lab.config import load
from tests.browser.conftest import Lab, open_notebook, put_notebook, run_all

pytestmark = pytest.mark.timeout(900)

BOARD = ".jp-OutputArea .flea-sweep-board"
MANY = ("2 to 100 step 1", "101 to 350 step 1", "0.3 to 0.39 step 0.01")
"""247,500 cells: far more than are folded before the cancel button is clicked."""
FEW = ("5, 9, 14", "20, 30, 40", "0.3, 0.4")
PAINTED = """() => {
  const heat = document.querySelector('.flea-heat .js-plotly-plot, .flea-heat.js-plotly-plot');
  const z = heat?.calcdata?.[0]?.[0]?.z;
  return z && z.length > 50 && z.some(row => Array.from(row).some(z => Number.isFinite(z))) }"""
DRAWN = """() => {
  const heat = document.querySelector('.flea-heat .js-plotly-plot, .flea-heat.js-plotly-plot');
  const z = heat?.calcdata?.[0]?.[0]?.z, across = heat?._fullLayout?.xaxis?._categories;
  return z?.length === 3 && z[0].length === 3 && across?.join() === '5,9,14' }"""
"""The page follows what it was told: a click before that is on the picture of before."""
ASKED = """async () => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel, took = [];
  for (let i = 0; i < 60 && !(i >= 5 && Math.min(...took) < 1000); i++) {
    const before = performance.now();
    await kernel.requestExecute({ code: '1 + 1' }).done;
    took.push(performance.now() - before);
  }
  return Math.min(...took) }"""


@pytest.fixture(scope="module")
def board(lab: Lab, page: Any) -> Any:
    """The page with the board on it, its notebook run to its end."""
    open_notebook(page, lab, put_notebook(lab, "explore/03_sweep.ipynb", days=30, min_confidence="0.3, 0.4"))
    run_all(page)
    page.locator(".jp-OutputArea-output", has_text="On this grid the highest Sharpe is").wait_for()
    return page


def click(page: Any, button: str) -> None:
    page.locator(f'{BOARD} button:has-text("{button}"):enabled').first.click()


def says(page: Any, part: str, text: str | re.Pattern[str]) -> None:
    """Waits until `part` of the board says `text`."""
    page.locator(f"{BOARD} .flea-{part}", has_text=text).wait_for()


def typed(page: Any, values: tuple[str, ...]) -> None:
    for at, text in enumerate(values):
        box = page.locator(f"{BOARD} .widget-text input").nth(at)
        box.fill(text)
        box.press("Enter")


def test_cells_appear_a_sweep_is_cancelled_and_a_click_is_replayed(board: Any, lab: Lab, tmp_path: Path) -> None:
    typed(board, MANY)
    click(board, "sweep")
    board.wait_for_function(PAINTED)
    says(board, "status", re.compile(r"of 247,500 cells · .* cells/s · .* left"))  # and painted before it ended
    assert board.evaluate(ASKED) < 1_000.0, "the kernel answers within a second"
    says(board, "status", "of 247,500 cells")
    board.locator(BOARD).screenshot(path=tmp_path / "sweeping.png")
    click(board, "cancel")
    says(board, "status", "cancelled after")

    typed(board, FEW)
    click(board, "sweep")
    says(board, "status", "18 cells in")
    click(board, "mean of neighbours")
    says(board, "where", "plateau")
    board.wait_for_function(DRAWN)
    cells = board.locator(f"{BOARD} .flea-heat .nsewdrag").first
    box = cells.bounding_box()
    cells.hover(position={"x": box["width"] * 0.5, "y": box["height"] / 6})
    cells.click(position={"x": box["width"] * 0.5, "y": box["height"] / 6})
    says(board, "message", "slow 40, fast 9")
    says(board, "message", "equal to the micro-dollar")
    board.locator(f"{BOARD} .flea-curve path.js-line").nth(1).wait_for(state="attached")
    click(board, "make this the report's parameters")
    says(board, "message", "flea report")
    [path] = (lab.home / "configs").iterdir()
    assert load(path).signals[0].params == load(path).signals[0].params | {"fast": 9, "slow": 40}
    board.locator(BOARD).screenshot(path=tmp_path / "clicked.png")

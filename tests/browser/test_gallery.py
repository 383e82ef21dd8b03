"""The page of stored runs as a person meets it: opened from its file with no network, wide and on a phone; searched,
a card clicked, two runs compared. Nothing is asked for beyond the run folders, and no console says an error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flea_lab import runs
from flea_lab.report.by_hand import save
from flea_lab.report.gallery import write_gallery
from flea_lab.report.run_diff import write_diff
from flea_lab.wiring import run_backtest
from flea_lab.workspace import workspace
from tests.browser.conftest import LONG_S
from tests.report.conftest import small_config
from tests.stored import store_market

DRAWN = ".js-plotly-plot .main-svg"
OVER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Shelf(NamedTuple):
    """Two backtests, one that failed, and the page that compares the first two."""

    index: Path
    first: Path
    second: Path
    diff: Path


@pytest.fixture(scope="module")
def shelf(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Real runs on a small market; `browser` comes first, since without one there is nothing to look with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("shelf")))
        store_market(1_440)
        plain = {"signals": [{"kernel": "ema_momentum"}], "data": {"venue": "synthetic"}}
        configs = [
            small_config("BTCUSDT", **plain),
            small_config("BTCUSDT", **plain, name="other", initial_cash_usd=50_000.0),
        ]
        for config in configs:
            save(run_backtest(config))
        runs.fail(runs.begin(workspace(), "third", configs[0].id), "interrupted")
        write_gallery(workspace())
        made = {one.manifest.name: one.folder for one in runs.list_runs(workspace()) if one.manifest}
        diff = write_diff(made["small"], made["other"], workspace())
        yield Shelf(workspace().runs / "index.html", made["small"], made["other"], diff)


class Look(NamedTuple):
    """A page, what it asked for, and what it complained of."""

    page: Any
    asked: list[str]
    errors: list[str]


@pytest.fixture(params=[1280, 390], ids=["wide", "phone"])
def look(request: pytest.FixtureRequest, browser: Any, shelf: Shelf) -> Iterator[Look]:
    width: int = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, has_touch=width < 500, offline=True)
    context.set_default_timeout(LONG_S * 1e3)
    found = Look(context.new_page(), [], [])
    found.page.on("request", lambda asked: found.asked.append(asked.url))
    found.page.on("requestfailed", lambda asked: found.errors.append(f"not had: {asked.url}"))
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
    yield found
    context.close()


def fits(page: Any) -> bool:
    """Whether nothing sticks out to the right."""
    over: int = page.evaluate(OVER)
    return over <= 0


def test_runs_are_searched_opened_and_compared_and_nothing_is_asked_for(look: Look, shelf: Shelf) -> None:
    page = look.page
    page.goto(shelf.index.as_uri())
    card = page.locator(".card:visible")
    assert card.count() == 3 and page.locator("output").inner_text() == "3 of 3" and fits(page)
    assert card.locator("svg").count() == 2 and card.get_by_text("interrupted").count() == 1
    page.locator("select[name=kind]").select_option("backtest")
    assert page.locator("output").inner_text() == "2 of 3" and card.count() == 2
    page.locator("input[name=words]").fill(shelf.second.name)
    assert page.locator("output").inner_text() == "1 of 3"
    card.click()
    page.wait_for_url((shelf.second / "report.html").as_uri())
    page.locator(DRAWN).first.wait_for()
    assert fits(page)

    page.goto(shelf.diff.as_uri())
    page.locator(DRAWN).first.wait_for()
    assert page.locator(".js-line").count() >= 2, "both curves are on one chart"
    assert page.get_by_text("initial_cash_usd", exact=True).count() == 1 and fits(page)
    page.locator(f"a[href*='{shelf.first.name}']").click()
    page.wait_for_url((shelf.first / "report.html").as_uri())  # a picture is drawn on the page before, too
    page.locator(DRAWN).first.wait_for()

    inside = shelf.index.parent.as_uri()
    assert [url for url in look.asked if not url.startswith((f"{inside}/", "data:", "blob:"))] == []
    assert look.errors == []


@pytest.mark.parametrize("look", [1280], indirect=True)
@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("<script>nothing.there()</script>", "nothing is not defined"),
        ("<img src='https://example.org/x.png'>", "https://example.org/x.png"),
    ],
)
def test_an_error_and_a_request_are_seen(look: Look, shelf: Shelf, tmp_path: Path, spoilt: str, said: str) -> None:
    page = tmp_path / "index.html"
    page.write_text(shelf.index.read_text(encoding="utf-8").replace("</body>", f"{spoilt}</body>"), encoding="utf-8")
    look.page.goto(page.as_uri())
    assert any(said in line for line in [*look.errors, *look.asked])

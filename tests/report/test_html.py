"""A page opens without a network: plotly.js once, nothing from elsewhere, and quoted text stays text."""

import os
import re
from pathlib import Path

import plotly
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from flea_lab.errors import WorkspaceError
from flea_lab.report.html import PLOTLY_MIME, plotly_js, shared_plotly, to_html, write_html

EVIL = "</script><script>alert(1)</script>"


def notebook(title: str = "plain"):  # type: ignore[no-untyped-def]
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), layout=dict(title=dict(text=title), height=321)).to_plotly_json()
    shown = new_output("display_data", {PLOTLY_MIME: figure, "text/html": "<b>not this</b>"})
    said = new_output("execute_result", {"text/html": "<p id='said'>said</p>", "text/plain": "not this either"})
    printed = [new_output("stream", name=name, text=f"<{name}> & {EVIL}") for name in ("stdout", "stderr")]
    failed = new_output("error", ename="ValueError", evalue="x", traceback=["\x1b[31mValueError\x1b[0m: <x>"])
    cells = [new_markdown_cell("# A question?"), new_code_cell("a < b", outputs=[said, shown, shown, *printed, failed])]
    return new_notebook(cells=cells)


def test_a_page_has_plotly_once_and_asks_for_nothing_else() -> None:
    page = to_html(notebook(), "a title", "../_assets/plotly.min.js")
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[^>]*>", page) == [
        '<script src="../_assets/plotly.min.js">'
    ]
    assert "http" not in page and len(page) < 30_000
    assert re.search(r'<meta [^>]*content="width=device-width, initial-scale=1"[^>]*name="viewport"', page)
    assert "<title>a title</title>" in page and "prefers-color-scheme: dark" in page and "@media print" in page
    assert 'plotlyServerURL: ""' in page and 'modeBarButtonsToRemove: ["sendChartToCloud"]' in page


def test_each_figure_is_drawn_once_at_its_own_place() -> None:
    page = to_html(notebook(), "a", "x.js")
    places = re.findall(r'<div class="page-figure" id="(figure-\d)" style="min-height:321px">', page)
    assert places == re.findall(r'<script id="(figure-\d)-data" type="application/json">', page)
    assert places == ["figure-1", "figure-2"]
    assert "not this" not in page and '<p id="said">said</p>' in page


def test_quoted_text_stays_text() -> None:
    page = to_html(notebook(EVIL), f"t {EVIL}", "x.js")
    assert "<script>alert(1)" not in page
    assert "&lt;stdout&gt;" in page and "&lt;stderr&gt;" not in page, "progress bars write to stderr"
    assert "a &lt; b" in page and "ValueError: &lt;x&gt;" in page and "\x1b" not in page


def test_a_page_that_stands_alone_holds_plotly_itself(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    page = write_html(notebook(), tmp_path / "run" / "report.html", "a", standalone=True)
    written = page.read_text(encoding="utf-8")
    assert 4_000_000 < len(written) < 6_000_000 and not re.search(r"<script[^>]+src=", written)
    assert written.count("</script>") == 4, "plotly, the data of two figures, the page's own: none inside another"
    assert plotly_js() in written and not (tmp_path / "_assets").exists()


def test_pages_of_one_folder_share_plotly(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        page = write_html(notebook(), tmp_path / name / "report.html", "a")
        assert f'src="../_assets/plotly-{plotly.__version__}.min.js"' in page.read_text(encoding="utf-8")
    [shared] = (tmp_path / "_assets").iterdir()
    assert shared.stat().st_size > 4_000_000
    shared.write_text("cut", encoding="utf-8")
    assert shared_plotly(tmp_path).stat().st_size > 4_000_000, "half a file is replaced"


def test_a_full_disk_leaves_no_half_of_plotly(tmp_path: Path) -> None:
    (tmp_path / "_assets").mkdir()
    (tmp_path / "_assets" / f"plotly-{plotly.__version__}.min.js.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match=r"^plotly.js cannot be put at .*: No space left on device$"):
        shared_plotly(tmp_path)
    assert list((tmp_path / "_assets").iterdir()) == []


def test_assets_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "_assets").write_text("", encoding="utf-8")
    with pytest.raises(
        WorkspaceError, match=r"^plotly.js cannot be put at .*_assets/plotly-.*: (Not a directory|File exists)$"
    ):
        shared_plotly(tmp_path)

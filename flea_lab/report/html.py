"""An executed notebook as one HTML page that opens without a network: plotly.js once, no other request.

plotly.js lies in `_assets` beside the run folders, shared by all, or inside a page that has to stand alone.
"""

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import nbformat
import plotly
from nbconvert import HTMLExporter
from traitlets.config import Config

import flea_lab
from flea_lab import runs
from flea_lab.errors import WorkspaceError
from flea_lab.report.look import NAME, TEMPLATES, page_css, page_js, section_css
from flea_lab.report.pieces import hidden_state

ASSETS = "_assets"
PLOTLY_JS = Path(plotly.__file__).resolve().parent / "package_data" / "plotly.min.js"
PLOTLY_MIME = "application/vnd.plotly.v1+json"
INSIDE = "plotly-inside"
ORDER = (PLOTLY_MIME, "text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain")
"""Of an output that has several forms, the first of these is shown."""


def to_html(notebook: nbformat.NotebookNode, title: str, plotly_src: str | None, marks: Sequence[str] = ()) -> str:
    """`notebook` as a page; `plotly_src` is where plotly.js lies from there, None puts it into the page. `marks` is
    what no second execution would know, said on top."""
    numbers = itertools.count(1)
    look = {
        "title": title,
        "version": flea_lab.__version__,
        "css": f"{section_css()}\n{page_css()}",
        "js": page_js(),
        "plotly_src": plotly_src or INSIDE,
        "marks": hidden_state(marks),
        "place": lambda: f"figure-{next(numbers)}",
    }
    body, _ = _exporter().from_notebook_node(notebook, resources={"flea": look})
    # put in last: nbconvert parses what it has rendered, and 5 MB of script are not for parsing
    return str(body) if plotly_src else _replaced(str(body), f'<script src="{INSIDE}"></script>', plotly_js())


def write_html(
    notebook: nbformat.NotebookNode,
    page: Path,
    title: str,
    *,
    standalone: bool = False,
    marks: Sequence[str] = (),
) -> Path:
    """`page` with `notebook` in it; unless `standalone`, it takes plotly.js from the folder beside its own folder."""
    source = None if standalone else f"../{ASSETS}/{shared_plotly(page.parent.parent).name}"
    return runs.save_text(page.parent, page.name, to_html(notebook, title, source, marks))


def shared_plotly(folder: Path) -> Path:
    """plotly.js of the installed version below `folder`, put there if it is not there yet, whole."""
    file = folder / ASSETS / f"plotly-{plotly.__version__}.min.js"
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        if not file.is_file() or file.stat().st_size != PLOTLY_JS.stat().st_size:
            file.parent.mkdir(exist_ok=True)
            beside.write_bytes(PLOTLY_JS.read_bytes())
            os.replace(beside, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise WorkspaceError(f"plotly.js cannot be put at {file}: {error.strerror or error}") from None
    return file


def _replaced(page: str, element: str, script: str) -> str:
    before, found, after = page.partition(element)
    if not found:
        raise WorkspaceError(f"the page template has no {element}")  # pragma: no cover
    return f"{before}<script>{script}</script>{after}"


def plotly_js() -> str:
    """plotly.js as text that may stand inside a script element."""
    return PLOTLY_JS.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _exporter() -> HTMLExporter:
    config = Config()
    config.HTMLExporter.extra_template_basedirs = [str(TEMPLATES)]
    config.HTMLExporter.template_name = NAME
    config.NbConvertBase.display_data_priority = list(ORDER)
    return HTMLExporter(config=config)

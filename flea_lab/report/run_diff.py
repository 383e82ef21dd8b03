"""Two stored runs side by side: what differs in parameters, data, code and result, as text, and as a page with both
equity curves on one chart."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from msgspec import Struct
from nbformat.v4 import new_code_cell, new_notebook, new_output

from flea_lab import runs
from flea_lab.errors import WorkspaceError
from flea_lab.report.evidence import SHORT, changed_settings
from flea_lab.report.html import PLOTLY_MIME, write_html
from flea_lab.report.look import section_css
from flea_lab.report.wording import plural, table, tag, text
from flea_lab.view.figures import two_curves_figure
from flea_lab.workspace import Workspace

COMPARED = "_compared"
SHOWN = 12
"""Modules that are named before the rest is counted."""
HEAD = ("", "first", "second")


class Part(Struct, frozen=True):
    """One subject, and its rows: what, the first run's, the second's. No rows: no difference."""

    title: str
    rows: list[tuple[str, str, str]]


def run_parts(first: Path, second: Path) -> list[Part]:
    """What differs between two finished runs, subject by subject."""
    one, two = runs.read_manifest(first), runs.read_manifest(second)
    return [
        Part("parameters", [*changed_settings(one.config, two.config), *changed_settings(one.grid, two.grid)]),
        Part("data", _data(one, two)),
        Part("code", _code(one, two)),
        Part("result", _result(one, two)),
    ]


def diff_text(first: Path, second: Path) -> str:
    """`run_parts` for a terminal."""
    lines = [f"first   {first.name}", f"second  {second.name}"]
    for part in run_parts(first, second):
        if not part.rows:
            lines.append(f"{part.title}: the same")
            continue
        lines.append(f"{part.title}:")
        widths = [max(len(row[at]) for row in part.rows) for at in range(2)]
        lines += [f"  {what:<{widths[0]}}  {was:<{widths[1]}}  {now}" for what, was, now in part.rows]
    return "\n".join(lines)


def write_diff(first: Path, second: Path, home: Workspace) -> Path:
    """The page of two runs, below the workspace's runs, whole: the curves where both have one, then what differs."""
    folder = home.ready().runs / COMPARED
    folder.mkdir(exist_ok=True)
    title = f"{first.name} and {second.name}"
    return write_html(_page(first, second), folder / f"{first.name}--{second.name}.html", title)


def _page(first: Path, second: Path) -> nbformat.NotebookNode:
    said = "".join(
        tag("h2", text(part.title).capitalize())
        + (
            table(HEAD, [[text(cell) for cell in row] for row in part.rows], left=3)
            if part.rows
            else "<p>The same.</p>"
        )
        for part in run_parts(first, second)
    )
    links = " and ".join(_link(folder) for folder in (first, second))
    cells: list[dict[str, Any]] = [{"text/html": f"<style>{section_css()}</style>{tag('p', links, 'flea-verdict')}"}]
    curves = [_curve(folder) for folder in (first, second)]
    if curves[0] is not None and curves[1] is not None:
        names = ("first", "second") if first.name == second.name else (first.name, second.name)
        cells.append({PLOTLY_MIME: json.loads(two_curves_figure(curves[0], curves[1], names).to_json())})
    cells.append({"text/html": said})
    return new_notebook(cells=[new_code_cell(outputs=[new_output("display_data", cell)]) for cell in cells])


def _link(folder: Path) -> str:
    pages = [name for name in ("report.html", "sweep.html") if (folder / name).is_file()]
    return tag("a", text(folder.name), href=f"../{folder.name}/{pages[0]}") if pages else text(folder.name)


def _curve(folder: Path) -> pd.DataFrame | None:
    file = folder / "equity.parquet"
    if not file.is_file():
        return None
    try:
        return pd.read_parquet(file, columns=["ts", "equity_usd"])
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(f"{file}: cannot be read ({error})") from None


def _data(one: runs.Manifest, two: runs.Manifest) -> list[tuple[str, str, str]]:
    rows = [("source", one.source, two.source)] if one.source != two.source else []
    named = [{_named(entry, n): entry for n, entry in enumerate(done.data)} for done in (one, two)]
    for name in dict.fromkeys([*named[0], *named[1]]):
        rows += [
            (f"{name} {what}", _short(was), _short(now))
            for what, was, now in changed_settings(named[0].get(name, {}), named[1].get(name, {}))
        ]
    return rows


def _named(entry: dict[str, object], number: int) -> str:
    found = [str(entry[key]) for key in ("venue", "symbol", "interval", "account") if key in entry]
    return " ".join(found) or f"data {number}"


def _code(one: runs.Manifest, two: runs.Manifest) -> list[tuple[str, str, str]]:
    rows = [(f"signal {name}", was, now) for name, was, now in changed_settings(one.kernels, two.kernels)]
    rows += list(changed_settings(one.versions, two.versions))
    rows += [
        (name, str(was), str(now))
        for name, was, now in (
            ("commit", one.code.commit, two.code.commit),
            ("uncommitted changes", one.code.dirty, two.code.dirty),
            ("flea_lab", one.flea_version, two.flea_version),
            ("requirements.lock", one.lock, two.lock),
        )
        if was != now
    ]
    modules = [row for row in changed_settings(one.modules, two.modules) if "not set" not in row[1:]]
    rows += modules[:SHOWN]
    if len(modules) > SHOWN:
        rows.append((f"and {plural(len(modules) - SHOWN, 'more module')}", "", ""))
    if not rows and one.code.digest != two.code.digest:
        rows.append(("package, notebook or signals", one.code.digest, two.code.digest))
    return [(what, _short(was), _short(now)) for what, was, now in rows]


def _result(one: runs.Manifest, two: runs.Manifest) -> list[tuple[str, str, str]]:
    rows = [("decisions", _short(str(one.decisions_digest)), _short(str(two.decisions_digest)))]
    rows += [
        (name, _number(one.metrics.get(name)), _number(two.metrics.get(name)))
        for name in dict.fromkeys([*one.metrics, *two.metrics])
    ]
    return [row for row in rows if row[1] != row[2]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _short(value: str) -> str:
    return value[:SHORT] if len(value) in (40, 64) and set(value) <= set("0123456789abcdef") else value

"""A sweep as a run folder: the table, a heat map page, the manifest. Interrupted, its finished chunks are kept."""

import json
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from nbformat.v4 import new_code_cell, new_notebook, new_output

from flea_lab import runs
from flea_lab.backtest.metrics import METRICS, UNITS
from flea_lab.backtest.sweep import SweepResult, plan, sweep
from flea_lab.clock import Clock, WallClock
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, FleaError, WorkspaceError
from flea_lab.report.cell_file import CELLS, CellFile, write_cells
from flea_lab.report.gallery import refresh_gallery
from flea_lab.report.html import PLOTLY_MIME, write_html
from flea_lab.report.look import section_css
from flea_lab.report.wording import number, percent, plural, table, tag, text
from flea_lab.research.search import Search, choose, kept_search, load_ranges, plain_ranges
from flea_lab.view.figures import heatmap
from flea_lab.view.theme import BLUE, styled
from flea_lab.wiring import Loaded, load_market
from flea_lab.workspace import workspace

PAGE = "sweep.html"
SHOWN = ("total_return", "sharpe", "max_drawdown", "fills", "fees_usd")
SHARES = ("total_return", "annual_return", "volatility", "max_drawdown", "exposure", "win_rate")
UNFINISHED = ".unfinished"


class Asked(NamedTuple):
    """What a sweep was told beside its config."""

    metric: str
    grid: dict[str, Any]
    search: Search | None

    @property
    def options(self) -> dict[str, Any]:
        """As the manifest keeps it: `search_of` reads it again."""
        if self.search is None:
            return {"metric": self.metric}
        return {"metric": self.metric, "search": asdict(self.search)}


def search_of(manifest: runs.Manifest) -> Search | None:
    """How the points of a stored sweep were chosen; None where its grid names them all."""
    told = manifest.options.get("search")
    return Search(**told) if told else None


def run_sweep(
    config: RunConfig,
    grid: Mapping[str, Any],
    *,
    metric: str = "sharpe",
    progress: bool | None = None,
    standalone: bool = False,
    with_page: bool = True,
    clock: Clock | None = None,
    search: Search | None = None,
    client: Any = None,
) -> tuple[Path, SweepResult]:
    """The finished run folder of a sweep and its result; of the points that `search` chooses from `grid`, if given.

    With the `client` of a Dask cluster its workers fold the chunks.
    What was folded before an interrupt lies in the workspace and is not folded again; it goes when the sweep ends.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r} is unknown, known are {', '.join(METRICS)}")
    clock = clock or WallClock()
    started, loaded, unfinished = clock.now_ns(), load_market(config), workspace().runs / UNFINISHED
    cells = plan(config, grid) if search is None else choose(config, grid, loaded.market, search, resume=unfinished)
    asked = Asked(metric, dict(grid) if search is None else plain_ranges(load_ranges(grid, "grid")), search)
    partial = runs.begin(workspace(), config.name, config.id)
    try:
        shown = sys.stderr.isatty() if progress is None else progress
        found = sweep(config, grid, loaded.market, progress=shown, resume=unfinished, cells=cells, client=client)
        manifest = _save(partial, found, loaded, asked, started, clock)
        if with_page:
            shown_page, title = page(found, loaded, metric, search), f"{config.name}: sweep"
            write_html(shown_page, partial / PAGE, title, standalone=standalone, marks=manifest.hidden)
        folder = runs.finish(partial, manifest)
        kept, found = found.kept, found.read_from(CellFile(folder / CELLS))
    except KeyboardInterrupt:
        runs.fail(partial, "interrupted; its finished chunks are kept, run the same command again")
        raise
    except FleaError as error:
        runs.fail(partial, str(error), traceback.format_exc())
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        line = f"sweep {config.name}: {workspace().runs}: {reason[0].lower()}{reason[1:]}"
        runs.fail(partial, line, traceback.format_exc())
        raise WorkspaceError(line) from None
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    if search is not None and search.how == "bayes":
        told = kept_search(unfinished, config, load_ranges(grid, "grid"), loaded.market, search)
        shutil.rmtree(told, ignore_errors=True)
    if with_page:
        refresh_gallery(workspace())
    return folder, found


def _save(partial: Path, found: SweepResult, loaded: Loaded, asked: Asked, started: int, clock: Clock) -> runs.Manifest:
    config, metric = found.config, asked.metric
    runs.save_text(partial, "config.toml", runs.to_toml(config.to_dict()))
    runs.save_text(partial, "grid.toml", runs.to_toml(asked.grid))
    write_cells(found, partial / CELLS)
    if found.n_refused:
        runs.save_frames(partial, {"refused": found.refused})
    known = not np.isnan(found.column(metric)).all()
    chosen = (
        {name: float(value) for name, value in found.top(metric, 1).iloc[0][list(METRICS)].items()} if known else {}
    )
    return runs.Manifest(
        kind="sweep",
        name=config.name,
        config=config.to_dict(),
        config_id=config.id,
        source=loaded.source,
        synthetic=loaded.synthetic,
        data=loaded.data,
        code=runs.code_state(config),
        versions=runs.versions(),
        started=runs.iso_utc(started),
        finished=runs.iso_utc(clock.now_ns()),
        metrics=runs.defined(chosen),
        result_digest=runs.numbers_digest({}, None, _numbers(found)),
        grid=asked.grid,
        options=asked.options,
        modules=runs.loaded_modules(),
        kernels=runs.kernels_of(config),
        lock=runs.lock_digest(),
        hidden=runs.hidden_state(config),
    )


def _numbers(found: SweepResult) -> Iterator[tuple[str, pd.Series]]:
    """The numbers of the table, column by column."""
    for name in (*found.grid, *METRICS):
        column = found.picture(name)[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            yield name, column


def page(found: SweepResult, loaded: Loaded, metric: str, search: Search | None = None) -> nbformat.NotebookNode:
    """The sweep's page as a notebook of outputs: verdict, picture, the best cells, what was refused, how to go on."""
    pieces: list[str | go.Figure] = [_verdict(found, loaded, metric)]
    picture = _picture(found, metric)
    if picture is not None:
        pieces += [tag("h2", f"{text(_words(metric)).capitalize()} over the grid"), picture]
    pieces += [tag("h2", "Best cells"), _table(found, metric)]
    if found.n_refused:
        rows = [(text(_point(found, row)), text(row["reason"])) for row in found.plan.refused[:20]]
        heading = tag("h2", f"Refused: {plural(found.n_refused, 'point')}")
        pieces += [heading, table(("point", "reason"), rows, left=2)]
    how = tag("pre", tag("code", f"flea sweep config.toml --grid grid.toml{_words_of(search)}"), "flea-command")
    pieces += [tag("h2", "How to reproduce"), f"<p>In the run folder, with the same data:</p>{how}"]
    return new_notebook(cells=[new_code_cell(outputs=[_output(piece)]) for piece in pieces])


def table_text(found: SweepResult, metric: str, rows: int) -> str:
    """The best cells as plain text for a terminal."""
    best = found.top(metric, rows)
    columns = [*found.grid, *dict.fromkeys((metric, *SHOWN))]
    words = best[columns].to_string(index=False, float_format=lambda value: f"{value:.4g}")
    refused = f", {plural(found.n_refused, 'point')} refused" if found.n_refused else ""
    tried = f"{plural(found.tried, 'combination')} tried on this data so far" if found.tried else "nothing counted"
    return f"{words}\n{plural(found.n, 'cell')}{refused}; sorted by {metric}; {tried}"


def _verdict(found: SweepResult, loaded: Loaded, metric: str) -> str:
    config, of_all = found.config, found.column(metric)
    values = of_all[~np.isnan(of_all)]
    name = _words(metric)
    if len(values) == 0:
        said = f"<strong>{text(name)} is not defined in any cell</strong>: nothing traded."
    else:
        best, middle = _point(found, found.best(metric)), float(np.median(values))
        said = (
            f"<strong>The highest {text(name)} is {_value(metric, values.max())}</strong>, at {text(best)}; "
            f"the median cell has {_value(metric, middle)}, the lowest {_value(metric, values.min())}."
        )
    gained = int((found.column("total_return") > 0).sum())
    more = (
        f"{gained or 'None'} of the {plural(found.n, 'cell')} made money after costs. The best of many is lucky: "
        "look for a plateau, not for a peak, and test it on data it has not seen."
    )
    label = f"synthetic data: {loaded.source}" if loaded.synthetic else f"recorded data: {loaded.source}"
    badges = [
        plural(found.n, "cell"),
        *_tried(found),
        f"all trade from bar {found.start:,}",
        f"config {config.id[:10]}",
    ]
    source = tag("span", text(label), "flea-badge flea-warn" if loaded.synthetic else "flea-badge")
    shown = source + "".join(tag("span", text(badge), "flea-badge") for badge in badges)
    title = tag("div", tag("span", text(config.name), "flea-name") + tag("span", "sweep", "flea-span"), "flea-title")
    body = title + tag("p", said, "flea-verdict") + tag("p", more, "flea-more") + tag("div", shown, "flea-badges")
    return f"<style>{section_css()}</style>" + tag("section", body, "flea-top")


def _words_of(search: Search | None) -> str:
    if search is None:
        return ""
    return f" --search {search.how} --trials {search.trials} --seed {search.seed} --metric {search.metric}"


def _tried(found: SweepResult) -> list[str]:
    """How many were ever tried on such data: what the best of them has to be measured against."""
    return [f"{plural(found.tried, 'combination')} tried on this data so far"] if found.tried else []


def _picture(found: SweepResult, metric: str) -> go.Figure | None:
    axes = [name for name, values in found.grid.items() if len(values) > 1]
    if len(axes) >= 2 and found.plan.space.listed is not None:
        return _cloud(found, axes[1], axes[0], metric)
    if len(axes) >= 2:
        return heatmap(found.picture(axes[1], axes[0], metric), axes[1], axes[0], metric)
    if not axes:
        return None
    drawn = found.picture(axes[0], metric)
    line = go.Scatter(x=drawn[axes[0]], y=drawn[metric], mode="lines+markers", line=dict(color=BLUE))
    figure = styled(go.Figure(line), height=340, y=metric.replace("_", " "), legend=False)
    figure.update_xaxes(title=dict(text=axes[0], font=dict(size=12)))
    return figure


def _cloud(found: SweepResult, x: str, y: str, metric: str) -> go.Figure:
    """Points that a search chose, by two of their settings: the higher the metric, the brighter."""
    drawn = found.picture(x, y, metric)
    title = dict(text=metric.replace("_", " "), side="top")
    look = dict(color=drawn[metric], colorscale="Viridis", size=7, colorbar=dict(title=title, thickness=12))
    hover = f"{x} %{{x}}<br>{y} %{{y}}<br>{metric} %{{marker.color:.4~g}}<extra></extra>"
    points = go.Scattergl(x=drawn[x], y=drawn[y], mode="markers", marker=look, hovertemplate=hover)
    figure = styled(go.Figure(points), height=420, y=y, legend=False)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title=dict(text=x, font=dict(size=12)))
    return figure


def _table(found: SweepResult, metric: str) -> str:
    names = list(dict.fromkeys((metric, *SHOWN)))
    best = found.top(metric, 15)
    head = [*(text(_words(name)) for name in names), *(tag("code", text(name)) for name in found.grid)]
    rows = [
        [*(_value(name, row[name]) for name in names), *(text(_plain(row[name])) for name in found.grid)]
        for row in best.to_dict("records")
    ]
    units = "; ".join(f"{text(_words(name))}: {text(UNITS.get(name, 'count'))}" for name in names)
    return table(head, rows, left=0) + tag("p", units, "flea-note")


def _words(metric: str) -> str:
    return metric.removesuffix("_usd").replace("_", " ")


def _value(metric: str, value: float) -> str:
    if pd.isna(value):
        return "not defined"
    return percent(value) if metric in SHARES else number(value, 0 if metric in ("fills", "round_trips") else 2)


def _point(found: SweepResult, row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(row[name])}" for name in found.grid)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _output(piece: str | go.Figure) -> nbformat.NotebookNode:
    if isinstance(piece, str):
        return new_output("display_data", {"text/html": piece})
    return new_output("display_data", {PLOTLY_MIME: json.loads(piece.to_json())})

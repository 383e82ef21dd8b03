"""A walk-forward as the pieces of its report: what was chosen when, what it promised, and what it then did."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML
from msgspec import Meta

from flea_lab import runs
from flea_lab.config import RunConfig, from_dict
from flea_lab.report import pieces
from flea_lab.report.look import section_css
from flea_lab.report.pieces import badge, code_badge, commit_of, digests, made, note, tile
from flea_lab.report.record import Record, store
from flea_lab.report.wording import UNDEFINED, day, number, percent, plural, table, tag, text, usd
from flea_lab.research.walkforward import Choice, WalkForward, walk_forward
from flea_lab.settings import Settings, load_settings
from flea_lab.view import walk_figures
from flea_lab.wiring import Loaded, demo_config, load_market

Days = Annotated[float, Meta(gt=0.0, le=3_660.0, description="days")]
DEMO_GRID = {"ema_momentum.fast": [5, 9, 14], "rsi_reversion.period": [7, 14, 21]}
DEMO_DAYS = 10
GRID = "grid.toml"


class Walk(Settings, frozen=True, kw_only=True):
    """What a walk-forward report is made of: a configuration, a grid, and how to walk."""

    config: dict[str, Any]
    grid: dict[str, Any]
    train_days: Days = 30.0
    test_days: Days = 7.0
    anchored: bool = False
    metric: str = "sharpe"
    choose: Choice = "best"

    @property
    def command(self) -> str:
        """The command that walks so again, in the run's folder."""
        words = f"flea walkforward config.toml --grid {GRID} --train-days {self.train_days:g}"
        words += f" --test-days {self.test_days:g} --metric {self.metric} --choose {self.choose}"
        return words + (" --anchored" if self.anchored else "")


@dataclass(frozen=True)
class Walked:
    """A walk-forward with what its report says of it."""

    walk: Walk
    found: WalkForward
    loaded: Loaded
    code: runs.CodeState


def load_walk(parameters: Mapping[str, Any]) -> Walk:
    """The walk that a report's parameters state; with none, a small one over the demo's market."""
    if parameters:
        return load_settings(dict(parameters), Walk, "the walk-forward's parameters")
    config = demo_config(days=DEMO_DAYS).to_dict()
    return Walk(config=config, grid=DEMO_GRID, train_days=4.0, test_days=2.0)


def look(parameters: Mapping[str, Any]) -> Walked:
    """Walks as `parameters` say; see `Walk` and `research.walkforward.walk_forward`."""
    walk = load_walk(parameters)
    config = from_dict(walk.config, "the walk-forward's config")
    loaded = load_market(config)
    found = walk_forward(
        config,
        walk.grid,
        loaded.market,
        train_days=walk.train_days,
        test_days=walk.test_days,
        anchored=walk.anchored,
        metric=walk.metric,
        choose=walk.choose,
    )
    notebook = runs.WALK_NOTEBOOK
    return Walked(walk, found, loaded, runs.code_state(config, notebook if notebook.is_file() else None))


def verdict(walked: Walked) -> HTML:
    """What was kept of what the choices promised, over the badges that say how far it can be believed."""
    found, config = walked.found, walked.found.config
    first, last = (int(found.windows[name].iloc[at]) for name, at in (("test_from", 0), ("test_to", -1)))
    line = f"{', '.join(config.symbols)} · {config.interval} bars · walked {day(first)} to {day(last)}"
    title = tag("div", tag("span", text(config.name), "flea-name") + tag("span", text(line), "flea-span"), "flea-title")
    said = tag("p", _headline(found), "flea-verdict") + tag("p", " ".join(_sentences(found)), "flea-more")
    return HTML(f"<style>{section_css()}</style>" + tag("section", title + said + _badges(walked), "flea-top"))


def headline(walked: Walked) -> HTML:
    """Six numbers of what was traded out of sample, beside the config's own values."""
    found = walked.found
    walk, own, windows = found.metrics, found.own, found.windows
    gained = int((windows["out_return"] > 0).sum())
    tiles = [
        tile("Return, walked", percent(walk["total_return"]), f"own values {percent(own['total_return'])}"),
        tile("Deepest drawdown", percent(walk["max_drawdown"]), f"own values {percent(own['max_drawdown'])}"),
        tile("Sharpe, annual", number(walk["sharpe"]), f"own values {number(own['sharpe'])}"),
        tile("Efficiency", number(found.efficiency), "annual return kept of that promised"),
        tile("Windows that gained", f"{gained} of {len(windows)}", f"{number(windows['fills'].sum(), 0)} fills"),
        tile("Choices tried", f"{found.evaluated:,}", "cells folded in all"),
    ]
    return HTML(tag("div", "".join(tiles), "flea-tiles"))


def equity(walked: Walked) -> go.Figure:
    """The joined curve of what was chosen beside that of the config's own values."""
    return walk_figures.walk_figure(walked.found.equity, walked.found.windows)


def promised(walked: Walked) -> go.Figure:
    """By window, the metric on what was chosen on and on what came after."""
    return walk_figures.promised_figure(walked.found.windows, walked.found.metric)


def choices(walked: Walked) -> go.Figure:
    """Every parameter as it was chosen, window by window."""
    return walk_figures.choices_figure(walked.found.windows, walked.found.grid)


def windows(walked: Walked) -> HTML:
    """A row a window: when, what was chosen, what it promised and did."""
    found = walked.found
    rows = [
        (
            day(int(row["test_from"])),
            *(text(_plain(row[name])) if row["chosen"] else UNDEFINED for name in found.grid),
            number(row["in_sample"]),
            number(row["out_of_sample"]),
            percent(row["out_return"]),
            percent(row["own_return"]),
            number(row["fills"], 0),
        )
        for row in found.windows.to_dict("records")
    ]
    metric = text(found.metric.replace("_", " "))
    names = [tag("code", text(name)) for name in found.grid]
    head = ("traded from", *names, f"{metric} before", f"{metric} after", "return", "own values", "fills")
    none = int((~found.windows["chosen"]).sum())
    said = f" On {plural(none, 'window')} nothing could be chosen: the config's own values were traded." if none else ""
    how = "the cell whose neighbours are best" if found.choose == "plateau" else "the best cell"
    return HTML(table(head, rows) + note(f"Chosen was {how} by {metric} on the bars before; it never saw these.{said}"))


def stability(walked: Walked) -> HTML:
    """How often each value was chosen: one that changes at every turn was fitted to noise."""
    rows = []
    for name in walked.found.grid:
        counts = walked.found.windows.loc[walked.found.windows["chosen"], name].value_counts()
        if counts.empty:
            continue
        most, times = counts.index[0], int(counts.iloc[0])
        share = times / int(counts.sum())
        rows.append((tag("code", text(name)), text(_plain(most)), f"{share:.0%}", f"{len(counts)}"))
    return HTML(table(("parameter", "chosen most", "of the windows", "different values"), rows))


def parameters(walked: Walked) -> HTML:
    """Every setting of the configuration, defaults written out."""
    return HTML(pieces.settings(walked.found.config))


def reproduce(walked: Walked) -> HTML:
    """The command that makes this report again, and every digest it depends on."""
    found, code = walked.found, walked.code
    rows = [("configuration id", found.config.id), ("decisions", found.digest), ("code", code.digest)]
    rows += [("commit", commit_of(code))] if code.commit else []
    rows += [
        (f"{part['symbol']} {part['interval']} {month}", digest)
        for part in walked.loaded.data
        for month, digest in part["partitions"].items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in runs.versions().items())
    command = tag("pre", tag("code", text(walked.walk.command)), "flea-command")
    return HTML(f"<p>In the run folder, with the same data:</p>{command}{digests(rows)}{note(text(versions))}")


def record_of(walked: Walked) -> Record:
    """The record of a walk."""
    found, loaded = walked.found, walked.loaded
    efficiency = {"efficiency": found.efficiency, "windows": float(len(found.windows))}
    metrics = {**found.metrics, **efficiency, "evaluated": float(found.evaluated)}
    return Record(
        config_id=found.config.id,
        source=loaded.source,
        synthetic=loaded.synthetic,
        seed=None,
        data=loaded.data,
        code=walked.code,
        metrics=runs.defined(metrics),
        decisions_digest=found.digest,
        result_digest=runs.result_digest(metrics, found.digest, found.equity[["ts", "walked_usd"]]),
    )


def keep(walked: Walked) -> HTML:
    """Stores the walk's frames in the folder of the run that executes this notebook, if one does."""
    found = walked.found
    frames: dict[str, pd.DataFrame] = {"windows": found.windows, "equity": found.equity}
    texts = {GRID: runs.to_toml(found.grid)}
    return store(record_of(walked), frames, "flea walkforward CONFIG --grid GRID", texts)


def run_values(config: RunConfig, walk: Walk) -> dict[str, Any]:
    """The notebook's one parameter."""
    values = {name: getattr(walk, name) for name in walk.__struct_fields__}
    return {**values, "config": config.to_dict()}


def _headline(found: WalkForward) -> str:
    first, last = found.equity["walked_usd"].iloc[[0, -1]]
    cash = found.config.initial_cash_usd
    return (
        f"<strong>Chosen before and traded after, it {made(found.metrics['total_return'])}</strong>: "
        f"{usd(cash)} became {usd(float(last))} over {plural(len(found.windows), 'window')}."
        if math.isfinite(first)
        else "<strong>Nothing was traded.</strong>"
    )


def _sentences(found: WalkForward) -> list[str]:
    windows = found.windows
    better = int((windows["out_return"] > windows["own_return"]).sum())
    said = [
        f"The choices beat the configuration's own values on {better} of {len(windows)} windows "
        f"({percent(found.metrics['total_return'])} against {percent(found.own['total_return'])})."
    ]
    if math.isfinite(found.efficiency):
        said.append(f"Of the annual return that the choices promised, {number(found.efficiency)} was kept.")
    else:
        said.append("What was chosen lost money already on the bars it was chosen on.")
    said.append(
        f"{found.evaluated:,} cells were tried. A window begins flat; what is held at its end is valued there, "
        "and leaving it costs nothing here."
    )
    return said


def _badges(walked: Walked) -> str:
    loaded, found = walked.loaded, walked.found
    kind = "synthetic data" if loaded.synthetic else "recorded data"
    shown = [
        badge(f"{kind}: {loaded.source}", "warn" if loaded.synthetic else "plain", "where the candles come from"),
        badge("chosen out of sample", "good", "no choice saw a bar that it is judged on"),
        badge("anchored" if walked.walk.anchored else "rolling", "plain", "where the bars of a choice begin"),
        badge(*code_badge(walked.code)),
        badge(f"config {found.config.id[:10]}", "plain", found.config.id),
    ]
    return tag("div", "".join(shown), "flea-badges")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)

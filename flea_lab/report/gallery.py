"""Every stored run on one page, `runs/index.html`: a picture, what it came to, what is to be said against it.

The page stands alone: styles, script and pictures are in it, and it asks for nothing. It is written anew after every
report; pictures of runs that have one are kept in `_thumbnails` and not drawn again.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from flea_lab import runs
from flea_lab.errors import WorkspaceError
from flea_lab.report.look import gallery_css, gallery_js, page_css, section_css
from flea_lab.report.pieces import badge
from flea_lab.report.shelf import Stored, shelf
from flea_lab.report.thumbnail import thumbnail
from flea_lab.report.wording import number, percent, plural, tag, text
from flea_lab.workspace import Workspace, write_whole

INDEX = "index.html"
THUMBNAILS = "_thumbnails"
MOST = 200
"""Runs that are shown, the newest; more would make the page heavy."""
PAGES = ("report.html", "sweep.html")


def write_gallery(home: Workspace) -> Path:
    """The page of all runs of `home`, whole or not at all; `WorkspaceError` where the disk refuses."""
    file = home.ready().runs / INDEX
    beside = file.with_name(f".{INDEX}.{os.getpid()}")
    try:
        write_whole(beside, gallery(home).encode())
        os.replace(beside, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise WorkspaceError(f"{file}: {error.strerror or error}") from None
    return file


def refresh_gallery(home: Workspace) -> None:
    """Writes the page where the disk lets it: the run that was just stored is whole without it."""
    with contextlib.suppress(WorkspaceError):
        write_gallery(home)


def gallery(home: Workspace) -> str:
    """The page as text."""
    found = shelf(home)
    shown = found[:MOST]
    kinds = sorted({one.done.kind for one in shown if one.done})
    cards = "".join(_card(one, at) for at, one in enumerate(shown))
    failed = sum(one.run.state == "failed" for one in found)
    said = plural(len(found), "run") + (f", {failed} failed" if failed else "")
    more = f"<p>The newest {MOST}; <code>flea runs</code> lists all.</p>" if len(found) > MOST else ""
    body = f"<header><strong>Runs</strong><span>{said}</span><output></output></header>{_form(kinds)}{more}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Runs</title>'
        f"<style>{section_css()}\n{page_css()}\n{gallery_css()}</style></head><body><main>{body}"
        f'<div class="cards">{cards}</div></main><script>{gallery_js()}</script></body></html>\n'
    )


def _form(kinds: Sequence[str]) -> str:
    chosen = "".join(f'<option value="{text(kind)}">{text(kind)}</option>' for kind in kinds)
    return (
        '<form><input name="words" type="search" placeholder="name, data, config" aria-label="search">'
        f'<select name="kind" aria-label="kind"><option value="">every kind</option>{chosen}</select>'
        '<select name="order" aria-label="order"><option value="when">newest first</option>'
        '<option value="total">highest return</option><option value="sharpe">highest Sharpe</option></select>'
        '<label><input name="promoted" type="checkbox" value="1">promoted</label></form>'
    )


def _card(one: Stored, at: int) -> str:
    done, folder = one.done, one.run.folder
    if done is None:
        words = f"{tag('h2', text(folder.name))}<p>{text(one.run.why)}</p>"
        marks = tag("div", badge(one.run.state, "plain" if one.run.state == "running" else "warn", ""), "flea-badges")
        return tag("article", words + marks, "card", **_data(at, folder.name.lower()))
    total, sharpe = done.metrics.get("total_return"), done.metrics.get("sharpe")
    numbers = tag("p", f"<span>{percent(total)}</span><span>Sharpe {number(sharpe)}</span>", "numbers")
    when = done.finished.replace("T", " ").removesuffix("Z")
    inside = (
        tag("h2", text(done.name))
        + tag("p", f"{text(done.kind)} · {text(when)} UTC")
        + (_picture(folder) or '<div class="none"></div>')
        + numbers
        + tag("p", text(done.source))
        + tag("div", _badges(one, done), "flea-badges")
    )
    words = " ".join((folder.name, done.kind, done.source, done.config_id, *one.promoted)).lower()
    given = _data(at, words, kind=done.kind, promoted=" ".join(one.promoted))
    given |= {
        name: "" if value is None else str(value) for name, value in (("data-total", total), ("data-sharpe", sharpe))
    }
    page = next((name for name in PAGES if (folder / name).is_file()), None)
    return tag("a" if page else "article", inside, "card", **given, href=f"{folder.name}/{page}" if page else "")


def _badges(one: Stored, done: runs.Manifest) -> str:
    found = [badge(f"promoted as {name}", "good", "this run may trade") for name in one.promoted]
    if done.synthetic:
        found.append(badge("synthetic data", "warn", done.source))
    if done.hidden:
        found.append(badge("hidden state", "warn", "; ".join(done.hidden)))
    if done.code.dirty:
        found.append(badge("uncommitted code", "warn", "flea_lab or notebooks differed from the commit"))
    return "".join(found)


def _data(at: int, words: str, *, kind: str = "", promoted: str = "") -> dict[str, str]:
    given = {"data-at": str(at), "data-words": words, "data-kind": kind, "data-promoted": promoted}
    return {name: value for name, value in given.items() if value}


def _picture(folder: Path) -> str:
    """The run's picture, drawn once: a finished run does not change."""
    file = folder.parent / THUMBNAILS / f"{folder.name}.svg"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if file.stat().st_mtime_ns >= (folder / runs.MANIFEST).stat().st_mtime_ns:
            return file.read_text(encoding="utf-8")
    drawn = thumbnail(folder)
    with contextlib.suppress(OSError):  # it will be drawn again
        file.parent.mkdir(exist_ok=True)
        write_whole(file, drawn.encode())
    return drawn

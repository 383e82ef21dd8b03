"""The files that give a report its look: styles, script and page template, as package data."""

from functools import cache
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"
NAME = "flea"


@cache
def section_css() -> str:
    """The style of the sections alone, for pages that have no other."""
    return _read("sections.css")


@cache
def page_css() -> str:
    """The style of a report's page."""
    return _read("page.css")


@cache
def page_js() -> str:
    """The script of a report's page: draws its figures, follows dark mode, shows and hides the code."""
    return _read("page.js")


@cache
def gallery_css() -> str:
    """The style of the page of all runs, beside those of sections and pages."""
    return _read("gallery.css")


@cache
def gallery_js() -> str:
    """The script of the page of all runs: it chooses and sorts what is there already."""
    return _read("gallery.js")


def _read(name: str) -> str:
    return (TEMPLATES / NAME / name).read_text(encoding="utf-8")

"""Numbers, times and tables as a report writes them, in HTML. Everything that comes from outside is escaped."""

import html
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

MINUS = "\u2212"
UNDEFINED = "\u2013"
NBSP = "\u00a0"


def percent(share: float | None, digits: int = 2) -> str:
    r"""A share of 1 in percent with its sign; an en dash where it is not defined.

    >>> percent(0.1234), percent(-0.5, 0), percent(float("nan"))
    ('+12.34\xa0%', '−50\xa0%', '–')
    """
    if share is None or not math.isfinite(share):
        return UNDEFINED
    rounded = round(100.0 * share, digits) + 0.0
    return f"{MINUS if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):,.{digits}f}{NBSP}%"


def size(share: float, digits: int = 1) -> str:
    r"""A share of 1 in percent without its sign, for sentences that say gain or loss themselves."""
    return f"{abs(100.0 * share):,.{digits}f}{NBSP}%" if math.isfinite(share) else UNDEFINED


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands apart and a true minus; an en dash where it is not defined.

    >>> number(-1234.5), number(12.0, 0)
    ('−1,234.50', '12')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    rounded = round(value, digits) + 0.0
    return f"{MINUS if rounded < 0 else ''}{abs(rounded):,.{digits}f}"


def usd(value: float) -> str:
    """Whole dollars: ``1,234 USD``."""
    return f"{number(value, 0)}{NBSP}USD"


def day(ms: int) -> str:
    """A day as ``4 May 2025``."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment.day} {moment:%b %Y}"


def minute(ms: int) -> str:
    """A time to the minute, as ``2025-05-04 15:33 UTC``."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def plural(count: float, one: str, many: str = "") -> str:
    """A count with its noun: ``1 fill``, ``2,000 fills``."""
    return f"{count:,.0f} {one if round(count) == 1 else many or one + 's'}"


def tag(name: str, content: str, css: str = "", **attributes: str) -> str:
    """An element around `content`, which is HTML already."""
    given = {"class": css, **attributes}
    words = "".join(f' {key}="{html.escape(value)}"' for key, value in given.items() if value)
    return f"<{name}{words}>{content}</{name}>"


def text(value: Any) -> str:
    """`value` as text, escaped."""
    return html.escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, css: str = "") -> str:
    """A table whose cells are HTML already; the first `left` columns are words, the others numbers. It scrolls."""
    sides = [*("flea-left" for _ in range(left)), *("" for _ in head[left:])]
    top = "".join(tag("th", cell, side, scope="col") for cell, side in zip(head, sides, strict=True))
    body = "".join(
        tag("tr", "".join(tag("td", cell, side) for cell, side in zip(row, sides, strict=True))) for row in rows
    )
    whole = tag("table", tag("thead", tag("tr", top)) + tag("tbody", body), f"flea-table {css}".strip())
    return tag("div", whole, "flea-scroll", tabindex="0")

"""What a kernel has executed, held against the notebook's file: cells out of order, twice, edited, gone, left out.

A cell is known by the id that the front end gives it, where it does, else by its source. Cells below the last executed
one do not matter. Nothing to say means: the cells of the file, from the first on, each once, in order, as they stand.
"""

import ast
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flea_lab.runs.notebook import read_cells, source_of_cell

ALIKE = 0.6
"""Two sources more alike than this are one cell, before and after an edit."""
SHOWN = 60
MAGICS = ("run_cell_magic", "run_line_magic")


class Ran(NamedTuple):
    """One execution that got a number: the source as typed, the cell's id where it is known, the error's name."""

    number: int
    source: str
    cell: str | None = None
    failed: str = ""


class Cell(NamedTuple):
    """One code cell of a file."""

    source: str
    cell: str | None = None


def code_cells(file: Path) -> list[Cell]:
    """The code cells of `file` that hold anything; `WorkspaceError` where it is no notebook."""
    return [
        Cell(source_of_cell(cell), cell.get("id"))
        for cell in read_cells(file)
        if cell["cell_type"] == "code" and source_of_cell(cell).strip()
    ]


def against_file(ran: Sequence[Ran], cells: Sequence[Cell]) -> list[str]:
    """A line for everything that was executed otherwise than the file says, from its first cell to the last executed.

    >>> against_file([Ran(1, "a = 1"), Ran(2, "a += 1"), Ran(3, "a += 1")], [Cell("a = 1"), Cell("a += 1")])
    ['cell twice: In [2], In [3] are one cell: a += 1']
    """
    ran = [one for one in ran if one.source.strip()]
    places = _places(ran, cells)
    lines = []
    for one, place in zip(ran, places, strict=True):
        if place is None:
            lines.append(f"cell gone: In [{one.number}] is not in the notebook any more: {_short(one.source)}")
    by_place: dict[int, list[Ran]] = {}
    for one, place in zip(ran, places, strict=True):
        if place is not None:
            by_place.setdefault(place, []).append(one)
    for place, times in sorted(by_place.items()):
        last = times[-1]
        if len(times) > 1:
            numbers = ", ".join(f"In [{one.number}]" for one in times)
            lines.append(f"cell twice: {numbers} are one cell: {_short(last.source)}")
        if _bare(last.source) != _bare(cells[place].source):
            said = f"{_short(last.source)}; now: {_short(cells[place].source)}"
            lines.append(f"cell edited: In [{last.number}] was executed as: {said}")
    lines += _disorder(ran, places)
    end = max((place for place in places if place is not None), default=-1)
    for place in range(end):
        if place not in by_place:
            lines.append(f"cell left out: above, and never executed: {_short(cells[place].source)}")
    return lines


def defined_names(sources: Iterable[str]) -> set[str]:
    """Names that executing `sources`, as Python, can have bound in the notebook."""
    names: set[str] = set()
    for source in sources:
        names.update(_bound(source))
    return names


def _places(ran: Sequence[Ran], cells: Sequence[Cell]) -> list[int | None]:
    """Where each executed cell stands in the file, None where it does not."""
    ids = {str(cell.cell): place for place, cell in enumerate(cells) if cell.cell is not None}
    known = [one.cell is not None and bool(ids) for one in ran]
    places = [ids.get(str(one.cell)) if known[at] else None for at, one in enumerate(ran)]
    taken = {place for place in places if place is not None}
    for at, one in enumerate(ran):
        if known[at]:
            continue
        same = [place for place, cell in enumerate(cells) if _bare(cell.source) == _bare(one.source)]
        free = [place for place in same if place not in taken]
        past = max((place for place in places[:at] if place is not None), default=-1)
        places[at] = next((place for place in free if place > past), next(iter(free or same), None))
        taken |= {place for place in (places[at],) if place is not None}
    for at, one in enumerate(ran):
        if places[at] is None and not known[at]:
            places[at] = _likeliest(one, cells, taken)
            taken |= {place for place in (places[at],) if place is not None}
    return places


def _likeliest(one: Ran, cells: Sequence[Cell], taken: set[int]) -> int | None:
    found = [
        (difflib.SequenceMatcher(None, one.source, cell.source, autojunk=False).ratio(), -place)
        for place, cell in enumerate(cells)
        if place not in taken
    ]
    alike, place = max(found, default=(0.0, 0))
    return -place if alike >= ALIKE else None


def _disorder(ran: Sequence[Ran], places: Sequence[int | None]) -> Iterator[str]:
    highest, before = -1, 0
    for one, place in zip(ran, places, strict=True):
        if place is None:
            continue
        if place < highest:
            yield f"cell order: In [{one.number}] stands above In [{before}]"
        else:
            highest, before = place, one.number


def _bound(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAGICS:
            yield from _by_magic(node)


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    for alias in node.names:
        if alias.name == "*" and isinstance(node, ast.ImportFrom):
            module = sys.modules.get(node.module or "")
            yield from getattr(module, "__all__", None) or vars(module or ast)
        else:
            yield alias.asname or alias.name.split(".")[0]


def _by_magic(call: ast.Call) -> Iterator[str]:
    """What a magic binds: the names of its line, as `%%signal NAME` and `%%capture NAME` do, and those of its code."""
    given = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    yield from (word for line in given[1:2] for word in line.split() if word.isidentifier())
    for text in given[1:]:
        yield from _bound(text)


def _bare(source: str) -> str:
    return source.strip("\n")


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."

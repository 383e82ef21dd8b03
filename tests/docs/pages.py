"""What the documents show: their fenced blocks, the commands in these, and the commands that the prose names."""

import re
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(\w*)")
INLINE = re.compile(r"`((?:flea|make) [^`]+)`")
SHELL = ("sh", "bash", "console")


class Block(NamedTuple):
    """A fenced block; `line` is where it opens."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def at(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """One line of a shell block, its comment cut off."""

    at: str
    text: str


def pages(root: Path) -> list[Path]:
    """README.md and every page below docs."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def blocks(root: Path) -> list[Block]:
    """Every fenced block of every page."""
    return [block for path in pages(root) for block in of_page(path.relative_to(root).as_posix(), path.read_text())]


def of_page(page: str, text: str) -> list[Block]:
    """The fenced blocks of one page; one that is never closed is a fault of it."""
    found: list[Block] = []
    opened: tuple[int, str, str, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, body = (number, *fence.groups()), []
        elif opened is not None and line.strip() == opened[2]:
            found.append(Block(page, opened[0], opened[3], "\n".join(body) + "\n"))
            opened = None
        elif opened is not None:
            body.append(line.removeprefix(opened[1]))
    assert opened is None, f"{page}:{opened and opened[0]}: a block that is never closed"
    return found


def commands(found: list[Block]) -> list[Command]:
    """The lines of the shell blocks."""
    return [
        Command(f"{block.page}:{block.line + at}", " ".join(cut(line).split()))
        for block in found
        if block.kind in SHELL
        for at, line in enumerate(block.text.splitlines(), 1)
        if cut(line)
    ]


def cut(line: str) -> str:
    return re.split(r"(?:^|\s)#", line)[0].strip()


def named(root: Path) -> list[Command]:
    """The commands that prose and tables name, outside the blocks."""
    found = []
    for path in pages(root):
        inside = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if FENCE.match(line):
                inside = not inside
            elif not inside:
                found += [
                    Command(f"{path.relative_to(root).as_posix()}:{number}", text) for text in INLINE.findall(line)
                ]
    return found

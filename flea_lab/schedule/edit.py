"""Adding a job to a schedule's file and taking one out: the rest of the file stays as it was written."""

import os
import re
from pathlib import Path
from typing import Any

from flea_lab.config import read_toml
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.runs import to_toml
from flea_lab.schedule.job import schedule_of
from flea_lab.workspace import write_whole

HEADER = re.compile(r"^\s*\[")
JOB = re.compile(r"^\s*\[\[\s*jobs\s*\]\]")
NAME = re.compile(r"""^\s*name\s*=\s*(["'])(?P<name>[^"']*)\1""")


def add_job(file: Path, values: dict[str, Any]) -> None:
    """Puts a job to the end of `file`, which is made where it is not there. `ConfigError` where it cannot be."""
    text = _text(file) if file.exists() else ""
    before = read_toml(file, "schedule") if text else {}
    block = "[[jobs]]\n" + to_toml(values)
    after = {**before, "jobs": [*before.get("jobs", []), values]}
    schedule_of(after, file.absolute())
    _write(file, f"{text.rstrip()}\n\n{block}" if text.strip() else block, after)


def remove_job(file: Path, name: str) -> None:
    """Takes the job `name` out of `file`; `ConfigError` where it is not there."""
    before = read_toml(file, "schedule")
    names = [job.get("name") for job in before.get("jobs", []) if isinstance(job, dict)]
    if name not in names:
        raise ConfigError(f"job {name!r}: not in {file.name}, known are {', '.join(map(str, names)) or 'none'}")
    after = {**before, "jobs": [job for job in before["jobs"] if job.get("name") != name]}
    if not after["jobs"]:
        del after["jobs"]
    _write(file, _without(_text(file), name), after)


def _without(text: str, name: str) -> str:
    """`text` without the table of one job: from its header to the next, less the comments that stand before that."""
    lines = text.splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if HEADER.match(line)]
    for at, start in enumerate(starts):
        end = starts[at + 1] if at + 1 < len(starts) else len(lines)
        if JOB.match(lines[start]) and any((m := NAME.match(line)) and m["name"] == name for line in lines[start:end]):
            while at + 1 < len(starts) and end - 1 > start and re.match(r"\s*(#|$)", lines[end - 1]):
                end -= 1
            return "".join([*lines[:start], *lines[end:]]).lstrip("\n")
    return text


def _write(file: Path, text: str, meant: dict[str, Any]) -> None:
    """Writes `text` where it means `meant`, whole or not at all."""
    import tomllib

    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = str(error)
    if found != meant:
        raise ConfigError(f"{file.name}: written in a way that this cannot edit; edit the file by hand")
    try:
        mode = os.stat(file).st_mode & 0o777 if file.exists() else 0o644
        write_whole(file, text.encode(), mode=mode)
    except OSError as error:
        raise WorkspaceError(f"schedule {file}: cannot be written ({error.strerror})") from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"schedule {file}: cannot be read ({error})") from None

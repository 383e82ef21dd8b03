"""Whether a stored run can be believed: its digests held against what is there, and the run executed once more.

The second execution is one of a clean process, on a workspace that shares data and signals with this one and nothing
else. Results are compared as values (decisions, frames, metrics), never as pages. Where they differ and no input does,
what was stored is wrong, and the part that is becomes clear from those that agree.
"""

import math
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec import Struct

from flea_lab import runs
from flea_lab.clock import Stopwatch
from flea_lab.errors import FleaError
from flea_lab.report.evidence import (
    CODE,
    DATA,
    INPUTS,
    KERNEL,
    MANIFEST,
    OUTPUT,
    PACKAGE,
    RESULT,
    Difference,
    Evidence,
    look,
)
from flea_lab.report.wording import plural
from flea_lab.runs.process import bare_workspace, run_clean
from flea_lab.workspace import Workspace

EQUAL, DIFFERENT, UNVERIFIABLE = 0, 1, 2
TOLERANCE = 1e-12
"""Relative; used only where interpreter or packages are others than those of the run."""
OF_THE_SCHEDULE = ("jobs", "jobs_not_done", "jobs.parquet")
NOT_REPRODUCIBLE = "no input differs, and still the same run gives another result: it is not reproducible"
BY_HAND = (
    "stored from a notebook and executed again from its config and data alone: what the cells did besides, such as to "
    f"the market, is in {runs.HISTORY}"
)


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of one run. `executed` says whether it was executed again, `why` the reason where it cannot be
    verified; `same_result` is None where it was not executed."""

    name: str
    state: Literal["equal", "different", "cannot be verified"]
    differences: list[Difference]
    notes: list[str]
    executed: bool = False
    same_result: bool | None = None
    why: str = ""
    told: str = ""
    seconds: float = 0.0

    @property
    def status(self) -> int:
        """0 equal, 1 different, 2 cannot be verified."""
        return {"equal": EQUAL, "different": DIFFERENT, "cannot be verified": UNVERIFIABLE}[self.state]

    @property
    def result_status(self) -> int:
        """`status`, but 0 where code, signals or packages alone are others and the result is the same all the same."""
        only = {one.component for one in self.differences} <= {CODE, KERNEL, PACKAGE}
        return EQUAL if self.status == DIFFERENT and self.same_result and only else self.status

    def text(self) -> str:
        """A line, and one more for every difference and note."""
        head = f"{self.name}: {self.state}" + (f" ({self.told})" if self.told else "")
        head += f": {self.why}" if self.why else ""
        lines = [f"  {one.line()}" for one in self.differences]
        if self.same_result and self.differences:
            lines.append("  executed again, the result is the same")
        return "\n".join([head, *lines, *(f"  {note}" for note in self.notes)])


def verify(folder: Path, home: Workspace, *, quick: bool = False, root: Path = runs.ROOT) -> Verdict:
    """The verdict on the run in `folder`: from digests alone when `quick`, else from a second execution as well.

    `root` is the checkout whose package executes it. Nothing in `folder` or `home` is changed.
    """
    watch = Stopwatch()
    found = look(folder, home, root)
    same, why = None, "; ".join(found.gone if quick else [*found.gone, *found.closed])
    if quick:
        found.notes.extend(f"it could not be executed again: {one}" for one in found.closed)
    if not quick and not why and found.manifest is not None:
        try:
            with tempfile.TemporaryDirectory(prefix="flea-verify-") as aside:
                second = _again(folder, home, Path(aside), root)
                same, why = _held_against(found, found.manifest, second)
        except FleaError as error:
            why = f"it cannot be executed again: {error}"
        if why and found.differences:
            found.notes.append(why)  # what is known to differ is reason enough
            why = ""
    state: Any = "cannot be verified" if why else "different" if found.differences else "equal"
    return Verdict(
        name=folder.name,
        state=state,
        differences=found.differences,
        notes=found.notes,
        executed=same is not None,
        same_result=same,
        why=why,
        told=_told(found.manifest, same is not None) if state == "equal" and found.manifest else "",
        seconds=watch.elapsed_s(),
    )


def _again(folder: Path, home: Workspace, aside: Path, root: Path) -> Path:
    """The folder of the second run, made by a clean process."""
    own = aside / "user"
    own.mkdir(mode=0o700)
    said = run_clean(["again", str(folder.absolute())], bare_workspace(home, aside / "home"), own, root)
    return Path(said.strip().splitlines()[-1])


def _held_against(found: Evidence, first: runs.Manifest, second: Path) -> tuple[bool | None, str]:
    """Whether the second run's result is the first one's; None, and why that says nothing, where it is another one
    and its data have gone on since."""
    known = len(found.differences)
    same = _compare(found, first, second)
    if same or not found.grown:
        return same, ""
    del found.differences[known:]
    return None, f"{'; '.join(found.grown)}, and what is reported is another now: report it again"


def _compare(found: Evidence, first: runs.Manifest, second_folder: Path) -> bool:
    """Whether the second run's result is the first one's; what is not is added to `found`."""
    second = runs.read_manifest(second_folder)
    exact = first.versions == second.versions
    told = {one.what for one in found.differences}
    same = {name for name, digest in second.frames.items() if first.frames.get(name) == digest} - told  # read by look
    wrong = {
        name: _first_change(found.folder, second_folder, name, exact) for name in second.frames if name not in same
    }
    frames = {name: change for name, change in wrong.items() if change is not None}
    metrics = [name for name in sorted({*first.metrics, *second.metrics}) if not _same(first, second, name, exact)]
    decisions = first.decisions_digest != second.decisions_digest
    digest = exact and first.result_digest != second.result_digest
    explained = any(one.component in INPUTS for one in found.differences)
    whole = "decisions.parquet" in frames and "equity.parquet" in frames
    component = RESULT if explained or whole else MANIFEST
    for name, (was, now) in frames.items():
        if name not in told:
            found.add(_from_elsewhere(first, name) or (RESULT if explained or whole else OUTPUT), name, was, now)
    if decisions:
        blame = RESULT if "decisions.parquet" in frames and component == RESULT else component
        found.add(blame, "decisions_digest", first.decisions_digest, second.decisions_digest)
    for name in metrics:
        found.add(
            _from_elsewhere(first, name) or component,
            f"metrics.{name}",
            first.metrics.get(name),
            second.metrics.get(name),
        )
    if digest and not (frames or decisions or metrics):
        found.add(component, "result_digest", first.result_digest, second.result_digest)
    if (frames or decisions or metrics) and not explained and whole:
        found.notes.append(BY_HAND if runs.HISTORY in first.outputs else NOT_REPRODUCIBLE)
    return not (frames or decisions or metrics or digest)


def _from_elsewhere(first: runs.Manifest, name: str) -> str:
    """The component of what a run only repeats of others' books, which go on: of operations, what the schedule did."""
    return DATA if first.kind == "operations" and name in OF_THE_SCHEDULE else ""


def _same(first: runs.Manifest, second: runs.Manifest, name: str, exact: bool) -> bool:
    was, now = first.metrics.get(name), second.metrics.get(name)
    if was is None or now is None or exact:
        return was == now
    return math.isclose(was, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _first_change(first: Path, second: Path, name: str, exact: bool) -> tuple[str, str] | None:
    """What the stored frame says and what it should, at the first row and column where they part; None where they do
    not."""
    if not (first / name).is_file():
        return "not there", "there"
    before, after = (pd.read_parquet(folder / name) for folder in (first, second))
    if runs.frame_digest(before) == runs.frame_digest(after):
        return None
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        return _shape(before), _shape(after)
    for column in before.columns:
        apart = _apart(before[column], after[column], exact)
        if apart is not None:
            return tuple(f"{frame[column].iloc[apart]} in row {apart} of {column}" for frame in (before, after))  # type: ignore[return-value]
    return None


def _apart(before: "pd.Series[Any]", after: "pd.Series[Any]", exact: bool) -> int | None:
    """The first row where two columns differ, or None."""
    if before.dtype.kind == "f" and after.dtype.kind == "f":
        given = {} if exact else {"rtol": TOLERANCE, "atol": TOLERANCE}
        same = np.isclose(before, after, equal_nan=True, **(given or {"rtol": 0.0, "atol": 0.0}))
    else:
        same = ((before == after) | (before.isna() & after.isna())).to_numpy()
    rows = np.flatnonzero(~same)
    return int(rows[0]) if len(rows) else None


def _shape(frame: pd.DataFrame) -> str:
    return f"{len(frame):,} rows of {', '.join(map(str, frame.columns))}"


def _told(manifest: runs.Manifest, executed: bool) -> str:
    """What an equal run was found equal in."""
    months = sum(len(one.get("partitions", ())) for one in manifest.data)
    parts = [
        (len(manifest.outputs), "file"),
        (months, "partition"),
        (len(manifest.modules), "module"),
        (len(manifest.kernels), "signal"),
    ]
    said = "digests of " + ", ".join(plural(count, what) for count, what in parts if count)
    if not executed:
        return said
    again = f"executed again: {plural(len(manifest.frames), 'frame')}, {plural(len(manifest.metrics), 'metric')}"
    decided = f", decisions {manifest.decisions_digest[:16]}" if manifest.decisions_digest else ""
    return f"{again}{decided}; {said}"

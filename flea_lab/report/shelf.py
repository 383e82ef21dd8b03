"""The stored runs of a workspace, chosen by kind, name, time, metric or promotion, in the order asked for."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch

from msgspec import Struct

from flea_lab.config import read_toml
from flea_lab.errors import ConfigError, FleaError
from flea_lab.promotion import SUFFIX
from flea_lab.runs import Manifest, Run, list_runs
from flea_lab.workspace import Workspace

COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
CONDITION = re.compile(r"^\s*([a-z][a-z0-9_]*)\s*(>=|<=|>|<|=)\s*(-?[0-9.]+(?:[eE]-?[0-9]+)?)\s*$")


class Choice(Struct, frozen=True, kw_only=True):
    """Which runs are meant; what is None or empty is not asked. `name` may hold * and ?; `since` is an ISO date or
    time; `metrics` are conditions such as ``sharpe>1``; `sort` is a metric, highest first, else newest first."""

    kind: str | None = None
    name: str | None = None
    since: str | None = None
    metrics: Sequence[str] = ()
    promoted: bool = False
    sort: str | None = None


class Stored(Struct, frozen=True, kw_only=True):
    """One run and the names under which it is promoted."""

    run: Run
    promoted: tuple[str, ...] = ()

    @property
    def done(self) -> Manifest | None:
        """Its manifest; None where it did not finish."""
        return self.run.manifest


def shelf(home: Workspace, choice: Choice | None = None) -> list[Stored]:
    """The runs of `home` that `choice` means. `ConfigError` where it says what cannot be asked."""
    choice = choice or Choice()
    promoted = _promoted(home, asked=choice.promoted)
    tests = [_condition(one) for one in choice.metrics]
    since = _time(choice.since) if choice.since else None
    found = [Stored(run=run, promoted=tuple(promoted.get(run.folder.name, ()))) for run in list_runs(home)]
    kept = [one for one in found if _meant(one, choice, since, tests)]
    if choice.sort is None:
        return kept
    return sorted(kept, key=lambda one: _rank(one, str(choice.sort)), reverse=True)


def promoted_runs(home: Workspace) -> dict[str, list[str]]:
    """The names under which each run is promoted, by its folder's name. `FleaError` where a promotion is unreadable:
    then nobody knows which run it means."""
    found: dict[str, list[str]] = {}
    for file in sorted(home.promoted.glob(f"*{SUFFIX}")) if home.promoted.is_dir() else ():
        bound = read_toml(file, "promotion").get("promotion")
        run = bound.get("run") if isinstance(bound, dict) else None
        if not isinstance(run, str):
            raise FleaError(f"promotion {file}: names no run")
        found.setdefault(run, []).append(file.stem)
    return found


def _promoted(home: Workspace, *, asked: bool) -> dict[str, list[str]]:
    """`promoted_runs`; a promotion that cannot be read keeps no list from being shown, unless it was asked for."""
    try:
        return promoted_runs(home)
    except FleaError:
        if asked:
            raise
        return {}


def _meant(
    one: Stored, choice: Choice, since: datetime | None, tests: list[tuple[str, Callable[[float], bool]]]
) -> bool:
    done = one.done
    if choice.promoted and not one.promoted:
        return False
    if done is None:
        wanted = choice.name is None or fnmatch(one.run.folder.name, f"*{choice.name}*")
        return wanted and not (choice.kind or since or tests)
    if choice.kind is not None and done.kind != choice.kind:
        return False
    if choice.name is not None and not (fnmatch(done.name, choice.name) or fnmatch(one.run.folder.name, choice.name)):
        return False
    if since is not None and _time(done.finished) < since:
        return False
    return all(_holds(done, name, test) for name, test in tests)


def _holds(done: Manifest, name: str, test: Callable[[float], bool]) -> bool:
    value = done.metrics.get(name)
    return value is not None and test(value)


def _condition(words: str) -> tuple[str, Callable[[float], bool]]:
    found = CONDITION.match(words)
    if found is None:
        raise ConfigError(f"metric {words!r}: such as 'sharpe>1' or 'max_drawdown>=-0.1'")
    name, sign, limit = found.group(1), COMPARE[found.group(2)], float(found.group(3))
    return name, lambda value: sign(value, limit)


def _rank(one: Stored, metric: str) -> float:
    value = one.done.metrics.get(metric) if one.done else None
    return -math.inf if value is None else value


def _time(words: str) -> datetime:
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        raise ConfigError(f"since {words!r} is not an ISO date or time, such as 2025-05-05") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment

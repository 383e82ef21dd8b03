"""Settings that are validated together: each distinct combination of their values once, whatever else a point holds.

A point can be exactly where every one of its groups can: the parameters of one kernel are a group, so are settings that
a rule of the config binds to each other; any other setting is one by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from flea_lab.backtest.cell import rules_of, vpin_start
from flea_lab.backtest.grid import Space, current
from flea_lab.backtest.market import Ints
from flea_lab.config import RunConfig, plain, with_values
from flea_lab.errors import ConfigError
from flea_lab.settings import Settings
from flea_lab.signal.kernel import N_FIELDS, Floats, Kernel
from flea_lab.signal.part_columns import layout

BLOCK = 65_536
"""Points or combinations that are looked at at a time."""

PLACE = "grid cell"
JOINED = ("risk.vpin", "risk.orders", "tolerance", "slicing", "live", "alerts", "deployment")
"""Sections whose settings are validated together."""

SIGNALS = "signals"


class Group(ABC):
    """The distinct combinations, numbered, of the axes at positions `axes` of a space."""

    def __init__(self, config: RunConfig, space: Space, axes: Sequence[int]) -> None:
        self.config, self.axes = config, tuple(axes)
        names = list(space.axes)
        self._values = [(names[a], space.axes[names[a]]) for a in self.axes]
        self._shape = tuple(len(axis) for _, axis in self._values)
        self._rows: Ints | None = None
        self._numbers: Ints | None = None
        if space.listed is not None:
            self._rows, inverse = np.unique(space.listed[:, list(self.axes)], axis=0, return_inverse=True)
            self._numbers = inverse.reshape(-1)
        self.size = int(np.prod(self._shape, dtype=np.int64)) if self._rows is None else len(self._rows)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path, _ in self._values)

    @property
    @abstractmethod
    def can(self) -> npt.NDArray[np.bool_]:
        """Which combinations can be, shape `(size,)`."""

    def numbers(self, points: Ints, codes: Ints) -> Ints:
        """Which combination each of these points has; `codes` are their positions on all axes of the space."""
        if self._numbers is not None:
            return self._numbers[points]
        return np.ravel_multi_index(tuple(codes[:, a] for a in self.axes), self._shape).astype(np.int64)

    def codes(self, numbers: Ints) -> Ints:
        """Positions on this group's own axes, shape `(len(numbers), len(axes))`."""
        if self._rows is not None:
            return self._rows[numbers]
        return np.stack(np.unravel_index(numbers, self._shape), axis=1)

    def values(self, number: int) -> dict[str, Any]:
        """The values of one combination by path."""
        [codes] = self.codes(np.array([number]))
        return {path: axis[int(at)] for (path, axis), at in zip(self._values, codes, strict=True)}

    def touches(self, section: str) -> bool:
        """Whether an axis is this section, in it or above it."""
        return any(f"{path}.".startswith(f"{section}.") or section.startswith(f"{path}.") for path in self.paths)

    def reason(self, number: int) -> str:
        """Why one combination cannot be."""
        return refusal(self.config, self.values(number))


class Parameters(Group):
    """Parameters of one alpha of the config."""

    def __init__(self, config: RunConfig, space: Space, axes: Sequence[int], alpha: int, kernel: Kernel) -> None:
        super().__init__(config, space, axes)
        self.alpha, self._kernel, self.floats = alpha, kernel, 0
        self._names = [path.split(".")[-1] for path in self.paths]
        self._plain = [[scalar(value) for value in axis] for _, axis in self._values]
        self._own = dict(config.signals[alpha].params)

    @cached_property
    def warmups(self) -> npt.NDArray[np.int32]:
        """Bars of warm-up of every combination; 0 where it cannot be."""
        found = np.zeros(self.size, np.int32)
        alike = self._kernel.stateless and self._kernel.own_warmup is None
        for first in range(0, self.size, BLOCK):
            numbers = np.arange(first, min(first + BLOCK, self.size))
            codes = self.codes(numbers)
            if alike:
                found[numbers] = self._told_by_parts(codes)
            else:
                found[numbers] = [self._told_by_kernel(row) for row in codes.tolist()]
        return found

    @cached_property
    def can(self) -> npt.NDArray[np.bool_]:
        return self.warmups > 0

    def load(self, number: int) -> Settings:
        """One combination, validated; msgspec's own error where it cannot be."""
        return self.loads(np.array([number]))[0]

    def loads(self, numbers: Ints) -> list[Settings]:
        """Combinations, validated; msgspec's own error where one cannot be."""
        return [self._load(row) for row in self.codes(numbers).tolist()]

    def _load(self, codes: Sequence[int]) -> Settings:
        return msgspec.convert(self._named(codes), self._kernel.params, strict=True)

    def _named(self, codes: Sequence[int]) -> dict[str, Any]:
        values = self._own.copy()
        for name, axis, at in zip(self._names, self._plain, codes, strict=True):
            values[name] = axis[at]
        return values

    def _told_by_kernel(self, codes: Sequence[int]) -> int:
        """The warm-up of one combination."""
        try:
            params = self._load(codes)
        except msgspec.ValidationError:
            return 0
        self.floats = max(self.floats, self._kernel.n_state + self._kernel.memory(params))
        return max(1, self._kernel.warmup(params)) if self._kernel.warmup is not None else 1

    def _told_by_parts(self, codes: Ints) -> npt.NDArray[np.int32]:
        """The warm-ups of many, where they are those of the parts, which combinations share."""
        kernel, found = self._kernel, np.zeros(len(codes), np.int32)
        good = np.flatnonzero(self._valid(codes))
        if not len(good):
            return found
        rows = np.repeat(kernel.own_row(self._load(codes[good[0]].tolist()))[None], len(good), axis=0)
        for a, name in enumerate(self._names):
            _, first, which = np.unique(codes[good, a], return_index=True, return_inverse=True)
            place = kernel.params.__struct_fields__.index(name)
            seen = [kernel.own_row(self._load(row))[place] for row in codes[good[first]].tolist()]
            rows[:, place] = np.array(seen)[which.reshape(-1)]
        needed = layout(kernel, rows)
        sizes = np.array([column.size for column in needed.columns])[needed.parts - N_FIELDS].sum(axis=1)
        self.floats = max(self.floats, kernel.n_state + 1 + int(sizes.max()))
        found[good] = np.maximum(needed.first, 1)
        return found

    def _valid(self, codes: Ints) -> npt.NDArray[np.bool_]:
        """Which of these can be. A value that no rule binds to another can be wherever it stands."""
        if hasattr(self._kernel.params, "__post_init__"):
            return np.array([self._fits(self._named(row)) for row in codes.tolist()], bool)
        good = np.ones(len(codes), bool)
        for a, axis in enumerate(self._plain):
            fits = [self._fits({**self._own, self._names[a]: value}) for value in axis]
            good &= np.array(fits, bool)[codes[:, a]]
        return good

    def _fits(self, values: dict[str, Any]) -> bool:
        try:
            msgspec.convert(values, self._kernel.params, strict=True)
        except msgspec.ValidationError:
            return False
        return True


class Sections(Group):
    """Settings other than parameters of alphas; `whole` where they may change more than a rule and a weight."""

    def __init__(self, config: RunConfig, space: Space, axes: Sequence[int], *, whole: bool = False) -> None:
        super().__init__(config, space, axes)
        self.kept: dict[int, RunConfig] = {}
        self.whole = whole

    @cached_property
    def _found(self) -> tuple[Any, Floats, Floats]:
        can, rules, weights = np.zeros(self.size, bool), [], []
        for number in range(self.size):
            try:
                config = self.build(number)
            except ConfigError:
                continue
            can[number] = True
            rules.append(rules_of(config))
            weights.append([alpha.weight for alpha in config.signals])
            if self.whole:
                self.kept[number] = config
        return can, np.array(rules), np.array(weights)

    @cached_property
    def can(self) -> npt.NDArray[np.bool_]:
        return self._found[0]

    def rows(self, numbers: Ints) -> tuple[Floats, Floats]:
        """Rules `(n, N_RULES)` and weights `(n, k)` of combinations that can be."""
        can, rules, weights = self._found
        at = np.cumsum(can)[numbers] - 1
        return rules[at], weights[at]

    @cached_property
    def touched(self) -> tuple[Ints, Ints]:
        """The rules and the weights that differ between combinations of this group, or from the config's own."""
        _, rules, weights = self._found
        own = rules_of(self.config), np.array([alpha.weight for alpha in self.config.signals])
        return np.flatnonzero((rules != own[0]).any(axis=0)), np.flatnonzero((weights != own[1]).any(axis=0))

    def build(self, number: int) -> RunConfig:
        """The config with one combination; `ConfigError` where it cannot be."""
        return self.kept.get(number) or with_values(self.config, self.values(number), PLACE)

    def vpin(self, number: int) -> tuple[Floats, Floats]:
        """Parameters and start states of the VPIN guard of one combination."""
        return vpin_start(self.build(number))


class Mixed(Sections):
    """All axes of a space where one of them may change a kernel."""


def groups_of(config: RunConfig, space: Space, kernels: Sequence[Kernel]) -> list[Group]:
    """The groups of a space: every axis in exactly one. A single one where an axis may change a kernel."""
    keys: dict[str, list[int]] = {}
    for a, path in enumerate(space.axes):
        key = _key(config, path)
        if key == SIGNALS:
            return [Mixed(config, space, range(len(space.axes)), whole=True)]
        keys.setdefault(key, []).append(a)
    sections = {key for key in keys if "." not in key and key not in JOINED and not key.startswith("@")}
    for key in [*keys]:  # a section given whole binds all that stands in it
        head = key.split(".")[0]
        if key not in sections and head in sections and not isinstance(current(config, head), (int, float, str)):
            keys[head] += keys.pop(key)
    found: list[Group] = []
    for key, axes in keys.items():
        if key.startswith("@"):
            alpha = int(key[1:])
            found.append(Parameters(config, space, sorted(axes), alpha, kernels[alpha]))
        else:
            found.append(Sections(config, space, sorted(axes), whole=key in JOINED or key in sections))
    return found


def refusal(config: RunConfig, values: dict[str, Any]) -> str:
    """Why a point cannot be, in the words of the config; "" where it can."""
    try:
        with_values(config, values, PLACE)
    except ConfigError as error:
        return str(error).rsplit(" (in ", 1)[0]
    return ""


def scalar(value: Any) -> Any:
    """A value of a grid as the config takes it."""
    return plain(value)


def resolved(config: RunConfig, path: str) -> list[str]:
    """The steps of a path from the top of a config, the name of a kernel replaced by where it stands."""
    steps = path.split(".")
    names = [alpha.kernel for alpha in config.signals]
    if steps[0] not in names:
        return steps
    own = ["weight"] if steps[1:] == ["weight"] else ["params", *steps[1:]]
    return [SIGNALS, str(names.index(steps[0])), *own]


def _key(config: RunConfig, path: str) -> str:
    """The group of an axis: "@1" for parameters of the second alpha, else a path."""
    steps = resolved(config, path)
    if steps[0] == SIGNALS:
        if len(steps) == 4 and steps[2] == "params" and not isinstance(current(config, path), (dict, list)):
            return f"@{int(steps[1])}"
        return ".".join(steps) if steps[2:] == ["weight"] else SIGNALS
    for joined in JOINED:
        if path == joined or path.startswith(f"{joined}."):
            return joined
    return steps[0] if isinstance(current(config, path), (dict, list)) else path

"""The law that every signal kernel passes: `check_kernel`.

A kernel that passes may be swept, reported and traded without a second look at its plumbing, because it

1. *declares*: every parameter has a default and both limits; warm-up and memory follow from the parameters;
2. *keeps to its memory*: it neither writes nor reads beyond the floats that it asked for;
3. *repeats itself*: the same bars give the same bits, and two streams side by side share nothing;
4. *is blind to the future*: whatever comes later, what it said stays said;
5. *is one step*: the fold over an array equals the stream bar by bar, in every state field;
6. *resumes*: state and memory saved after any bar and restored go on as if nothing had happened;
7. *reads its inputs only*: a bar field that it did not declare changes nothing;
8. *warms up as it says*: outputs are NaN on exactly the first `warmup - 1` bars (a NaN prefix where warm-up depends on
   the data), and all of them together;
9. *stays in range*: direction in [-1, 1], confidence in [0, 1], and no confidence in direction 0; a feature is finite;
10. *bears its limits*: with parameters at the ends of their ranges it still obeys 8 and 9, or its settings refuse them;
11. *agrees* with an independent reference, where one is given.

All comparisons are of bits (any NaN equals any NaN), except with the reference.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numba.core.errors import NumbaError

from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError, KernelError
from flea_lab.settings import Settings
from flea_lab.signal.kernel import FIELDS, Bar, Floats, Kernel, Stream
from flea_lab.signal.ranges import ranges
from flea_lab.signal.registry import known_kernels
from flea_lab.workspace import workspace

N_BARS = 1_500
MOST_BARS = 12_000
MOST_MEMORY = 5_000_000
CASES = 64
PAD = 4_096
POISONS = (np.nan, 1e300, 0.0)

Reference = Callable[[Floats, Any], Mapping[str, Floats]]


@dataclass(frozen=True)
class KernelReport:
    """What `check_kernel` has seen hold: the laws, on how many bars, with which parameters and how many limits."""

    kernel: Kernel
    params: Settings
    n_bars: int
    warmup: int | None
    laws: tuple[str, ...]
    limits_tried: int
    limits_refused: int


def subjects() -> dict[str, Kernel]:
    """Every kernel that a config can name, the workspace's included: the law finds its subjects itself."""
    return known_kernels(workspace().signals)


def check_kernel(
    kernel: Kernel,
    params: Settings | None = None,
    bars: Floats | None = None,
    reference: Reference | None = None,
    tolerance: float = 1e-12,
) -> KernelReport:
    """A report if `kernel` keeps every law, else a `KernelError` that names the law, the bar and the values.

    `bars` has shape `(n_bars, 7)` in the order of `Bar` with every declared input finite; by default `law_bars`. The
    `reference(bars, params)` gives state fields by name, shape `(n_bars,)` each; `tolerance` is absolute.
    """
    known = _declares(kernel)
    params = known if params is None else params
    warmup = _warmup(kernel, params)
    if bars is None:
        bars = law_bars(min(max(N_BARS, 2 * (warmup or 0)), MOST_BARS))
    case = _Case(kernel, params, _checked(kernel, bars))
    for law in (_memory, _repeats, _future, _step, _resumes, _inputs, _warms_up, _says_something, _in_range):
        law(case)
    tried, refused = _limits(kernel)
    if reference is not None:
        _agrees(case, reference, tolerance)
    laws = tuple(LAWS if reference is not None else LAWS[:-1])
    return KernelReport(kernel, params, len(bars), warmup, laws, tried, refused)


LAWS = (
    "declares",
    "keeps to its memory",
    "repeats itself",
    "is blind to the future",
    "is one step",
    "resumes",
    "reads its inputs only",
    "warms up as it says",
    "stays in range",
    "bears its limits",
    "agrees with its reference",
)


def law_bars(n_bars: int = N_BARS, seed: int = 7) -> Floats:
    """A synthetic market with what breaks kernels, shape `(n_bars, 7)`: a price that stands still with and without
    volume, single bars without volume, one-sided flow, jumps, funding that changes sign. Every field is finite."""
    frame = synth("mixed", np.random.default_rng(seed), n_bars)
    bars = np.empty((n_bars, len(FIELDS)))
    for column, name in enumerate(FIELDS[:-1]):
        bars[:, column] = frame[name].to_numpy(np.float64)
    prices, volume, bought = bars[:, :4], bars[:, 4], bars[:, 5]
    for at, length, quiet in ((n_bars // 4, 120, True), (n_bars // 2, 90, False)):
        prices[at : at + length] = prices[at, 3]
        if quiet:
            volume[at : at + length] = bought[at : at + length] = 0.0
    volume[17::97] = bought[17::97] = 0.0
    bought[n_bars // 3 : n_bars // 3 + 80] = volume[n_bars // 3 : n_bars // 3 + 80]
    bought[n_bars // 5 : n_bars // 5 + 80] = 0.0
    prices[3 * n_bars // 5 :] *= 1.3
    prices[4 * n_bars // 5 :] *= 0.5
    bars[:, 6] = np.repeat([1e-4, -3e-4, 0.0, 5e-4], -(-n_bars // 4))[:n_bars]
    return bars


@dataclass(frozen=True)
class _Case:
    """A kernel with its parameters on some bars, and the ways to run and to complain."""

    kernel: Kernel
    params: Settings
    bars: Floats

    @cached_property
    def out(self) -> Floats:
        """Every state field after every bar, shape `(n_bars, n_state)`."""
        return self.fold(self.bars)

    @property
    def outputs(self) -> Floats:
        return self.out[:, list(self.kernel.columns)]

    @property
    def warmup(self) -> int | None:
        return _warmup(self.kernel, self.params)

    def fold(self, bars: Floats, mem: Floats | None = None) -> Floats:
        mem = self.kernel.start(self.params) if mem is None else mem
        try:
            return self.kernel.fold(mem, bars, self.params, self.kernel.state._fields)
        except NumbaError as error:
            raise KernelError(f"kernel {self.kernel.name} cannot be compiled: {_cause(error)}") from error
        except Exception as error:
            text = f"kernel {self.kernel.name} raises {type(error).__name__}: {error} ({self.named})"
            raise KernelError(text) from error

    @property
    def named(self) -> str:
        return ", ".join(f"{name}={getattr(self.params, name)}" for name in self.params.__struct_fields__)

    def cuts(self) -> list[int]:
        """Bars after which to stop: the first and last, around the warm-up, and some between."""
        n, warm = len(self.bars), self.warmup or 1
        cuts = {1, 2, warm - 1, warm, warm + 1, n // 4 + 7, n // 3, n // 2 + 1, n - 1}
        return sorted(cut for cut in cuts if 0 < cut < n)

    def broken(self, law: str, bar: int, what: str) -> NoReturn:
        seen = ", ".join(f"{name} {self.bars[bar, FIELDS.index(name)]:.10g}" for name in self.kernel.inputs)
        text = f"kernel {self.kernel.name} breaks the law {law!r} at bar {bar} ({seen}): {what}"
        raise KernelError(f"{text} [{self.named}]" if self.named else text)

    def same(self, law: str, got: Floats, expected: Floats, what: str) -> None:
        """Refuses the first bit in which `got` differs from `expected`, both `(n, n_state)`."""
        found = _first_difference(got, expected)
        if found is not None:
            bar, column = found
            field = self.kernel.state._fields[column]
            self.broken(law, bar, f"{field} is {got[bar, column]:.17g}, not {expected[bar, column]:.17g}, {what}")


def _first_difference(a: Floats, b: Floats) -> tuple[int, int] | None:
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    differs = (a.view(np.int64) != b.view(np.int64)) & ~(np.isnan(a) & np.isnan(b))
    if not differs.any():
        return None
    bar, column = np.argwhere(differs)[0]
    return int(bar), int(column)


def _cause(error: BaseException) -> str:
    """The line of numba's message that says something, and the line of the source that it means."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = ("Failed in ", "During: ", "File ", "Overload ", "There are ", "<source", "^", "-", "No implementation")
    telling = [line for line in lines if not line.startswith(noise)]
    named = [line for line in lines if line.startswith('File "') and "line" in line]
    place = f" ({named[0].removeprefix('File ').rstrip(':')})" if named else ""
    place = place.replace('"', "")
    folder = place.rfind("/")
    return f"{telling[0] if telling else lines[0]}{' (' + place[folder + 1 :] if folder >= 0 else place}"


def _declares(kernel: Kernel) -> Settings:
    """The default parameters."""
    try:
        for one in ranges(kernel.params):
            if not one.choices and not one.low < one.high:
                raise KernelError(f"parameter {one.name} from {one.low:g} to {one.high:g} has no room")
    except KernelError as error:
        raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {error}") from None
    try:
        return kernel.load({}, "its own defaults")
    except ConfigError as error:
        raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {error}") from None


def _warmup(kernel: Kernel, params: Settings) -> int | None:
    asked = {"memory": kernel.memory} | ({"warmup": kernel.warmup} if kernel.warmup else {})
    told = {}
    for name, ask in asked.items():
        try:
            told[name] = ask(params)
        except Exception as error:
            text = f"kernel {kernel.name} breaks the law 'declares': {name} fails, {type(error).__name__}: {error}"
            raise KernelError(text) from error
        least, most = (0, MOST_MEMORY) if name == "memory" else (1, MOST_MEMORY)
        if not isinstance(told[name], int) or not least <= told[name] <= most:
            text = f"{name} is {told[name]!r}, it must be a whole number from {least} to {most:,}"
            raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {text}")
    return told.get("warmup")


def _checked(kernel: Kernel, bars: Floats) -> Floats:
    bars = np.ascontiguousarray(bars, dtype=np.float64)
    if bars.ndim != 2 or bars.shape[1] != len(FIELDS) or len(bars) < 3:
        raise KernelError(f"kernel {kernel.name}: bars of shape {bars.shape}, the law needs (3 or more, {len(FIELDS)})")
    for name in kernel.inputs:
        bad = np.flatnonzero(~np.isfinite(bars[:, FIELDS.index(name)]))
        if len(bad):
            raise KernelError(f"kernel {kernel.name}: the law needs bars with {name}, it is not finite at bar {bad[0]}")
    return bars


def _memory(case: _Case) -> None:
    law, kernel = LAWS[1], case.kernel
    start = kernel.start(case.params)
    seen = []
    for fill in (7.25e77, -3.5e-77):
        room = np.full(len(start) + 2 * PAD, fill)
        room[PAD:-PAD] = start
        seen.append(case.fold(case.bars, room[PAD:-PAD]))
        outside = np.concatenate([room[:PAD], room[-PAD:]])
        if (outside != fill).any():
            first = int(np.flatnonzero(outside != fill)[0])
            place = f"{PAD - first} before" if first < PAD else f"{first - PAD + 1} beyond"
            size = kernel.memory(case.params)
            case.broken(law, 0, f"it writes the float {place} its memory of {size}; declare memory=lambda p: ...")
    case.same(law, seen[0], seen[1], "it depends on what lies beyond its memory")


def _repeats(case: _Case) -> None:
    law = LAWS[2]
    case.same(law, case.fold(case.bars), case.out, "on the same bars a second time: it keeps something elsewhere")
    mirrored = np.ascontiguousarray(case.bars[::-1])
    pair = [Stream(case.kernel, case.params), Stream(case.kernel, case.params)]
    beside = np.array([(pair[0].on(Bar(*a)), pair[1].on(Bar(*b))) for a, b in zip(case.bars, mirrored, strict=True)])
    alone = _streamed(case, case.bars)
    case.same(law, np.ascontiguousarray(beside[:, 0]), alone, "beside a second stream: the two share something")


def _future(case: _Case) -> None:
    for cut, poison in itertools.product(case.cuts(), POISONS):
        bars = case.bars.copy()
        bars[cut:] = poison
        case.same(LAWS[3], case.fold(bars)[:cut], case.out[:cut], f"when bars from {cut} on are {poison:g}")


def _step(case: _Case) -> None:
    case.same(LAWS[4], case.out, _streamed(case, case.bars), "which is what the stream says")


def _streamed(case: _Case, bars: Floats) -> Floats:
    stream = Stream(case.kernel, case.params)
    return np.array([stream.on(Bar(*bar)) for bar in bars])


def _resumes(case: _Case) -> None:
    for cut in case.cuts():
        mem = case.kernel.start(case.params)
        before = case.fold(case.bars[:cut], mem)
        saved = mem.tobytes()
        after = case.fold(case.bars[cut:], np.frombuffer(saved).copy())
        case.same(LAWS[5], np.concatenate([before, after]), case.out, f"when it is resumed after {cut} bars")


def _inputs(case: _Case) -> None:
    for name, poison in itertools.product(FIELDS, POISONS):
        if name not in case.kernel.inputs:
            bars = case.bars.copy()
            bars[:, FIELDS.index(name)] = poison
            what = f"when {name}, which it does not declare, is {poison:g}"
            case.same(LAWS[6], case.fold(bars), case.out, what)


def _warms_up(case: _Case) -> None:
    law, warmup, names = LAWS[7], case.warmup, case.kernel.outputs
    missing = np.isnan(case.outputs)
    ready = np.flatnonzero(~missing.any(axis=1))
    first = int(ready[0]) if len(ready) else len(missing)
    expected = first if warmup is None else min(warmup - 1, len(missing))
    late = missing & (np.arange(len(missing)) >= expected)[:, None]
    early = ~missing & (np.arange(len(missing)) < expected)[:, None]
    for bar, column in np.argwhere(late | early)[:1].tolist():
        if missing[bar, column]:
            limit = f"warm-up is {warmup} bars" if warmup is not None else f"it was ready at bar {expected}"
            case.broken(law, bar, f"{names[column]} is nan, but {limit}; no opinion is direction 0, confidence 0")
        limit = f"warm-up is {warmup} bars" if warmup is not None else "another output is nan"
        case.broken(law, bar, f"{names[column]} is {case.outputs[bar, column]:.17g}, not nan, but {limit}")


def _says_something(case: _Case) -> None:
    if np.isnan(case.outputs).all():
        text = f"it says nothing on {len(case.bars)} bars; give check_kernel bars that it can judge"
        raise KernelError(f"kernel {case.kernel.name} breaks the law {LAWS[7]!r}: {text}")


def _in_range(case: _Case) -> None:
    law, names = LAWS[8], case.kernel.outputs
    limits = ((-1.0, 1.0), (0.0, 1.0)) if case.kernel.is_alpha else ((-np.inf, np.inf),) * len(names)
    for column, (name, (low, high)) in enumerate(zip(names, limits, strict=True)):
        values = case.outputs[:, column]
        for bar in np.flatnonzero((values < low) | (values > high) | np.isinf(values))[:1]:
            case.broken(law, int(bar), f"{name} is {values[bar]:.17g}, outside [{low:g}, {high:g}]")
    if case.kernel.is_alpha:
        direction, confidence = case.outputs.T
        for bar in np.flatnonzero((direction == 0.0) & (confidence > 0.0))[:1]:
            what = f"direction is 0 with confidence {confidence[bar]:.17g}; no opinion is direction 0, confidence 0"
            case.broken(law, int(bar), what)


def _limits(kernel: Kernel) -> tuple[int, int]:
    """How many settings at the ends of their ranges were tried, and how many of them the settings refuse."""
    tried = refused = 0
    for values in itertools.islice(_corners(kernel), CASES):
        tried += 1
        try:
            params = kernel.load(values, "limits")
        except ConfigError:
            refused += 1
            continue
        try:
            warmup = _warmup(kernel, params) or 0
            case = _Case(kernel, params, law_bars(min(max(warmup + 300, 600), MOST_BARS)))
            _warms_up(case)
            _in_range(case)
        except KernelError as error:
            raise KernelError(f"{error}; law 'bears its limits' with {values}") from error
    return tried, refused


def _corners(kernel: Kernel) -> Iterator[dict[str, Any]]:
    """Each parameter at each end with the others at their defaults, then all low and all high."""
    known = ranges(kernel.params)
    for one in known:
        for value in one.ends:
            yield {one.name: value}
    for end in (0, -1):
        yield {one.name: one.ends[end] for one in known}


def _agrees(case: _Case, reference: Reference, tolerance: float) -> None:
    fields = case.kernel.state._fields
    for name, expected in reference(case.bars, case.params).items():
        got = case.out[:, fields.index(name)]
        close = (np.abs(got - expected) <= tolerance) | (np.isnan(got) & np.isnan(expected))
        for bar in np.flatnonzero(~close)[:1]:
            what = f"{name} is {got[bar]:.17g}, the reference says {expected[bar]:.17g} (tolerance {tolerance:g})"
            case.broken(LAWS[10], int(bar), what)

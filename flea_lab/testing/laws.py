"""The laws one by one: each takes a case and returns, or raises a `KernelError` that names law, bar and values."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from flea_lab.errors import ConfigError, KernelError
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import FIELDS, N_PLAIN, Bar, Floats, Kernel, Stream
from flea_lab.signal.ranges import ranges
from flea_lab.testing.case import Case, first_difference, warmup_of
from flea_lab.testing.market import law_bars

MOST_BARS = 12_000
CASES = 64
PAD = 4_096
POISONS = (np.nan, 1e300, 0.0)

Reference = Callable[[Floats, Any], Mapping[str, Floats]]

LAWS = (
    "declares",
    "keeps to its memory",
    "repeats itself",
    "is blind to the future",
    "is one step",
    "is one column",
    "resumes",
    "reads its inputs only",
    "warms up as it says",
    "stays in range",
    "bears its limits",
    "agrees with its reference",
)


def keeps_to_memory(case: Case) -> None:
    """Between two walls of a known value: neither wall changes, and neither value matters."""
    law, kernel = "keeps to its memory", case.kernel
    start = kernel.start(case.params)
    seen = []
    for fill in (7.25e77, 7.25e77, -3.5e-77):
        room = np.full(len(start) + 2 * PAD, fill)
        room[PAD:-PAD] = start
        seen.append(case.fold(case.bars, room[PAD:-PAD]))
        outside = np.concatenate([room[:PAD], room[-PAD:]])
        if (outside != fill).any():
            first = int(np.flatnonzero(outside != fill)[0])
            place = f"{PAD - first} before" if first < PAD else f"{first - PAD + 1} beyond"
            size = kernel.memory(case.params)
            case.broken(law, 0, f"it writes the float {place} its memory of {size}; declare memory=lambda p: ...")
    if first_difference(seen[0], seen[1]) is None:  # else it does not even repeat itself, which the next law tells
        case.same(law, seen[1], seen[2], "it depends on what lies beyond its memory")


def repeats(case: Case) -> None:
    """The same bits a second time, and beside a stream that is fed other bars."""
    law = "repeats itself"
    case.same(law, case.fold(case.bars), case.out, "on the same bars a second time: it keeps something elsewhere")
    mirrored = np.ascontiguousarray(case.bars[::-1])
    pair = [Stream(case.kernel, case.params), Stream(case.kernel, case.params)]
    beside = np.array([(pair[0].on(Bar(*a)), pair[1].on(Bar(*b))) for a, b in zip(case.bars, mirrored, strict=True)])
    alone = _streamed(case, case.bars)
    case.same(law, np.ascontiguousarray(beside[:, 0]), alone, "beside a second stream: the two share something")


def blind_to_future(case: Case) -> None:
    """Nothing before a cut changes when everything from it on is poisoned."""
    for cut, poison in itertools.product(case.cuts(), POISONS):
        bars = case.bars.copy()
        bars[cut:] = poison
        what = f"when bars from {cut} on are {poison:g}"
        case.same("is blind to the future", case.fold(bars)[:cut], case.out[:cut], what)


def one_step(case: Case) -> None:
    """The fold is the stream, in every state field."""
    case.same("is one step", case.out, _streamed(case, case.bars), "which is what the stream says")


def one_column(case: Case) -> None:
    """What a sweep computes of an alpha, in blocks and beside a symbol with holes, is what the stream says."""
    if not case.kernel.is_alpha:
        return
    n = len(case.bars)
    there = np.ones((2, n), np.int64)
    there[1, n // 7 :: 11] = 0
    bars = np.ascontiguousarray(np.stack([case.bars, case.bars]))
    split = np.ascontiguousarray(bars[..., :N_PLAIN]), np.ascontiguousarray(bars[..., N_PLAIN:])
    columns = Columns(case.kernel, [case.params], *split, there, n)
    said = np.full((2, n, 2), np.nan)
    for first, last in itertools.pairwise([0, *case.cuts(), n]):
        columns.advance(first, last)
        said[:, first:last] = np.stack([columns.direction[0], columns.confidence[0]], axis=-1)[:, : last - first]
    for s, what in enumerate(("in a sweep's columns", "in a sweep's columns of a symbol with holes")):
        at = np.flatnonzero(there[s])
        out = case.out if s == 0 else case.fold(np.ascontiguousarray(case.bars[at]))
        right, got = np.full_like(case.out, np.nan), np.full_like(case.out, np.nan)
        right[at] = out
        got[:] = right
        got[:, list(case.kernel.columns)] = said[s]
        case.same("is one column", got, right, what)


def _streamed(case: Case, bars: Floats) -> Floats:
    stream = Stream(case.kernel, case.params)
    return np.array([stream.on(Bar(*bar)) for bar in bars])


def resumes(case: Case) -> None:
    """State and memory saved as bytes and restored go on as if nothing had happened."""
    for cut in case.cuts():
        mem = case.kernel.start(case.params)
        before = case.fold(case.bars[:cut], mem)
        saved = mem.tobytes()
        after = case.fold(case.bars[cut:], np.frombuffer(saved).copy())
        case.same("resumes", np.concatenate([before, after]), case.out, f"when it is resumed after {cut} bars")


def reads_inputs_only(case: Case) -> None:
    """Poison in a field that is not declared changes nothing."""
    for name, poison in itertools.product(FIELDS, POISONS):
        if name not in case.kernel.inputs + case.kernel.optional:
            bars = case.bars.copy()
            bars[:, FIELDS.index(name)] = poison
            what = f"when {name}, which it does not declare, is {poison:g}"
            case.same("reads its inputs only", case.fold(bars), case.out, what)


def warms_up(case: Case) -> None:
    """NaN on exactly the first `warmup - 1` bars; a prefix, common to all outputs, where it depends on the data."""
    law, warmup, names = "warms up as it says", case.warmup, case.kernel.outputs
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


def says_something(case: Case) -> None:
    """At least one output on the bars at hand, or nothing was judged."""
    if np.isnan(case.outputs).all():
        text = f"it says nothing on {len(case.bars)} bars; give check_kernel bars that it can judge"
        raise KernelError(f"kernel {case.kernel.name} breaks the law 'warms up as it says': {text}")


def in_range(case: Case) -> None:
    """Direction in [-1, 1], confidence in [0, 1], none of it in direction 0; a feature is finite."""
    law, names = "stays in range", case.kernel.outputs
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


def bears_limits(kernel: Kernel) -> tuple[int, int]:
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
            warmup = warmup_of(kernel, params) or 0
            case = Case(kernel, params, law_bars(min(max(warmup + 300, 600), MOST_BARS)))
            warms_up(case)
            in_range(case)
        except KernelError as error:
            raise KernelError(f"{error}; law 'bears its limits' with {values}") from error
    return tried, refused


def _corners(kernel: Kernel) -> Iterator[dict[str, Any]]:
    """Each parameter at each end with the others at their defaults, then all low and all high."""
    known = ranges(kernel.params)
    for one in known:
        for value in one.ends:
            yield {one.name: value}
    for end in (0, -1) if len(known) > 1 else ():
        yield {one.name: one.ends[end] for one in known}


def agrees(case: Case, reference: Reference, tolerance: float) -> None:
    """Every field that the reference gives, within an absolute tolerance; NaN where it has NaN."""
    fields = case.kernel.state._fields
    for name, expected in reference(case.bars, case.params).items():
        got = case.out[:, fields.index(name)]
        close = (np.abs(got - expected) <= tolerance) | (np.isnan(got) & np.isnan(expected))
        for bar in np.flatnonzero(~close)[:1]:
            what = f"{name} is {got[bar]:.17g}, the reference says {expected[bar]:.17g} (tolerance {tolerance:g})"
            case.broken("agrees with its reference", int(bar), what)


JUDGED = (
    keeps_to_memory,
    repeats,
    blind_to_future,
    one_step,
    resumes,
    reads_inputs_only,
    warms_up,
    says_something,
    in_range,
    one_column,
)
"""The laws that judge one case, in the order in which they are asked: what would mislead the next comes first."""

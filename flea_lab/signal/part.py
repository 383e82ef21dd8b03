"""What several steps have in common: an average, a window, a difference, named once and computed once.

A part is to its sources what a kernel is to a bar. A kernel names the parts that it reads, each with sources (fields of
the bar, or parts named before it) and with parameters (numbers, or the names of the kernel's own). A stream steps them
bar by bar; a sweep computes each once for every distinct setting. A part steps from the first bar on which all its
sources are known, and is known itself from its own warm-up on.
"""

import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cached_property
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import Struct

from flea_lab.compiled import borrow, compiled_afresh, read_floats, write_floats
from flea_lab.errors import KernelError
from flea_lab.signal.rolling import Floats, push
from flea_lab.signal.state import with_start_values

Kind = Literal["recursive", "windowed", "pointwise"]
PER_PART = 3
"""Floats that a row of parameters holds of a part behind the part's own: see `row_of`."""


class Part(Struct, frozen=True, kw_only=True, dict=True):
    """A step that kernels share, made by `part`, `windowed` or `of`; called with sources and parameters it is a `Use`.

    Recursive: `step(s, x, p, memory) -> state` with a field `value`. Windowed: `step(x, p) -> value`, the sources
    in `x` being the last `p.window` values, oldest first. Pointwise: `step(x, p) -> value` of the sources alone.
    `warmup(p)` counts the values of the sources up to and including the first that makes it known. `column`, where a
    windowed or recursive part has one, writes the same bits for many bars at once; `check_kernel` holds it to that, and
    to `oldest`: that a window says no more than the oldest value of its only source, whose column then serves for both.
    """

    name: str
    kind: Kind
    step: Callable[..., Any]
    sources: tuple[str, ...]
    params: tuple[str, ...]
    state: type[Any] | None = None
    warmup: Callable[[Any], int] = lambda p: 1
    memory: Callable[[Any], int] = lambda p: 0
    column: Callable[..., Any] | None = None
    oldest: bool = False
    lone: bool = False
    doc: str = ""

    def __call__(self, *sources: str, **values: str | float) -> "Use":
        """This part of `sources`, each the name of a field of the bar or of a part named before."""
        if len(sources) != len(self.sources):
            told = f"takes {len(self.sources)} sources ({', '.join(self.sources)}), given {len(sources)}"
            raise KernelError(f"part {self.name} {told}")
        if set(values) != set(self.params):
            told = f"takes the parameters {', '.join(self.params) or 'none'}, given {', '.join(values) or 'none'}"
            raise KernelError(f"part {self.name} {told}")
        return Use(self, sources, tuple(values[name] for name in self.params))

    @property
    def n_params(self) -> int:
        return len(self.params)

    @property
    def n_state(self) -> int:
        return len(self.state._fields) if self.state is not None else 0

    @cached_property
    def params_tuple(self) -> type[Any]:
        """The parameters as the step sees them; one that is always 0 where there are none."""
        return namedtuple(f"{self.name}_params", self.params or ("none",))

    @cached_property
    def sources_tuple(self) -> type[Any]:
        """The sources as the step sees them."""
        return namedtuple(f"{self.name}_sources", self.sources)

    @cached_property
    def call(self) -> Callable[..., float]:
        """Compiled `call(x, p)` of a part without state."""
        step = self.step
        if _arity(step) == 2:
            return step

        @compiled_afresh
        def call(x: Any, p: Any) -> float:
            return step(x)

        return call

    @cached_property
    def advance(self) -> Callable[..., float]:
        """Compiled `advance(mem, at, size, known, x, prow, prow_at)`: the value after the sources `x`, a tuple of
        floats; state and windows are kept in `size` floats of `mem`, and the value is NaN unless it is `known`."""
        return {"recursive": _recursive, "windowed": _windowed, "pointwise": _pointwise}[self.kind](self)

    def over(self, *columns: Any, **values: float) -> Floats:
        """The value after every place of `columns`, one array a source; NaN until it is known.

        `parts.ema.over(closes, period=20)` is the average that a kernel would see.
        """
        told = self(*self.sources[: len(columns)], **values).values
        numbers = tuple(float(value) for value in told)
        x, mem = np.column_stack([np.asarray(c, np.float64) for c in columns]), np.array(self.start(numbers))
        out, named = np.full(len(x), nan), self.named(numbers)
        self._over(np.ascontiguousarray(x), mem, np.array([*numbers, 0.0]), int(self.warmup(named)), out)
        return out

    @cached_property
    def _over(self) -> Callable[..., None]:
        advance, n_sources = self.advance, len(self.sources)

        @compiled_afresh
        def over(x: Floats, mem: Floats, prow: Floats, ready: int, out: Floats) -> None:
            for i in range(out.shape[0]):
                now = read_floats(x, i * n_sources, n_sources)
                out[i] = advance(mem, 0, mem.shape[0], i + 1 >= ready, now, prow, 0)

        return over

    def named(self, values: tuple[float, ...]) -> Any:
        """Parameters by name, whole numbers as such: what `warmup` and `memory` ask."""
        return self.params_tuple(*[int(v) if v == int(v) else v for v in values or (0.0,)])

    def size(self, values: tuple[float, ...]) -> int:
        """Floats of state and windows."""
        own = int(self.memory(self.named(values)))
        return self.n_state + (own * len(self.sources) if self.kind == "windowed" else own)

    def start(self, values: tuple[float, ...]) -> list[float]:
        """State and windows before the first value."""
        state = list(self.state()) if self.state is not None else []
        return state + [0.0] * (self.size(values) - len(state))


class Use(Struct, frozen=True):
    """A part as a kernel has it: of which sources, with which parameters (numbers, or names of the kernel's)."""

    part: Part
    sources: tuple[str, ...]
    values: tuple[str | float, ...]


class Node(NamedTuple):
    """A use in its place: sources as numbers (a field of the bar, or the count of fields and the place of a part), and
    for every parameter a column of the kernel's row or a number."""

    name: str
    part: Part
    sources: tuple[int, ...]
    columns: tuple[int | None, ...]
    numbers: tuple[float, ...]


def part(
    state: type[Any],
    *,
    params: tuple[str, ...] = (),
    sources: tuple[str, ...] = ("value",),
    warmup: Callable[[Any], int] = lambda p: 1,
    memory: Callable[[Any], int] = lambda p: 0,
    column: Callable[..., Any] | None = None,
    lone: bool = False,
) -> Callable[[Callable[..., Any]], Part]:
    """Makes the decorated `step(s, x, p, memory) -> state` a part; its value is the field `value` of the state.

    `column(s, values, p, memory, out) -> state`, where given, takes all of `values`, those of its only source, and
    writes to `out` what the step says after each; state and memory are then as the steps would have left them. `lone`
    says that it is for a column by itself: several step side by side.
    """

    def declare(step: Callable[..., Any]) -> Part:
        name = step.__name__
        if "value" not in state._fields or len(state._field_defaults) != len(state._fields):
            raise KernelError(f"part {name}: its state needs a field 'value', and every field a start value, a float")
        _require_arity(name, step, (4,), "state, x, params and memory")
        return Part(
            name=name,
            kind="recursive",
            step=compiled_afresh(with_start_values(step, state)),
            sources=sources,
            params=params,
            state=state,
            warmup=warmup,
            memory=memory,
            column=column,
            lone=lone,
            doc=(step.__doc__ or "").strip(),
        )

    return declare


def windowed(
    *,
    params: tuple[str, ...] = (),
    sources: tuple[str, ...] = ("value",),
    column: Callable[..., Any] | None = None,
    oldest: bool = False,
) -> Callable[[Callable[..., Any]], Part]:
    """Makes the decorated `step(x, p) -> value` a part of the last `window` values of its sources, oldest first.

    `window` is its first parameter. `column(values, out, p)`, where given, writes to `out` what the step says of every
    window of `values`, whose first begins at place 0. `oldest` says that the value is the oldest of its only source.
    """

    def declare(step: Callable[..., Any]) -> Part:
        name = step.__name__
        _require_arity(name, step, (1, 2), "x and params")
        return Part(
            name=name,
            kind="windowed",
            step=compiled_afresh(step),
            sources=sources,
            params=("window", *params),
            warmup=lambda p: int(p.window),
            memory=lambda p: int(p.window),
            column=column,
            oldest=oldest,
            doc=(step.__doc__ or "").strip(),
        )

    return declare


def of(function: Callable[..., Any], *sources: str, **values: str | float) -> Use:
    """`function(x)` or `function(x, p)` of the sources of the same bar, under their own names in `x`.

    >>> of(lambda x: (x.fast - x.slow) / x.slow, "fast", "slow").sources
    ('fast', 'slow')
    """
    name = "of_" + "_".join(sources)
    _require_arity(name, function, (1, 2), "x and params")
    made = Part(
        name=name, kind="pointwise", step=compiled_afresh(function), sources=sources, params=tuple(values), doc=""
    )
    return made(*sources, **values)


def placed(kernel: str, uses: Mapping[str, Use], fields: tuple[str, ...], params: tuple[str, ...]) -> tuple[Node, ...]:
    """The uses of a kernel in their places. `KernelError` names a source or parameter that there is not."""
    names = list(uses)
    nodes = []
    for k, (name, use) in enumerate(uses.items()):
        if name in fields or not name.isidentifier():
            raise KernelError(f"kernel {kernel}: a part cannot be called {name!r}, which the bar has already")
        before = {**{f: i for i, f in enumerate(fields)}, **{n: len(fields) + i for i, n in enumerate(names[:k])}}
        for source in use.sources:
            if source not in before:
                told = "is named after it" if source in names else f"is neither one of {', '.join(before)}"
                raise KernelError(f"kernel {kernel}: part {name} has the source {source!r}, which {told}")
        for value in use.values:
            if isinstance(value, str) and value not in params:
                known = ", ".join(params)
                raise KernelError(f"kernel {kernel}: part {name} has {value!r}, no parameter of it, known are {known}")
        columns = tuple(params.index(v) if isinstance(v, str) else None for v in use.values)
        numbers = tuple(nan if isinstance(v, str) else float(v) for v in use.values)
        nodes.append(Node(name, use.part, tuple(before[source] for source in use.sources), columns, numbers))
    return tuple(nodes)


class Settled(NamedTuple):
    """A part with its parameters: the count of bars from which it steps, and from which its value is known."""

    values: tuple[float, ...]
    size: int
    first: int
    ready: int


def settled(nodes: tuple[Node, ...], own: list[float], n_fields: int) -> list[Settled]:
    """Every part of a kernel under the parameters `own`, in its order."""
    out: list[Settled] = []
    for node in nodes:
        values = tuple(n if c is None else own[c] for c, n in zip(node.columns, node.numbers, strict=True))
        first = max([1, *(out[source - n_fields].ready for source in node.sources if source >= n_fields)])
        ready = first - 1 + int(node.part.warmup(node.part.named(values)))
        out.append(Settled(values, node.part.size(values), first, ready))
    return out


def row_of(parts: list[Settled]) -> list[float]:
    """What the row of parameters holds behind the kernel's own: the count of bars from which the step is called, the
    floats that the parts keep, then of every part its parameters, its size, and the counts from which it steps and is
    known."""
    out = [float(max(one.ready for one in parts)), float(sum(one.size for one in parts))]
    for one in parts:
        out += [*one.values, float(one.size), float(one.first), float(one.ready)]
    return out


def chain(nodes: tuple[Node, ...], k: int = 0) -> Callable[..., Any]:
    """Compiled `run(mem, at, prow, prow_at, count, values)`: the values of part `k` and of all after it appended
    to `values`, the tuple of what is known of this bar: its fields, then the parts before."""
    if k == len(nodes):

        @compiled_afresh
        def end(mem: Floats, at: int, prow: Floats, prow_at: int, count: float, values: Any) -> Any:
            return values

        return end

    advance, n_params = nodes[k].part.advance, nodes[k].part.n_params
    pick, rest = picked(nodes[k].sources), chain(nodes, k + 1)

    @compiled_afresh
    def run(mem: Floats, at: int, prow: Floats, prow_at: int, count: float, values: Any) -> Any:
        told = prow_at + n_params
        width, first, ready = read_floats(prow, told, PER_PART)  # by flat position: rows may lie in a table
        size = int(width)
        value = nan
        if count >= first:
            value = advance(mem, at, size, count >= ready, pick(values), prow, prow_at)
        return rest(mem, at + size, prow, told + PER_PART, count, (*values, value))

    return run


def picked(places: tuple[int, ...]) -> Callable[..., Any]:
    """Compiled `pick(values)`: those at `places` of a tuple, as a tuple."""
    place = places[0]
    if len(places) == 1:

        @compiled_afresh
        def last(values: Any) -> Any:
            return (values[place],)

        return last

    rest = picked(places[1:])

    @compiled_afresh
    def pick(values: Any) -> Any:
        return (values[place], *rest(values))

    return pick


def _recursive(one: Part) -> Callable[..., float]:
    step, state_type, n_state = one.step, one.state, one.n_state
    assert state_type is not None
    params_type, sources_type, n_params = one.params_tuple, one.sources_tuple, max(one.n_params, 1)
    value_at, none = state_type._fields.index("value"), one.n_params == 0

    @compiled_afresh
    def advance(mem: Floats, at: int, size: int, known: bool, x: Any, prow: Floats, prow_at: int) -> float:
        before = state_type(*read_floats(mem, at, n_state))
        # without parameters the size stands there: nobody reads it
        params = params_type(*read_floats(prow, prow_at, n_params))
        after = step(before, sources_type(*x), params, borrow(mem, at + n_state, size - n_state))
        write_floats(mem, at, after)
        value: float = after[value_at]
        return value if known else nan

    assert not none or n_params == 1
    return advance


def _windowed(one: Part) -> Callable[..., float]:
    call, params_type, sources_type = one.call, one.params_tuple, one.sources_tuple
    n_params, n_sources = one.n_params, len(one.sources)
    windows = _pushed(0, n_sources)

    @compiled_afresh
    def advance(mem: Floats, at: int, size: int, known: bool, x: Any, prow: Floats, prow_at: int) -> float:
        last = sources_type(*windows(mem, at, size // n_sources, x))
        if not known:
            return nan
        return call(last, params_type(*read_floats(prow, prow_at, n_params)))

    return advance


def _pointwise(one: Part) -> Callable[..., float]:
    call, params_type, sources_type, n_params = one.call, one.params_tuple, one.sources_tuple, max(one.n_params, 1)

    @compiled_afresh
    def advance(mem: Floats, at: int, size: int, known: bool, x: Any, prow: Floats, prow_at: int) -> float:
        return call(sources_type(*x), params_type(*read_floats(prow, prow_at, n_params)))

    return advance


def _pushed(k: int, n: int) -> Callable[..., Any]:
    """Compiled: value `k` and all after it pushed to their windows, which come back as a tuple."""
    if k == n - 1:

        @compiled_afresh
        def last(mem: Floats, at: int, window: int, x: Any) -> Any:
            view = borrow(mem, at + k * window, window)
            push(view, x[k])
            return (view,)

        return last

    rest = _pushed(k + 1, n)

    @compiled_afresh
    def push_all(mem: Floats, at: int, window: int, x: Any) -> Any:
        view = borrow(mem, at + k * window, window)
        push(view, x[k])
        return (view, *rest(mem, at, window, x))

    return push_all


def _arity(step: Callable[..., Any]) -> int:
    return len(inspect.signature(getattr(step, "py_func", step)).parameters)


def _require_arity(name: str, step: Callable[..., Any], allowed: tuple[int, ...], told: str) -> None:
    if _arity(step) not in allowed or getattr(step, "__defaults__", None):
        raise KernelError(
            f"part {name}: its step takes {_arity(step)} arguments, it must take {told}, without defaults"
        )

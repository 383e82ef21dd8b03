"""A signal: one compiled step that a sweep folds over arrays and the desk calls on each closed candle.

State, input and parameters are three named tuples of floats. `step(state, bar, params, memory) -> state` also owns
`memory`, a float array that it alone writes, for windows. A kernel that has nothing to say yet leaves its outputs NaN;
one that has no opinion returns direction 0, confidence 0.

A kernel may name parts (see `part`), which a sweep computes once for all that share them. Its step then gets their
values in `x` and is called from the first bar on which all are known: `step(bar, params, x) -> state` where nothing of
its own goes from bar to bar, else `step(state, bar, params, memory, x) -> state`. Fields of the bar that it does not
declare are NaN there.
"""

import dis
import inspect
import struct
from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise
from math import nan
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from flea_lab.compiled import borrow, compiled, compiled_afresh, read_floats, write_floats
from flea_lab.errors import KernelError
from flea_lab.settings import Settings, load_settings
from flea_lab.signal.part import Node, Settled, Use, chain, picked, placed, row_of, settled
from flea_lab.signal.state import with_start_values

Floats = npt.NDArray[np.float64]


class Bar(NamedTuple):
    """What a step sees: one closed candle, or one trade (all four prices its own, `buy_volume` its size or 0).

    Volumes in base units; `buy_volume` (taker buys) and `funding_rate` (last settled, a fraction) are NaN where absent.
    What follows are the features: what the bar's book, prints and funding offered at its close, each NaN where it is
    not known. `imbalance` is (bids - asks) / (bids + asks) over the best levels, `spread_bps` the quoted spread.
    `trades` counts the bar's prints, `trade_imbalance` is (buys - sells) / all of them by count, 0 without any. `vpin`
    is measured print by print. `current_rate` is what is expected to settle in `hours_to_funding`, `predicted_rate`
    what after it (fractions of notional an interval).
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    buy_volume: float
    funding_rate: float
    imbalance: float = nan
    spread_bps: float = nan
    trades: float = nan
    trade_imbalance: float = nan
    vpin: float = nan
    current_rate: float = nan
    predicted_rate: float = nan
    hours_to_funding: float = nan


FIELDS = Bar._fields
N_FIELDS = len(FIELDS)
FEATURES = tuple(Bar._field_defaults)
"""The fields of a bar that candles and settlements do not have, in their order, after all others."""

N_FEATURES = len(FEATURES)
N_PLAIN = N_FIELDS - N_FEATURES

pack_bar: Callable[..., None] = struct.Struct(f"{N_FIELDS}d").pack_into
"""`pack_bar(row, 0, *bar)` writes a bar to an array `(N_FIELDS,)`: that crosses into compiled code at a third of the
cost of a tuple."""

pack_plain: Callable[..., None] = struct.Struct(f"{N_PLAIN}d").pack_into
"""`pack_bar` without the features."""

ALPHA_OUTPUTS = ("direction", "confidence")


class Kernel(Struct, frozen=True, kw_only=True, dict=True):
    """One signal: its parameters, its state, its step.

    `outputs` are state fields: direction and confidence for an alpha, anything else for a feature. `warmup(params)` is
    the number of bars up to and including the first with an output, or None where it depends on the data.
    `memory(params)` is the number of floats of window memory. `inputs` are the bar fields without which it cannot run,
    `optional` those that it reads where there are any: NaN in them is no hindrance.
    """

    name: str
    params: type[Settings]
    state: type[Any]
    step: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shown: tuple[str, ...]
    warmup: Callable[[Any], int] | None
    memory: Callable[[Any], int]
    doc: str
    source: str = ""
    optional: tuple[str, ...] = ()
    parts: tuple[Node, ...] = ()
    own_memory: Callable[[Any], int] = lambda params: 0
    own_warmup: Callable[[Any], int] | None = None

    @property
    def is_alpha(self) -> bool:
        return self.outputs == ALPHA_OUTPUTS

    @property
    def n_state(self) -> int:
        return len(self.state._fields)

    @property
    def n_params(self) -> int:
        return len(self.params.__struct_fields__)

    @cached_property
    def stateless(self) -> bool:
        """Whether nothing but what its parts keep goes from one bar to the next."""
        return bool(self.parts) and _arity(self.step) == len(STATELESS)

    def settled(self, own: Floats) -> list[Settled]:
        """The parts under the parameters `own`, as `own_row` has them."""
        return settled(self.parts, own.tolist(), N_FIELDS)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Where the outputs stand in the state."""
        return tuple(self.state._fields.index(name) for name in self.outputs)

    @cached_property
    def run(self) -> Callable[..., None]:
        """Compiled `run(mem, at, size, bar, prow, prow_at)`: one step on the state and memory kept in `size` floats of
        `mem` from flat position `at`, with the parameters in `prow` from `prow_at`."""
        return _run_parts(self) if self.parts else _run(self.step, self.state, self.params_tuple)

    @cached_property
    def params_tuple(self) -> type[Any]:
        """The parameters as the step sees them."""
        return namedtuple(f"{self.name}_params", self.params.__struct_fields__)

    @cached_property
    def _fold(self) -> Callable[..., None]:
        return _fold(self.run)

    @cached_property
    def _one(self) -> Callable[..., None]:
        return _one(self.run)

    def load(self, values: Mapping[str, Any], place: str) -> Settings:
        """Validated parameters; `ConfigError` names the field, the value and `place`."""
        return load_settings(dict(values), self.params, place)

    @cached_property
    def parts_tuple(self) -> type[Any]:
        """The values of the parts as the step sees them."""
        return namedtuple(f"{self.name}_parts", [node.name for node in self.parts])

    def own_row(self, params: Settings) -> Floats:
        """Parameters as the floats the step sees, shape `(n_params,)`; a choice is its position in its list."""
        return np.array([_number(self.params, name, getattr(params, name)) for name in self.params.__struct_fields__])

    def row(self, params: Settings) -> Floats:
        """`own_row`, and behind it what the parts are told; what `run` reads."""
        own = self.own_row(params)
        return np.array([*own, *row_of(self.settled(own))]) if self.parts else own

    def start(self, params: Settings) -> Floats:
        """State and memory before the first bar, shape `(n_state + memory,)`."""
        mem = np.zeros(self.n_state + self.memory(params))
        mem[: self.n_state] = list(self.state())
        if self.parts:
            found = zip(self.parts, self.settled(self.own_row(params)), strict=True)
            kept = [value for node, one in found for value in node.part.start(one.values)]
            mem[self.n_state + 1 : self.n_state + 1 + len(kept)] = kept
        return mem

    def fold(self, mem: Floats, bars: Floats, params: Settings, fields: tuple[str, ...] | None = None) -> Floats:
        """The state fields (by default the outputs) after every bar, shape `(n_bars, n_fields)`.

        `bars` has shape `(n_bars, N_FIELDS)` in the order of `Bar`. `mem` is advanced in place, so a fold resumes where
        the last one stopped. `KernelError` for another width and for a `mem` that is not what `start` gives: compiled
        code trusts both.
        """
        bars = np.ascontiguousarray(bars, dtype=np.float64)
        if bars.ndim != 2 or bars.shape[1] != N_FIELDS:
            raise KernelError(f"kernel {self.name}: bars have shape {bars.shape}, must have (n_bars, {N_FIELDS})")
        size = self.n_state + self.memory(params)
        if mem.shape != (size,) or mem.dtype != np.float64 or not mem.flags.carray:
            told = f"mem is {mem.dtype} of shape {mem.shape}, must be what start(params) gives"
            raise KernelError(f"kernel {self.name}: {told}, {size} contiguous, writable floats")
        wanted = self.outputs if fields is None else fields
        columns = np.array([self.state._fields.index(name) for name in wanted], dtype=np.int64)
        out = np.empty((len(bars), len(wanted)))
        self._fold(mem, bars, self.row(params), columns, out)
        return out


class Stream:
    """One kernel fed bar by bar, as the desk feeds it."""

    def __init__(self, kernel: Kernel, params: Settings) -> None:
        self.kernel = kernel
        self._row = kernel.row(params)
        self._mem = kernel.start(params)
        self._bar = np.full(N_FIELDS, nan)

    def on(self, bar: Bar) -> Any:
        """The state after `bar`, a named tuple of floats."""
        self.feed(bar)
        return self.state

    def feed(self, bar: Bar) -> None:
        """Steps on `bar`; what it says stays in `state`."""
        pack_bar(self._bar, 0, *bar)
        self.kernel._one(self._mem, self._bar, self._row)

    @property
    def state(self) -> Any:
        """The state as it stands."""
        return self.kernel.state(*self._mem[: self.kernel.n_state].tolist())

    @property
    def memory(self) -> Floats:
        """State and window memory, shape `(n_state + memory,)`; the array itself, to be kept and put back."""
        return self._mem


STATEFUL = ("state", "bar", "params", "memory", "x")
STATELESS = ("bar", "params", "x")
"""What a step takes that reads parts, and keeps something of its own or nothing."""


def kernel(
    params: type[Settings],
    state: type[Any],
    *,
    inputs: tuple[str, ...] = (),
    warmup: Callable[[Any], int] | None = None,
    memory: Callable[[Any], int] = lambda params: 0,
    outputs: tuple[str, ...] = ALPHA_OUTPUTS,
    shown: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    parts: Mapping[str, Use] | None = None,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Makes the decorated step a `Kernel` named like the function. `KernelError` where the declaration cannot be.

    With `parts` their fields of the bar are inputs without being named, and the warm-up is theirs where none is given.
    """

    def declare(step: Callable[..., Any]) -> Kernel:
        name = step.__name__
        nodes = placed(name, parts or {}, FIELDS, params.__struct_fields__)
        read = {FIELDS[source] for node in nodes for source in node.sources if source < N_FIELDS}
        needed = inputs + tuple(f for f in FIELDS if f in read and f not in inputs + optional)
        _check_declaration(name, state, needed, optional, outputs + shown)
        _check_arguments(name, step, bool(nodes))
        if nodes:
            _check_read(name, step, needed + optional)
        made = Kernel(
            name=name,
            params=params,
            state=state,
            step=compiled_afresh(with_start_values(step, state)),
            inputs=needed,
            outputs=outputs,
            shown=shown,
            warmup=warmup,
            memory=memory,
            doc=(step.__doc__ or "").strip(),
            optional=optional,
            parts=nodes,
            own_memory=memory,
            own_warmup=warmup,
        )
        return _with_parts(made) if nodes else made

    return declare


def _with_parts(bare: Kernel) -> Kernel:
    """`bare` with what its parts keep in its memory, and their warm-up where it has none."""
    own = bare.own_memory

    def memory(params: Any) -> int:
        return 1 + sum(one.size for one in bare.settled(bare.own_row(params))) + own(params)

    def warmup(params: Any) -> int:
        return max(one.ready for one in bare.settled(bare.own_row(params)))

    return msgspec.structs.replace(bare, memory=memory, warmup=bare.warmup or warmup)


def _check_arguments(name: str, step: Callable[..., Any], parts: bool) -> None:
    count = len(inspect.signature(step).parameters)
    if parts:
        allowed = f"{' and '.join([', '.join(STATEFUL[:-1]), STATEFUL[-1]])}, or bar, params and x"
    else:
        allowed = "state, bar, params and memory"
    if count not in ((len(STATEFUL), len(STATELESS)) if parts else (len(STATEFUL) - 1,)) or step.__defaults__:
        raise KernelError(f"kernel {name}: its step takes {count} arguments, it must take {allowed}, without defaults")


def _check_read(name: str, step: Callable[..., Any], declared: tuple[str, ...]) -> None:
    """Refuses a step over parts that reads of the bar what it does not declare: it is not given that."""
    names = list(inspect.signature(step).parameters)
    bar = names[(STATEFUL if len(names) == len(STATEFUL) else STATELESS).index("bar")]
    for load, found in pairwise(dis.get_instructions(step)):
        # from Python 3.13 one instruction may load two variables
        loaded = load.argval[-1] if isinstance(load.argval, tuple) else load.argval
        reads = found.opname == "LOAD_ATTR" and load.opname.startswith("LOAD_FAST") and loaded == bar
        if reads and found.argval in FIELDS and found.argval not in declared:
            raise KernelError(f"kernel {name}: its step reads bar.{found.argval}, name it in inputs or in optional")


def _arity(step: Callable[..., Any]) -> int:
    return len(inspect.signature(getattr(step, "py_func", step)).parameters)


def _check_declaration(
    name: str, state: type[Any], inputs: tuple[str, ...], optional: tuple[str, ...], fields: tuple[str, ...]
) -> None:
    for field in fields:
        if field not in state._fields:
            raise KernelError(f"kernel {name}: output {field!r} is not a field of its state {state._fields}")
    for field in inputs + optional:
        if field not in FIELDS:
            raise KernelError(f"kernel {name}: input {field!r} is not a bar field, known are {', '.join(FIELDS)}")
    if not inputs:
        raise KernelError(f"kernel {name}: inputs are empty, name the bar fields that it reads")
    if len(state._field_defaults) != len(state._fields):
        raise KernelError(f"kernel {name}: every state field needs a start value, a float")


def _number(kind: type[Settings], name: str, value: Any) -> float:
    if isinstance(value, str):
        for field in msgspec.structs.fields(kind):
            if field.name == name and get_origin(field.type) is Literal:
                return float(get_args(field.type).index(value))
        raise KernelError(f"parameter {name} = {value!r} is text without a list of choices (use Literal)")
    return float(value)


def _run(step: Callable[..., Any], state_type: type[Any], params_type: type[Any]) -> Callable[..., None]:
    n_state, n_params = len(state_type._fields), len(params_type._fields)

    @compiled_afresh
    def run(mem: Floats, at: int, size: int, bar: Bar, prow: Floats, prow_at: int) -> None:
        before = state_type(*read_floats(mem, at, n_state))
        params = params_type(*read_floats(prow, prow_at, n_params))
        write_floats(mem, at, step(before, bar, params, borrow(mem, at + n_state, size - n_state)))

    return run


def _run_parts(kernel: Kernel) -> Callable[..., None]:
    state_type, n_state, params_type, n_params = kernel.state, kernel.n_state, kernel.params_tuple, kernel.n_params
    fields, parts = picked(tuple(range(N_FIELDS))), chain(kernel.parts)
    values, x_type = picked(tuple(N_FIELDS + k for k in range(len(kernel.parts)))), kernel.parts_tuple
    told_of = kernel.inputs + kernel.optional
    seen = picked(tuple(i if name in told_of else N_FIELDS for i, name in enumerate(FIELDS)))
    step = called(kernel)

    @compiled_afresh
    def run(mem: Floats, at: int, size: int, bar: Bar, prow: Floats, prow_at: int) -> None:
        kept, told = borrow(mem, at, size), borrow(prow, prow_at + n_params, 2)
        kept[n_state] += 1.0
        count = kept[n_state]
        x = values(parts(mem, at + n_state + 1, prow, prow_at + n_params + 2, count, fields(bar)))
        if count >= told[0]:
            own = n_state + 1 + int(told[1])
            params = params_type(*read_floats(prow, prow_at, n_params))
            memory = borrow(mem, at + own, size - own)
            before = state_type(*read_floats(mem, at, n_state))
            shown = Bar(*seen((*fields(bar), nan)))  # what a sweep's columns show of it, and nothing else
            write_floats(mem, at, step(before, shown, params, memory, x_type(*x)))

    return run


def called(kernel: Kernel) -> Callable[..., Any]:
    """The step of a kernel with parts as it is always called: `step(state, bar, params, memory, x)`."""
    step = kernel.step
    if not kernel.stateless:
        return step

    @compiled_afresh
    def bare(before: Any, bar: Bar, params: Any, memory: Floats, x: Any) -> Any:
        return step(bar, params, x)

    return bare


def _fold(run: Callable[..., None]) -> Callable[..., None]:
    @compiled_afresh
    def fold(mem: Floats, bars: Floats, prow: Floats, columns: npt.NDArray[np.int64], out: Floats) -> None:
        for i in range(bars.shape[0]):
            run(mem, 0, mem.shape[0], bar_at(bars, i * N_FIELDS), prow, 0)
            for j in range(columns.shape[0]):
                out[i, j] = mem[columns[j]]

    return fold


def _one(run: Callable[..., None]) -> Callable[..., None]:
    @compiled_afresh
    def one(mem: Floats, bar: Floats, prow: Floats) -> None:
        run(mem, 0, mem.shape[0], bar_at(bar, 0), prow, 0)

    return one


@compiled
def bar_at(bars: Floats, at: int) -> Bar:
    """The bar that begins at flat position `at` of a C-contiguous array of bars."""
    return joined_bar(bars, at, bars, at + N_PLAIN)


@compiled
def joined_bar(plain: Floats, at: int, features: Floats, features_at: int) -> Bar:
    """The bar whose candle and funding begin at flat position `at` of `plain`, its features at `features_at` of
    `features`, both C-contiguous; what a step does not read is not loaded."""
    b, f = borrow(plain, at, N_PLAIN), borrow(features, features_at, N_FEATURES)
    return Bar(b[0], b[1], b[2], b[3], b[4], b[5], b[6], f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7])

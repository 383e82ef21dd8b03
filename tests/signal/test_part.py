"""Parts: what cannot be is refused where it is written, and what a kernel sees of the bar is what it declares."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import numpy as np
import pytest

from flea_lab.compiled import compiled_afresh
from flea_lab.errors import KernelError
from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import FIELDS, N_PLAIN, Bar, Floats, Kernel, kernel
from flea_lab.signal.part import Part, Use
from flea_lab.testing import check_kernel, law_bars


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 8


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


def declared(uses: dict[str, Use], step: Callable[..., Any] | None = None, **given: Any) -> Kernel:
    def still(bar: Bar, p: Params, x: Any) -> State:
        return State(0.0, 0.0)

    return kernel(Params, State, parts=uses, **given)(step or still)


def close_of(bar: Bar) -> float:
    return bar.close


# what a part is called with


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parts.mean("close", "volume", window=3), r"^part mean takes 1 sources \(value\), given 2$"),
        (lambda: parts.mean(window=3), r"^part mean takes 1 sources \(value\), given 0$"),
        (lambda: parts.mean("close"), r"^part mean takes the parameters window, given none$"),
        (lambda: parts.mean("close", period=3), r"^part mean takes the parameters window, given period$"),
        (lambda: parts.change("close", window=3), r"^part change takes the parameters none, given window$"),
    ],
)
def test_a_part_used_as_it_cannot_be_is_refused(make: Callable[[], Use], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        make()


# how a part is declared


class NoValue(NamedTuple):
    n: float = 0.0


class NoStart(NamedTuple):
    value: float


class Started(NamedTuple):
    value: float = 0.0


def stepping(s: Any, x: Any, p: Any, memory: Floats) -> Any:
    return s


@pytest.mark.parametrize("state", [NoValue, NoStart])
def test_a_part_whose_state_has_no_value_to_begin_with_is_refused(state: type[Any]) -> None:
    message = r"^part stepping: its state needs a field 'value', and every field a start value, a float$"
    with pytest.raises(KernelError, match=message):
        parts.part(state)(stepping)


def of_two(x: Any, p: Any = None) -> float:
    return x.close


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: parts.part(Started)(close_of),
            "^part close_of: its step takes 1 arguments, it must take state, x, params and memory, without defaults$",
        ),
        (
            lambda: parts.windowed()(stepping),
            "^part stepping: its step takes 4 arguments, it must take x and params, without defaults$",
        ),
        (
            lambda: parts.of(lambda: 0.0, "close"),
            "^part of_close: its step takes 0 arguments, it must take x and params, without defaults$",
        ),
        (
            lambda: parts.of(of_two, "close"),
            "^part of_close: its step takes 2 arguments, it must take x and params, without defaults$",
        ),
    ],
)
def test_a_step_of_a_part_with_other_arguments_is_refused(make: Callable[[], Part | Use], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        make()


# how a kernel names parts


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        (
            {"close": parts.change("close")},
            "^kernel still: a part cannot be called 'close', which the bar has already$",
        ),
        ({"a b": parts.change("close")}, "^kernel still: a part cannot be called 'a b', which"),
        (
            {"first": parts.change("second"), "second": parts.change("close")},
            "^kernel still: part first has the source 'second', which is named after it$",
        ),
        (
            {"first": parts.change("clsoe")},
            "^kernel still: part first has the source 'clsoe', which is neither one of open, high, low, close, ",
        ),
        (
            {"first": parts.mean("close", window="widow")},
            "^kernel still: part first has 'widow', no parameter of it, known are window$",
        ),
    ],
)
def test_parts_that_a_kernel_cannot_place_are_refused(uses: dict[str, Use], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        declared(uses)


def test_a_step_over_parts_takes_one_of_two_forms() -> None:
    def short(bar: Bar, x: Any) -> State:
        return State(0.0, 0.0)

    message = (
        "^kernel short: its step takes 2 arguments, it must take state, bar, params, memory and x, "
        "or bar, params and x, without defaults$"
    )
    with pytest.raises(KernelError, match=message):
        declared({"up": parts.change("close")}, short)


# what a step sees of the bar


def test_a_step_over_parts_that_reads_what_it_does_not_declare_is_refused() -> None:
    def above(bar: Bar, p: Params, x: Any) -> State:
        return State(1.0 if bar.close > x.top else -1.0, 1.0)

    def above_with_state(state: State, bar: Bar, p: Params, memory: Floats, x: Any) -> State:
        return State(1.0 if bar.close > x.top else -1.0, 1.0)

    uses = {"top": parts.highest("high", window="window")}
    for step in (above, above_with_state):
        with pytest.raises(
            KernelError, match=rf"^kernel {step.__name__}: its step reads bar\.close, name it in inputs"
        ):
            declared(uses, step)
        for given in ({"inputs": ("close",)}, {"optional": ("close",)}):
            assert declared(uses, step, **given).inputs[-1] == "high"


def test_what_is_not_declared_is_hidden_from_stream_and_columns_alike() -> None:
    """Where nothing can be seen in the step's own words."""
    asked = compiled_afresh(close_of)

    def blind(bar: Bar, p: Params, x: Any) -> State:
        return State(1.0 if asked(bar) > x.move else -1.0, 1.0)

    found, bars = declared({"move": parts.change("high")}, blind), law_bars(50)
    params = found.load({}, "t")
    streamed = found.fold(found.start(params), bars, params)
    there = np.ones((1, 50), np.int64)
    columns = Columns(found, [params], bars[None, :, :N_PLAIN].copy(), bars[None, :, N_PLAIN:].copy(), there, 50)
    columns.advance(0, 50)
    assert (streamed[1:, 0] == -1.0).all()  # a comparison with NaN
    assert np.array_equal(columns.direction[0, 0], streamed[:, 0], equal_nan=True)


# a column is what its windows say


def lying(values: Floats, out: Floats, p: Any) -> None:
    for i in range(out.shape[0]):
        out[i] = values[i]


def test_a_part_whose_column_is_not_its_windows_is_caught_by_the_law() -> None:
    @parts.windowed(column=compiled_afresh(lying))
    def centre(x: Any) -> float:
        return x.value[x.value.shape[0] // 2]

    def leans(bar: Bar, p: Params, x: Any) -> State:
        d = 1.0 if bar.close > x.centre else -0.5
        return State(d, abs(d))

    with pytest.raises(
        KernelError, match=r"^kernel leans breaks the law 'is one column' at bar \d+ .*in a sweep's col"
    ):
        check_kernel(declared({"centre": centre("close", window="window")}, leans, inputs=("close",)))


def test_a_part_over_an_array_is_what_a_kernel_sees_of_it() -> None:
    close = law_bars(60)[:, FIELDS.index("close")]
    assert np.array_equal(parts.lag.over(close, window=3)[2:], close[:-2])
    with pytest.raises(KernelError, match=r"^part lag takes the parameters window, given none$"):
        parts.lag.over(close)

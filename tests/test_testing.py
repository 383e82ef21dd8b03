"""The kernel law can fail: for each law a kernel that breaks it, caught by that law and told where."""

import ctypes
from collections.abc import Callable
from math import nan
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from msgspec import Meta
from msgspec.structs import replace

from flea_lab.errors import KernelError
from flea_lab.settings import Bars, Fraction, Settings
from flea_lab.signal.kernel import FIELDS, N_FIELDS, Bar, Floats, Kernel, kernel
from flea_lab.signal.rolling import clip, mean, push
from flea_lab.testing import LAWS, check_kernel, law_bars, subjects

CLOSE = FIELDS.index("close")


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 20


class State(NamedTuple):
    n: float = 0.0
    direction: float = nan
    confidence: float = nan


def declared(**changes: Any) -> Callable[[Callable[..., Any]], Kernel]:
    values = {"inputs": ("close",), "warmup": lambda p: p.window, "memory": lambda p: p.window} | changes
    return kernel(values.pop("params", Params), State, **values)


def fixed(n: int) -> Callable[[Any], int]:
    def told(p: Any) -> int:
        return n

    return told


@declared()
def sound(s: State, bar: Bar, p: Params, memory: Floats) -> State:
    push(memory, bar.close)
    if s.n + 1 < p.window:
        return State(s.n + 1)
    d = clip(100.0 * (bar.close / mean(memory) - 1.0), -1.0, 1.0)
    return State(s.n + 1, d, abs(d))


def test_a_sound_kernel_passes_and_the_report_says_what_was_seen() -> None:
    report = check_kernel(sound, reference=sound_reference)
    assert (report.kernel, report.n_bars, report.warmup, report.laws) == (sound, 1_500, 20, LAWS)
    assert (report.limits_tried, report.limits_refused) == (2, 0)
    assert 1_000 < report.opinions <= 1_481
    assert check_kernel(sound).laws == LAWS[:-1]


def sound_reference(bars: Floats, p: Params) -> dict[str, Floats]:
    close = bars[:, CLOSE]
    direction = np.full(len(close), nan)
    for i in range(p.window - 1, len(close)):
        direction[i] = np.clip(100.0 * (close[i] / np.mean(close[i - p.window + 1 : i + 1]) - 1.0), -1.0, 1.0)
    return {"direction": direction, "confidence": np.abs(direction)}


def test_the_law_finds_its_subjects_itself(home: Any) -> None:
    assert {"ema_momentum", "rsi_reversion", "tick_imbalance", "vpin"} <= subjects().keys()


# declares


class NoLimit(Settings, frozen=True, kw_only=True):
    window: Annotated[int, Meta(ge=1)] = 20


class NoDefault(Settings, frozen=True, kw_only=True):
    window: Bars


class DefaultOutside(Settings, frozen=True, kw_only=True):
    window: Bars = 0


class TextParameter(Settings, frozen=True, kw_only=True):
    window: Bars = 20
    kind: str = "fast"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": NoLimit}, "'declares': parameter window of NoLimit has no upper limit, use Bars, Fraction or"),
        ({"params": NoDefault}, "'declares': parameter window of NoDefault has no default value"),
        ({"params": DefaultOutside}, r"'declares': window = 0: expected `int` >= 1 \(in its own defaults\)"),
        ({"params": TextParameter}, "'declares': parameter kind of TextParameter must be a number, a bool or a"),
        ({"warmup": lambda p: p.windw}, "'declares': warmup fails, AttributeError: .* no attribute 'windw'"),
        ({"warmup": fixed(0)}, "'declares': warmup is 0, it must be a whole number from 1 to 5,000,000"),
        ({"memory": lambda p: p.window / 2}, "'declares': memory is 10.0, it must be a whole number from 0"),
        ({"memory": fixed(10**9)}, "'declares': memory is 1000000000, it must be a whole number from 0 to 5,000"),
        ({"memory": fixed(0)}, "'keeps to its memory': its step uses memory but it has none, declare memory="),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelError, match=f"^kernel steady breaks the law {message}"):
        check_kernel(steady(**changes))


def steady(**changes: Any) -> Kernel:
    @declared(**changes)
    def steady(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        push(memory, bar.close)
        return State(s.n + 1, 0.5, 0.5)

    return steady


# keeps to its memory


def test_writing_beyond_the_memory_is_caught() -> None:
    @declared(memory=lambda p: p.window)
    def greedy(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        memory[int(p.window)] = bar.close
        return State(s.n + 1, 0.5, 0.5)

    message = r"^kernel greedy breaks the law 'keeps to its memory' at bar 0 .*: it writes the float 1 beyond its"
    with pytest.raises(KernelError, match=message):
        check_kernel(greedy)


def test_reading_beyond_the_memory_is_caught() -> None:
    @declared(warmup=fixed(1))
    def curious(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        push(memory, bar.close)
        d = clip(memory[int(p.window)], -1.0, 1.0)
        return State(s.n + 1, d, abs(d))

    message = "'keeps to its memory' at bar 0 .*: direction is 1, not -3.5.*, it depends on what lies beyond its memory"
    with pytest.raises(KernelError, match=message):
        check_kernel(curious)


# repeats itself

SEEN = {"calls": 0.0}


@ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
def remember(close: float) -> float:
    SEEN["calls"] += 1.0
    return SEEN["calls"]


def test_state_kept_outside_is_caught() -> None:
    @declared(warmup=fixed(1), memory=fixed(0))
    def global_(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        return State(s.n + 1, 1.0 / remember(bar.close), 0.5)

    message = r"^kernel global_ breaks the law 'repeats itself' at bar 0 .*on the same bars a second time: it keeps"
    with pytest.raises(KernelError, match=message):
        check_kernel(global_)


SHARED = {"last": nan}


@ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)
def neighbour(n: float, close: float) -> float:
    before = close if n == 0.0 else SHARED["last"]
    SHARED["last"] = close
    return before


def test_a_stream_that_hears_its_neighbour_is_caught() -> None:
    @declared(warmup=fixed(1), memory=fixed(0))
    def shared(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        d = clip(bar.close / neighbour(s.n, bar.close) - 1.0, -1.0, 1.0)
        return State(s.n + 1, d, abs(d))

    message = "'repeats itself' at bar 1 .*: direction is .*, beside a second stream: the two share something"
    with pytest.raises(KernelError, match=message):
        check_kernel(shared)


HOARD = np.zeros(1)


def test_a_global_array_cannot_be_written() -> None:
    @declared(memory=fixed(0), warmup=fixed(1))
    def hoarder(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        HOARD[0] += 0.001
        return State(s.n + 1, 0.5, clip(HOARD[0], 0.0, 1.0))

    with pytest.raises(KernelError, match=r"^kernel hoarder cannot be compiled: Cannot modify readonly array of type"):
        check_kernel(hoarder)


def test_an_array_as_a_default_is_refused() -> None:
    message = "^kernel hoarder: its step takes 5 arguments, it must take state, bar, params and memory, without"
    with pytest.raises(KernelError, match=message):

        @declared()
        def hoarder(s: State, bar: Bar, p: Params, memory: Floats, hoard: Floats = HOARD) -> State:
            hoard[0] += 0.001
            return State(s.n + 1, 0.5, clip(hoard[0], 0.0, 1.0))


# a fold of its own: what a faster path than the step may get wrong


def with_fold(fold: Callable[..., None]) -> Kernel:
    made = replace(sound)
    made.__dict__["_fold"] = fold
    return made


def test_a_fold_that_peeks_is_caught() -> None:
    def peeking(mem: Floats, bars: Floats, prow: Floats, columns: Any, out: Floats) -> None:
        sound._fold(mem, bars, prow, columns, out)
        out[:-1, 1] = np.where(np.isnan(out[:-1, 1]), nan, np.sign(bars[1:, CLOSE] - bars[:-1, CLOSE]))

    message = "'is blind to the future' at bar 19 .*: direction is nan, not -?1, when bars from 20 on are nan"
    with pytest.raises(KernelError, match=message):
        check_kernel(with_fold(peeking))


def test_a_fold_that_drifts_from_the_stream_is_caught() -> None:
    def drifting(mem: Floats, bars: Floats, prow: Floats, columns: Any, out: Floats) -> None:
        sound._fold(mem, bars, prow, columns, out)
        out[:, 2] = np.nextafter(out[:, 2], 2.0)

    message = "'is one step' at bar 19 .*: confidence is .*, not .*, which is what the stream says"
    with pytest.raises(KernelError, match=message):
        check_kernel(with_fold(drifting))


def test_a_fold_that_begins_anew_is_caught() -> None:
    def forgetful(mem: Floats, bars: Floats, prow: Floats, columns: Any, out: Floats) -> None:
        mem[:] = sound.start(Params())
        sound._fold(mem, bars, prow, columns, out)

    message = "'resumes' at bar 1 .*: n is 1, not 2, when it is resumed after 1 bars"
    with pytest.raises(KernelError, match=message):
        check_kernel(with_fold(forgetful))


# reads its inputs only


@pytest.mark.parametrize("field", ["volume", "funding_rate"])
def test_an_input_that_is_not_declared_is_caught(field: str) -> None:
    with pytest.raises(KernelError, match=f"'reads its inputs only' at bar .*when {field}, which it does not declare"):
        check_kernel(reads_volume() if field == "volume" else reads_funding())


def reads_volume() -> Kernel:
    @declared(warmup=fixed(1), memory=fixed(0))
    def reads(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        d = 1.0 if bar.volume > 10.0 else 0.5
        return State(s.n + 1, d, d)

    return reads


def reads_funding() -> Kernel:
    @declared(warmup=fixed(1), memory=fixed(0))
    def reads(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        d = 0.5 if bar.funding_rate > 0.0 else -0.5
        return State(s.n + 1, d, 0.5)

    return reads


# warms up as it says


@pytest.mark.parametrize(
    ("warmup", "message"),
    [
        (21, "at bar 19 .*: direction is -?0.*, not nan, but warm-up is 21 bars"),
        (19, "at bar 18 .*: direction is nan, but warm-up is 19 bars; no opinion is direction 0, confidence 0"),
    ],
)
def test_a_warm_up_off_by_one_is_caught(warmup: int, message: str) -> None:
    with pytest.raises(KernelError, match=f"^kernel sound breaks the law 'warms up as it says' {message}"):
        check_kernel(replace(sound, warmup=fixed(warmup)))


def test_nan_after_the_warm_up_is_caught() -> None:
    @declared(inputs=("close", "volume"), warmup=fixed(1), memory=fixed(0))
    def divides(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        d = clip(bar.volume / bar.volume - 0.5, -1.0, 1.0)
        return State(s.n + 1, d, 0.5)

    message = r"'warms up as it says' at bar 17 \(close .*, volume 0\): direction is nan, but warm-up is 1 bars"
    with pytest.raises(KernelError, match=message):
        check_kernel(divides)


@pytest.mark.parametrize("warmup", [20, None])
def test_a_direction_without_its_confidence_is_caught(warmup: int | None) -> None:
    @declared(warmup=fixed(warmup) if warmup else None)
    def half(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        push(memory, bar.close)
        if s.n + 1 < p.window:
            return State(s.n + 1, nan, 0.0)
        return State(s.n + 1, 0.5, 0.5)

    limit = "warm-up is 20 bars" if warmup else "another output is nan"
    with pytest.raises(KernelError, match=f"'warms up as it says' at bar 0 .*: confidence is 0, not nan, but {limit}"):
        check_kernel(half)


def test_going_silent_again_is_caught_where_warm_up_depends_on_the_data() -> None:
    @declared(inputs=("close", "volume"), warmup=None, memory=fixed(0))
    def moody(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        if s.n < 5.0 or bar.volume == 0.0:
            return State(s.n + 1)
        return State(s.n + 1, 0.5, 0.5)

    with pytest.raises(KernelError, match=r"at bar 17 .*: direction is nan, but it was ready at bar 5"):
        check_kernel(moody)


def test_a_kernel_that_never_speaks_is_not_called_sound() -> None:
    @declared(warmup=None, memory=fixed(0))
    def mute(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        return State(s.n + 1)

    with pytest.raises(KernelError, match="'warms up as it says': it says nothing on 1500 bars; give"):
        check_kernel(mute)


# stays in range


@pytest.mark.parametrize(
    ("factor", "confidence", "message"),
    [
        (1.5, 0.5, r"direction is (1\.|-1\.)\d+, outside \[-1, 1\]"),
        (0.0, 0.5, "direction is 0 with confidence 0.5; no opinion is direction 0, confidence 0"),
        (0.5, 1.25, r"confidence is 1.25, outside \[0, 1\]"),
        (0.5, -0.5, r"confidence is -0.5, outside \[0, 1\]"),
        (0.5, np.inf, r"confidence is inf, outside \[0, 1\]"),
    ],
)
def test_outputs_out_of_range_are_caught(factor: float, confidence: float, message: str) -> None:
    @declared()
    def loud(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        push(memory, bar.close)
        if s.n + 1 < p.window:
            return State(s.n + 1)
        d = clip(100.0 * (bar.close / mean(memory) - 1.0), -1.0, 1.0)
        return State(s.n + 1, d * factor, confidence)

    with pytest.raises(KernelError, match=f"^kernel loud breaks the law 'stays in range' at bar \\d+ .*: {message}"):
        check_kernel(loud)


# bears its limits


class Scaled(Settings, frozen=True, kw_only=True):
    scale: Fraction = 0.5
    kind: Literal["plain", "loud"] = "plain"


def test_a_parameter_that_breaks_the_kernel_at_its_limit_is_caught() -> None:
    @declared(params=Scaled, warmup=fixed(1), memory=fixed(0))
    def fragile(s: State, bar: Bar, p: Scaled, memory: Floats) -> State:
        d = 0.0 * bar.close / p.scale
        return State(s.n + 1, d, abs(d))

    message = "direction is nan, but warm-up is 1 bars; .*law 'bears its limits' with {'scale': 0.0}"
    with pytest.raises(KernelError, match=message):
        check_kernel(fragile)


def test_every_choice_is_tried() -> None:
    @declared(params=Scaled, warmup=fixed(1), memory=fixed(0))
    def choosy(s: State, bar: Bar, p: Scaled, memory: Floats) -> State:
        d = 2.0 if p.kind == 1.0 else 0.5
        return State(s.n + 1, d, 0.5)

    with pytest.raises(KernelError, match=r"direction is 2, outside .*law 'bears its limits' with {'kind': 'loud'}"):
        check_kernel(choosy)


def test_limits_that_the_settings_refuse_are_counted() -> None:
    report = check_kernel(subjects()["tick_imbalance"])
    assert (report.limits_tried, report.limits_refused) == (8, 4)


# agrees with its reference


def test_a_reference_that_differs_is_told_with_both_values() -> None:
    def off_by_one(bars: Floats, p: Params) -> dict[str, Floats]:
        return sound_reference(bars, Params(window=p.window + 1))

    with pytest.raises(KernelError, match=r"'agrees with its reference' at bar 19 .*, the reference says nan"):
        check_kernel(sound, reference=off_by_one)

    def a_little_more(bars: Floats, p: Params) -> dict[str, Floats]:
        return {"confidence": sound_reference(bars, p)["confidence"] + 2e-12}

    with pytest.raises(KernelError, match=r"'agrees with its reference' at bar 19 .*\(tolerance 1e-12\)"):
        check_kernel(sound, reference=a_little_more)


# what cannot be run at all


def test_what_cannot_be_compiled_is_told_in_one_line() -> None:
    @declared()
    def typo(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        return State(s.n + 1, bar.closs, 0.5)

    with pytest.raises(KernelError) as caught:
        check_kernel(replace(typo, memory=fixed(0)))
    assert "\n" not in str(caught.value)
    assert "kernel typo cannot be compiled: Unknown attribute 'closs' of type Bar" in str(caught.value)
    assert "(test_testing.py, line " in str(caught.value)


def test_a_step_that_raises_is_told_with_its_parameters() -> None:
    @declared(memory=fixed(0))
    def angry(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        if s.n > 3:
            raise ValueError("no more")
        return State(s.n + 1)

    with pytest.raises(KernelError, match=r"^kernel angry raises ValueError: no more \(window=20\)$"):
        check_kernel(angry)


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (np.zeros((5, 3)), rf"bars of shape \(5, 3\), the law needs \(3 or more, {N_FIELDS}\)"),
        (np.full((5, N_FIELDS), nan), "the law needs bars with close, it is not finite at bar 0"),
    ],
)
def test_bars_that_cannot_judge_are_refused(bars: Floats, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        check_kernel(sound, bars=bars)


# the bars of the law


def test_the_laws_market_has_what_breaks_kernels() -> None:
    bars = law_bars()
    still = (np.diff(bars[:, CLOSE]) == 0.0) & (bars[1:, :4] == bars[1:, :1]).all(axis=1)
    volume, bought, funding = bars[:, 4], bars[:, 5], bars[:, 6]
    assert np.isfinite(bars).all()
    assert still.sum() > 150
    assert (volume == 0.0).sum() > 120
    assert ((bought == volume) & (volume > 0.0)).sum() >= 60
    assert ((bought == 0.0) & (volume > 0.0)).sum() >= 60
    assert np.abs(np.diff(np.log(bars[:, CLOSE]))).max() > 0.5
    assert {-1.0, 0.0, 1.0} == set(np.sign(funding))
    assert (bought <= volume).all()
    assert (bars[:, 2] <= bars[:, [0, 3]].min(axis=1)).all()
    assert (bars[:, 1] >= bars[:, [0, 3]].max(axis=1)).all()
    assert np.array_equal(bars, law_bars())

"""Columns of opinions are the stream's, to the bit, whatever the blocks and the holes."""

from pathlib import Path

import numpy as np
import pytest

from flea_lab.errors import KernelError
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import N_PLAIN, Bar, Floats, Kernel, Stream
from flea_lab.signal.registry import builtin_kernels, load_kernel
from flea_lab.signal.turns import SELDOM, new_turns, write_turns
from flea_lab.strategy.combine import combine
from flea_lab.testing import law_bars

ROOT = Path(__file__).parents[2]
OWN = [load_kernel(ROOT / "tests" / "kernels" / f"{name}.py") for name in ("paced", "turning")]
"""A step with a state of its own over parts, with and without a memory."""

ALPHAS = [
    *(kernel for kernel in builtin_kernels().values() if kernel.is_alpha),
    OWN[0],
    pytest.param(OWN[1], marks=pytest.mark.slow),
]
N = 400


def two_symbols() -> tuple[Floats, Floats, np.ndarray]:
    """Bars, features and closes of two symbols, each with holes of its own."""
    bars = np.stack([law_bars(N), law_bars(N)[::-1]])
    closes = np.ones((2, N), np.int64)
    closes[0, [3, 70, 71, 200]] = 0
    closes[1, :90] = 0
    return np.ascontiguousarray(bars[:, :, :N_PLAIN]), np.ascontiguousarray(bars[:, :, N_PLAIN:]), closes


def streamed(kernel: Kernel, params, bars: Floats, features: Floats, closes: np.ndarray) -> Floats:
    stream = Stream(kernel, params)
    out = np.full((2, N), np.nan)
    for i in range(N):
        if closes[i]:
            found = stream.on(Bar(*bars[i], *features[i]))
            out[:, i] = found.direction, found.confidence
    return out


@pytest.mark.parametrize("kernel", ALPHAS, ids=lambda kernel: kernel.name)
def test_columns_are_the_stream_to_the_bit(kernel: Kernel) -> None:
    bars, features, closes = two_symbols()
    first = kernel.params.__struct_fields__[0]
    params = [kernel.load({}, "t"), kernel.load({first: getattr(kernel.load({}, "t"), first) + 1}, "t")]
    columns = Columns(kernel, params, bars, features, closes, 128)
    found = np.empty((2, 2, 2, N))
    for at in (0, 1, 129, 130, 258, 300):
        last = {0: 1, 1: 129, 129: 130, 130: 258, 258: 300, 300: N}[at]
        columns.advance(at, last)
        found[0, :, :, at:last] = columns.direction[:, :, : last - at]
        found[1, :, :, at:last] = columns.confidence[:, :, : last - at]
    assert np.isfinite(found).any()
    for d, one in enumerate(params):
        for s in range(2):
            expected = streamed(kernel, one, bars[s], features[s], closes[s])
            assert found[:, d, s].tobytes() == expected.tobytes(), (d, s)


@pytest.mark.parametrize("kernel", ALPHAS, ids=lambda kernel: kernel.name)
def test_convictions_are_what_combine_makes_of_an_alpha_alone(kernel: Kernel) -> None:
    bars, features, closes = two_symbols()
    columns = Columns(kernel, [kernel.load({}, "t")], bars, features, closes, 128)
    for at, last in ((0, 100), (100, 228), (228, 356), (356, N)):
        columns.enter(at, last)
        found = np.full((1, 2, 128), np.nan)
        columns.convictions(0, 1, 0.1, found)
        for s in range(2):
            opinions = streamed(kernel, kernel.load({}, "t"), bars[s], features[s], closes[s])[:, at:last]
            expected = [combine(np.array([[d, c]]), np.ones(1), 0.1) for d, c in opinions.T]
            assert found[0, s, : last - at].tobytes() == np.array(expected).tobytes(), s


@pytest.mark.parametrize("name", ["rsi_reversion", "ema_momentum"])
def test_columns_kept_by_their_changes_are_the_columns(name: str) -> None:
    """Those of little confidence are silence, which lasts: some columns are kept by their changes, some whole."""
    kernel, block = builtin_kernels()[name], 128
    bars, features, closes = (array[:1] for array in two_symbols())
    first = kernel.params.__struct_fields__[0]
    params = [kernel.load({first: value}, "t") for value in (5, 9, 14, 20)]
    plain, told = (Columns(kernel, params, bars, features, closes, block) for _ in range(2))
    kinds = set()
    for at, last in ((0, 100), (100, 220), (220, 340), (340, N)):
        whole, kept, turns = np.empty((4, 1, block)), np.full((4, 1, block), np.nan), new_turns(4, block)
        plain.enter(at, last)
        told.enter(at, last)
        plain.convictions(0, 4, 0.2, whole)
        told.convictions(0, 4, 0.2, kept, turns)
        for row in range(4):
            seldom = turns.many[row] >= 0
            found = np.empty((1, block)) if seldom else kept[turns.place[row]]
            if seldom:
                write_turns(turns, row, found)
                assert turns.many[row] * SELDOM <= last - at
            assert found[0, : last - at].tobytes() == whole[row, 0, : last - at].tobytes(), (at, row)
            kinds.add(bool(seldom))
    assert kinds == {False, True}


def test_changes_without_room_are_refused() -> None:
    kernel = builtin_kernels()["rsi_reversion"]
    bars, features, closes = two_symbols()
    both = Columns(kernel, [kernel.load({}, "t")], bars, features, closes, 128)
    one = Columns(kernel, [kernel.load({}, "t")], bars[:1], features[:1], closes[:1], 128)
    both.enter(0, 100)
    with pytest.raises(KernelError, match=r"changes of columns 0 to 1 over 2 symbols into \(1, 144\)"):
        both.convictions(0, 1, 0.1, np.empty((1, 2, 128)), new_turns(1, 128))
    one.enter(0, 100)
    with pytest.raises(
        KernelError, match=r"changes of columns 0 to 1 over 1 symbols into \(0, 144\), in blocks of 128"
    ):
        one.convictions(0, 1, 0.1, np.empty((1, 1, 128)), new_turns(0, 128))
    one.enter(100, 228)
    with pytest.raises(
        KernelError, match=r"changes of columns 0 to 1 over 1 symbols into \(1, 144\), in blocks of 128"
    ):
        one.convictions(0, 1, 0.1, np.empty((1, 1, 128)), new_turns(1, 128))


def test_a_block_out_of_turn_is_refused() -> None:
    kernel = builtin_kernels()["rsi_reversion"]
    columns = Columns(kernel, [kernel.load({}, "t")], *two_symbols(), 128)
    columns.advance(0, 128)
    with pytest.raises(KernelError, match=r"bars 0 to 128 asked of columns at bar 128"):
        columns.advance(0, 128)
    with pytest.raises(KernelError, match=r"bars 128 to 300 asked .* in blocks of 128 of 400"):
        columns.advance(128, 300)


def test_a_feature_has_no_columns() -> None:
    kernel = builtin_kernels()["vpin"]
    with pytest.raises(KernelError, match=r"kernel vpin has outputs \('vpin',\): columns hold an alpha's opinion"):
        Columns(kernel, [kernel.load({}, "t")], *two_symbols(), 128)

"""What is kept of compiled functions that close over others: found again where they say the same, never where not."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from flea_lab.compiled import compiled, compiled_afresh
from flea_lab.fingerprint import fingerprint

SHARE, TABLE, STRANGE = 0.5, np.array([1.0, 2.0]), object()


class Pair(NamedTuple):
    first: float = 1.0
    second: float = 2.0


def told(function: Any) -> str:
    return fingerprint(function, {}.__contains__)


def adder(amount: Any) -> Any:
    def add(x: float) -> float:
        return x + amount

    return add


def test_two_closures_over_the_same_have_one_fingerprint_and_over_another_value_another() -> None:
    assert told(adder(1.5)) == told(adder(1.5)) != told(adder(2.5))
    assert told(adder(1)) != told(adder(1.0)) != told(adder(True))
    assert told(adder(0.0)) != told(adder(-0.0))


def test_what_a_compiled_function_closes_over_is_told_all_the_way_down() -> None:
    def twice(inner: Any) -> Any:
        return compiled_afresh(lambda x: inner(inner(x)))

    assert told(twice(compiled_afresh(adder(1.5)))) == told(twice(compiled_afresh(adder(1.5))))
    assert told(twice(compiled_afresh(adder(1.5)))) != told(twice(compiled_afresh(adder(2.5))))


def test_a_global_a_module_and_a_constant_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(x: float) -> float:
        return math.sqrt(x) * SHARE + TABLE[0]

    before = told(share)
    monkeypatch.setitem(globals(), "SHARE", 0.25)
    other = told(share)
    monkeypatch.setitem(globals(), "TABLE", np.array([3.0, 2.0]))
    assert len({before, other, told(share)}) == 3


def test_a_named_tuple_is_its_fields_and_start_values() -> None:
    class Pair(NamedTuple):  # of another start value, else the same
        first: float = 1.0
        second: float = 3.0

    Pair.__qualname__ = globals()["Pair"].__qualname__
    assert told(adder(Pair)) != told(adder(globals()["Pair"]))


@pytest.mark.parametrize("value", [STRANGE, Path("."), {1, 2}, np.array([object()])])
def test_what_holds_a_value_that_cannot_be_told_has_none(value: Any) -> None:
    assert told(adder(value)) == ""


def test_a_source_among_ours_is_told_by_its_place_and_what_it_closes_over() -> None:
    def strange(x: float) -> float:
        return x if STRANGE is None else -x

    assert told(strange) == ""
    assert fingerprint(strange, lambda path: path == Path(__file__)) != ""


def test_a_function_compiled_before_is_found_again_and_its_namesake_is_not_taken_for_it() -> None:
    for amount in (1.5, 2.5):
        assert compiled_afresh(adder(amount))(1.0) == 1.0 + amount
    again = [compiled_afresh(adder(amount)) for amount in (1.5, 2.5)]
    assert [one(1.0) for one in again] == [2.5, 3.5]
    assert all(sum(one.stats.cache_hits.values()) == 1 for one in again)


def test_a_function_gives_the_same_called_from_python_and_from_compiled_code_also_when_it_calls_itself() -> None:
    def falling(n: int) -> int:
        return 1 if n < 2 else n * falling_(n - 1)

    falling_ = compiled_afresh(falling)

    @compiled
    def through(n: int) -> int:
        return halves(n) + 1

    assert through(9) == halves(9) + 1 == 5
    assert falling_(5) == 120


@compiled
def halves(n: int) -> int:
    return n // 2

"""The campaign catches the bugs that are planted into the sweep's engine."""

from collections.abc import Iterator

import pytest

from tests.parity.drawn import written_kernels
from tests.parity.hunting import BATCHES, apart, hunt, known
from tests.parity.planted_sweep import BUGS, HARMLESS
from tests.parity.planting import engine, interpreted_engine
from tests.parity.staged import STAGED

QUICK = ("last_symbol_decides", "order_waits_for_the_next_stop")
"""Those that the quick tests plant in the drawn batch that caught them; those that a staged one caught they all do."""


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with written_kernels(tmp_path_factory.mktemp("planted")):
        yield


@pytest.mark.parametrize("name", [*QUICK, *(name for name, place in known().items() if place in STAGED)])
def test_a_planted_bug_is_caught_in_a_batch_that_is_equal_without_it(name: str) -> None:
    assert hunt(name, [known()[name]]) is not None


def test_without_a_bug_what_is_interpreted_is_equal() -> None:
    with interpreted_engine() as by:
        assert [line for place in (known()[QUICK[0]], *STAGED) for line in apart(place, by)] == []


@pytest.mark.parametrize("name", STAGED)
def test_a_staged_batch_is_equal_in_sweep_and_replay(name: str) -> None:
    assert list(apart(name, engine())) == []


def test_every_planted_bug_still_applies() -> None:
    for name, bug in (BUGS | {name: bug for name, (_, bug) in HARMLESS.items()}).items():
        assert bug.applied(), name
        assert bug.thought.endswith(".")
    assert not BUGS.keys() & HARMLESS.keys()


def test_every_bug_that_can_do_harm_was_caught() -> None:
    assert known().keys() == BUGS.keys()


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_bug_that_was_caught_is_caught_again() -> None:
    missed = [name for name, number in known().items() if hunt(name, [number]) is None]
    assert missed == []


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_what_is_harmless_changes_nothing() -> None:
    assert [found for name in HARMLESS if (found := hunt(name, [*STAGED, *BATCHES]))] == []

"""The campaign catches the bugs that are planted into the sweep's engine."""

from collections.abc import Iterator

import pytest

from tests.parity.drawn import differences, written_kernels
from tests.parity.hunting import hunt, known
from tests.parity.planted_sweep import BUGS
from tests.parity.planting import interpreted_engine

QUICK = ("last_symbol_decides", "order_waits_for_the_next_stop")
"""Those that the quick tests plant, each in the batch that caught it."""


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with written_kernels(tmp_path_factory.mktemp("planted")):
        yield


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught_in_a_batch_that_is_equal_without_it(name: str) -> None:
    assert hunt(name, [known()[name]]) is not None


def test_without_a_bug_what_is_interpreted_is_equal() -> None:
    with interpreted_engine() as by:
        assert list(differences(known()[QUICK[0]], by)) == []


def test_every_planted_bug_still_applies() -> None:
    for name, bug in BUGS.items():
        assert bug.applied(), name
        assert bug.thought.endswith(".")
    assert known().keys() <= BUGS.keys()


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_every_bug_that_was_caught_is_caught_again() -> None:
    missed = [name for name, number in known().items() if hunt(name, [number]) is None]
    assert missed == []

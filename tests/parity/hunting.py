"""Every bug that is planted into the sweep's engine against the campaign: `python -m tests.parity.hunting` prints what
caught each, and where: in which drawn batch, or on which staged market. The table of what was caught so far is
`planted_sweep.tsv`; a bug that is in neither it nor `HARMLESS` has not been caught yet."""

import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flea_lab.errors import FleaError
from tests.parity.drawn import differences, parting, written_kernels
from tests.parity.planted_sweep import BUGS, HARMLESS
from tests.parity.planting import Engine, planted
from tests.parity.staged import STAGED, staged

TABLE = Path(__file__).with_name("planted_sweep.tsv")
BATCHES = sorted(range(100), key=lambda number: number % 5 not in (0, 2))
"""Those of the campaign; first the ones whose kernels are quickly compiled."""

Place = int | str
"""A drawn batch by its number, or a staged one by its name."""

PATIENCE_S = 60.0
"""CPU time of a batch, some twenty times what it takes: a bug may be a walk that does not end."""


class Caught(NamedTuple):
    """Where a bug was caught, and the first thing that differed there."""

    place: Place
    text: str


def known() -> dict[str, Place]:
    """The table: by bug what caught it."""
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    return {name: int(place) if place.isdecimal() else place for name, place, _ in rows}


def apart(place: Place, by: Engine) -> Iterator[str]:
    """Where `by` differs from the replays at `place`."""
    if isinstance(place, int):
        return differences(place, by)
    return parting(place, *staged(place), by)


def hunt(name: str, places: Iterable[Place]) -> Caught | None:
    """The first of `places` at which the engine with a bug differs from the replay, or falls over; None where none
    does."""
    with planted(HARMLESS[name][1] if name in HARMLESS else BUGS[name]) as engine:
        for place in places:
            try:
                with patience():
                    found = next(apart(place, engine), "")
            except (ArithmeticError, LookupError, TimeoutError, ValueError, FleaError) as error:
                found = f"{place}: {type(error).__name__}: {error}"
            if found:
                return Caught(place, found)
    return None


@contextmanager
def patience() -> Iterator[None]:
    """`TimeoutError` where what is done takes longer than `PATIENCE_S` of CPU."""

    def over(*_: object) -> None:
        raise TimeoutError(f"no end within {PATIENCE_S:g} s")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def main(names: list[str]) -> bool:
    """Hunts `names`, prints a row each; whether all were caught."""
    missed = 0
    print("planted bug\tcaught at\twhat differed")
    with tempfile.TemporaryDirectory() as folder, written_kernels(Path(folder)):
        for name in names:
            caught = hunt(name, [*STAGED, *BATCHES])
            missed += caught is None
            told = f"{caught.place}\t{caught.text}" if caught else "\tnot caught"
            print(f"{name}\t{told}", flush=True)
    return not missed


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:] or list(BUGS)))

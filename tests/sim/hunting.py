"""Every planted bug against the simulation: `python -m tests.sim.hunting` prints what caught each, and after how many.

The table of what was found is `mutants.tsv`: every mutant must be caught within its cap, but for those of `GUARDED`,
which change nothing that can be seen while a second guard holds: of each of them the pair with both guards gone must
be caught.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import tests.sim.planted_account
import tests.sim.planted_halts
import tests.sim.planted_market
import tests.sim.planted_orders
import tests.sim.planted_slices  # noqa: F401
from tests.sim.mutants import MUTANTS, Caught, hunt
from tests.sim.planted_pairs import GUARDED

TABLE = Path(__file__).with_name("mutants.tsv")


class Known(NamedTuple):
    """What caught a mutant when it was looked for: the law, and the seed, which is also how many were tried before."""

    law: str
    seed: int


def known() -> dict[str, Known]:
    """The table, by mutant."""
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    return {name: Known(law, int(seed)) for name, law, seed in rows}


def hunt_named(name: str, cap: int = 0) -> Caught | None:
    """The first scenario that catches the mutant of that name, within its cap or another."""
    one = MUTANTS[name]
    return hunt(one, range(cap or one.cap))


def hunt_all(names: Sequence[str], workers: int = 2, cap: int = 0) -> dict[str, Caught | None]:
    """What caught each of `names`, printed as it is found."""
    found: dict[str, Caught | None] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {name: pool.submit(hunt_named, name, cap) for name in names}
        for name, future in running.items():
            caught = found[name] = future.result()
            told = "not caught" if caught is None else f"{caught.law:<4} {caught.tried:>5}   {caught.text[:90]}"
            print(f"{name:<44} {told}", flush=True)
    return found


if __name__ == "__main__":
    asked = sys.argv[1:] or [name for name in MUTANTS if name not in GUARDED]
    print(f"{'planted bug':<44} law  seeds")
    sys.exit(any(caught is None for caught in hunt_all(asked).values()))

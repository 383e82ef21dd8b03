"""A feed to look at: a recorded capture where FLEA_DATA_DIR names a folder that has one, else a synthetic tape."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from flea_lab.data.flow import FlowSettings
from flea_lab.data.sources.captures import read_capture
from flea_lab.data.sources.demo import SEED
from flea_lab.sandbox.tape import synthetic_tape

CAPTURE = "binance_um_btcusdt_*_part*.raw.gz"
"""A capture in parts that continue each other, in order of name."""


class Feed(NamedTuple):
    """What a venue said of `symbol`, in parts that may be read again and again; `settings` fit its volume."""

    source: str
    synthetic: bool
    venue: str
    symbol: str
    settings: FlowSettings
    files: tuple[Path, ...] = ()
    seed: int = SEED

    def events(self) -> Iterator[Any]:
        """Every message in the order of its receipt; lines that cannot be read are passed over."""
        if self.synthetic:
            return synthetic_tape(self.symbol, seed=self.seed)
        return chain.from_iterable(read_capture(path, strict=False) for path in self.files)


def find_feed(seed: int = SEED) -> Feed:
    """The recorded feed below FLEA_DATA_DIR, or the synthetic one of `seed`; `source` says which and why."""
    named = os.environ.get("FLEA_DATA_DIR", "").strip()
    files = tuple(sorted(Path(named).expanduser().rglob(CAPTURE))) if named else ()
    if files:
        return Feed(
            source=f"capture of Binance futures, {' and '.join(path.name for path in files)}",
            synthetic=False,
            venue="binance_um",
            symbol="BTCUSDT",
            settings=FlowSettings(bucket_volume=10.0, window=30),
            files=files,
        )
    return Feed(
        source=f"synthetic tape (seed {seed})",
        synthetic=True,
        venue="seed",
        symbol="BTCUSDT",
        settings=FlowSettings(bucket_volume=2.0, window=20, bands=15),
        seed=seed,
    )

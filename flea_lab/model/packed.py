"""Levels of a book that were read and checked as numbers, and become pairs only where somebody asks for them."""

from collections.abc import Iterator, Sequence
from typing import Any

from flea_lab.model.market import Levels

PAIR = 16
"""Bytes of a level: two floats."""


class PackedLevels(Sequence[tuple[float, float]]):
    """One side of a whole book, best first: (price, qty), equal to the tuple of the same pairs.

    Whoever makes it vouches that prices and quantities are numbers above 0, finite, and the prices in order without
    two alike. It never changes. `best` is the first price, 0 where there is no level.
    """

    __slots__ = ("_raw", "_told", "best")

    def __init__(self, raw: bytes, best: float) -> None:
        """Of `raw`, which holds price, quantity, price, quantity and so on as floats of this machine."""
        self._raw, self.best = raw, best
        self._told: Levels | None = None

    def pairs(self) -> Levels:
        """The plain tuple."""
        told = self._told
        if told is None:
            numbers = iter(memoryview(self._raw).cast("d").tolist())
            told = self._told = tuple(zip(numbers, numbers))  # noqa: B905  (one iterator, read twice a pair)
        return told

    def __len__(self) -> int:
        return len(self._raw) // PAIR

    def first(self, count: int) -> "PackedLevels":
        """The best `count` levels."""
        return self if PAIR * count >= len(self._raw) else PackedLevels(self._raw[: PAIR * count], self.best)

    def __getitem__(self, at: Any) -> Any:
        if self._told is None and type(at) is slice and at.start is None and at.step is None and (at.stop or -1) > 0:
            return self.first(at.stop).pairs()  # only what is read is made
        return self.pairs()[at]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(self.pairs())

    def __reversed__(self) -> Iterator[tuple[float, float]]:
        return reversed(self.pairs())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedLevels):
            return self._raw == other._raw
        return self.pairs() == other

    def __hash__(self) -> int:
        return hash(self.pairs())

    def __repr__(self) -> str:
        return repr(self.pairs())

    def __reduce__(self) -> tuple[type, tuple[Levels]]:
        return tuple, (self.pairs(),)


def plain(value: Any) -> Any:
    """`value` as msgspec can encode it, for its `enc_hook`: packed levels as pairs."""
    if isinstance(value, PackedLevels):
        return value.pairs()
    raise NotImplementedError(f"{type(value).__name__} cannot be encoded")

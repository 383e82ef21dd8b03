"""Where a numbered frame belongs among those of its stream. Pure."""

from collections.abc import Hashable
from typing import Literal

Place = Literal["next", "gap", "late", "again"]

MOST_MISSED = 10_000
"""Numbers of a stream that are remembered as missing."""


class Numbers:
    """The numbers of one connection's streams.

    "next": the one that is due, or the first. "gap": numbers before it are missing. "late": one of those. "again": told
    before, or older than anything that is remembered.
    """

    def __init__(self) -> None:
        self.last: dict[Hashable, int] = {}
        self._missing: dict[Hashable, set[int]] = {}
        self.missed = 0

    def place(self, stream: Hashable, seq: int) -> Place:
        """Where `seq` of `stream` belongs; after a gap `missed` says how many are missing.

        >>> numbers = Numbers()
        >>> [numbers.place("a", seq) for seq in (7, 8, 10, 10, 9, 9, 11)]
        ['next', 'next', 'gap', 'again', 'late', 'again', 'next']
        """
        last = self.last.get(stream)
        if last is None or seq == last + 1:
            self.last[stream] = seq
            return "next"
        missing = self._missing.setdefault(stream, set())
        if seq > last:
            self.missed = seq - last - 1
            missing.update(range(max(last + 1, seq - MOST_MISSED), seq))
            if len(missing) > MOST_MISSED:
                missing.intersection_update(sorted(missing)[-MOST_MISSED:])
            self.last[stream] = seq
            return "gap"
        if seq in missing:
            missing.remove(seq)
            return "late"
        return "again"

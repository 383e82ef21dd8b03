"""The only wall clock, uuid and entropy in the package: passed in, never reached for."""

import os
import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """What a driver needs of time and identity; the simulation brings its own."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""

    def new_id(self) -> str:
        """A short identifier that no other call of any process returns."""

    def jitter(self) -> float:
        """A share in [0, 1), another at every call: keeps clients that fell together from returning together."""


class WallClock:
    """The machine's clock and entropy."""

    now_ns = staticmethod(time.time_ns)  # read for every message

    def new_id(self) -> str:
        return uuid.uuid4().hex[:12]

    def jitter(self) -> float:
        return random.random()


def process_age_s() -> float:
    """Seconds since this process began, to a hundredth; 0 where the system does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as said:
            began = int(said.read().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


class Stopwatch:
    """Elapsed seconds of this process, for progress and timings that no decision reads."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._start


class Dice(random.Random):
    """Chance that is no chance: the same throws for the same seed in every process, for the simulation."""

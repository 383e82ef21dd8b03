"""What a start takes: the seconds of each part of it, from the birth of the process until orders may leave."""

from collections.abc import Callable


class Stages:
    """Seconds by the name of a part, in the order in which they ended; the last may be waited for several times."""

    def __init__(self, now_s: Callable[[], float], process_s: float = 0.0) -> None:
        """`now_s` runs on and is never set; `process_s` is what the process took until now: its interpreter, what is
        imported, the config."""
        self._now_s, self._at_s = now_s, now_s()
        self.took: dict[str, float] = {"process": process_s} if process_s else {}
        self.over = False

    def ended(self, part: str) -> None:
        """Takes note that `part` has ended; what came since the last belongs to it."""
        if self.over:
            return
        now = self._now_s()
        self.took[part] = self.took.get(part, 0.0) + now - self._at_s
        self._at_s = now

    def finish(self, part: str) -> None:
        """The last part: what comes afterwards is no start any more."""
        self.ended(part)
        self.over = True

    def text(self) -> str:
        """For a person.

        >>> Stages(lambda: 0.0, 0.25).text()
        '0.25 s: process 0.25'
        """
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in self.took.items())
        return f"{sum(self.took.values()):.2f} s: {parts}"

"""How long after a halt orders are still open at the exchange, and that none is for longer than it may be.

Rules. The clock of a halt begins when it was asked for and answered. Where the venue answers nothing, for anybody, it
begins when the venue answers again: nobody can take back what nobody can reach. For an order that somebody else gives
on a halted account it begins when that arrives. Nothing else stops it: not a process that is dead, not a loop that is
blocked, not answers that are lost, not orders of ours that arrive late.
"""

from typing import Literal, NamedTuple

from flea_lab.sim.exchange import ModelExchange, Standing

BOUND_S = 10.0
"""How long an order may be open after a halt."""

Class = Literal["healthy", "faults", "outage", "stranger"]
"""Of what a time is: of a halt while nothing goes wrong; of one while anything does, but the venue can be reached; of
one that the venue was out of reach after, from when it answered again; of somebody else's order after a halt."""

CLASSES: dict[Class, str] = {
    "healthy": "nothing goes wrong",
    "faults": "all faults, venue in reach",
    "outage": "from when the venue answers again",
    "stranger": "a stranger's order, since it came",
}


class Gone(NamedTuple):
    """One halt, or one order of a stranger: how long until the last order was gone."""

    kind: Class
    after_s: float


class Halting:
    """The halt that stands, if one does. `gone` are the times of those before it."""

    def __init__(self, exchange: ModelExchange) -> None:
        self._exchange = exchange
        self._since_s = -1.0
        self._healthy = False
        self.gone: list[Gone] = []

    def begin(self, now_s: float, *, healthy: bool) -> None:
        """A halt was asked for, and answered. One that stands already goes on: it is as old as it was."""
        if self._since_s < 0.0:
            self._since_s, self._healthy = now_s, healthy

    def end(self) -> None:
        """It was cleared, or the scenario is over. Where orders are still open then, nobody knows how long it takes."""
        since_s, self._since_s = self._since_s, -1.0
        if since_s < 0.0:
            return
        exchange = self._exchange
        late = [one for one in exchange.orders if one.status == "open" or one.ends_s >= since_s]
        mine = [one for one in late if one.name not in exchange.foreign]
        if mine and all(one.status != "open" for one in mine):
            last_s = max(one.ends_s for one in mine)
            from_s = self._from_s(since_s, last_s)
            kind: Class = "healthy" if self._healthy else "faults" if from_s == since_s else "outage"
            self.gone.append(Gone(kind, last_s - from_s))
        for one in late:
            if one.name in exchange.foreign and one.status != "open":
                self.gone.append(Gone("stranger", one.ends_s - self._from_s(max(since_s, one.at_s), one.ends_s)))

    def overdue(self, now_s: float) -> tuple[str, float] | None:
        """An order that has been open for too long, and for how long; None where none is."""
        if self._since_s < 0.0 or self._exchange.down:
            return None
        for one in self._exchange.orders:
            if one.status == "open":
                seconds = now_s - self._from_s(self._began_s(one), now_s)
                if seconds > BOUND_S:
                    return one.name, seconds
        return None

    def _began_s(self, one: Standing) -> float:
        return max(self._since_s, one.at_s) if one.name in self._exchange.foreign else self._since_s

    def _from_s(self, began_s: float, ended_s: float) -> float:
        """When the clock of what began and ended then begins: after the last outage in between."""
        return max([began_s, *(to_s for _, to_s in self._exchange.outages if began_s < to_s <= ended_s)])

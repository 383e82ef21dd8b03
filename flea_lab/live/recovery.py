"""A core taken up from its journal: a start after a clean end, a kill or a loss of power, all by one path.

Rules. The state is what the journal's rows fold to. Other code than the one that wrote them, another patience with
limit orders and other limits go on from the folded state as it is, which becomes a row: rows are never explained by
code that did not write them, unless that code does the same. With real money other code goes on only where a person
said so.
"""

from collections.abc import Callable
from typing import NamedTuple

from flea_lab.core import TradingCore
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.fold import Build, Parted, base_of, recover, restore
from flea_lab.live.journal import LiveJournal


class Terms(NamedTuple):
    """What the core that goes on is of: the digest of its code, how long a limit order rests (ns), whether other code
    than the journal's may go on, and the limits it trades within (`About.limits`)."""

    code: str
    limit_ttl_ns: int | None
    other_code: bool
    limits: str = ""


def resumed(
    journal: LiveJournal, build: Build, terms: Terms, warn: Callable[[str], None], before: Build | None = None
) -> TradingCore:
    """The core that the journal leads to, on these terms; `before` builds it within the limits that the journal was
    written in, where those are others. `ConfigError` where other code may not go on, `WorkspaceError` where this code
    does not do what the journal's did."""
    code, rested_ns = journal.get("code") or "", int(journal.get("limit_ttl_ns") or 0) or None
    if code != terms.code:
        what = f"the code ({terms.code[:10] or 'unknown'}) is another than the journal's ({code[:10] or 'unknown'})"
        if not terms.other_code:
            raise ConfigError(f"{what}: say --other-code to go on with it")
        warn(f"{what}: it goes on from the state that the other left")
    try:
        found = recover(journal.source(), before or build, rested_ns)
    except Parted as error:
        advice = "move it away and reconcile by hand" if code == terms.code else "end it with the code that it is of"
        raise WorkspaceError(f"journal {journal.store.name}: {error}; {advice}") from None
    if found.left_out:
        warn(f"the journal's snapshot is left out: {found.left_out}")
    if (code, rested_ns, journal.get("limits") or "") == (terms.code, terms.limit_ttl_ns, terms.limits):
        return found.core
    left = base_of(found.core, terms.limit_ttl_ns or 0)
    core = build(terms.limit_ttl_ns)
    restore(core, left.state, left.orders)
    journal.meta("limit_ttl_ns", str(left.limit_ttl_ns))
    journal.base(left)
    return core

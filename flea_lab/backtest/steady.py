"""Stretches of bars with one conviction, whole: what an account is worth on each bar, and whether anything is wanted.

Which bar comes next is known without asking what the last one did to the account, so that a processor has several of
them under way.
"""

from flea_lab.backtest.cell import Rules
from flea_lab.backtest.quiet import ROUNDING, SLACK, Block, Board
from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH, absolute, bits, chosen, from_lane, higher, load, lower, lowest_bit, splat, store
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import INCREMENT

AT_ONCE = 4
"""Eights that are written whether the stretch is as long or not: how long it is cannot be predicted."""

ROOM = (AT_ONCE + 1) * WIDTH
"""Bars beyond the last one of a block or of a market that are written or read."""


@compiled
def stretch(
    board: Board, block: Block, rules: Rules, said: float, cash: float, unit: float, first: int, i: int, stop: int,
    extremes: Floats,
) -> bool:  # fmt: skip
    """Writes equity and gross of bars `i` to `stop` as `quiet_one` does, all with the conviction `said`; whether a
    target of that may be wanted on one of them. Widens `extremes`.

    How far a position is beyond its band is, between two closes, nowhere more than at one of them: the lowest and the
    highest close of a stretch speak for all.
    """
    held, each, before = splat(cash), splat(unit), (i - first) % WIDTH
    own, nearest = from_lane(before), splat(board.marks[0, i])
    i -= before  # eights that lie in one line of the cache are written in half the time
    mark, at = load(board.marks, i), i - first
    value = each * mark
    store(block.equity, at, chosen(own, held + value, load(block.equity, at)))
    store(block.gross, at, chosen(own, absolute(value), load(block.gross, at)))
    least = most = chosen(own, mark, nearest)
    for begin in range(i + WIDTH, stop, AT_ONCE * WIDTH):
        for more in range(AT_ONCE):
            at = begin + more * WIDTH
            mark = load(board.marks, at)
            value = each * mark
            store(block.equity, at - first, held + value)
            store(block.gross, at - first, absolute(value))
            least, most = lower(mark, least), higher(mark, most)
    one, other = each * least, each * most
    store(extremes, 0, lower(lower(held + one, held + other), load(extremes, 0)))
    store(extremes, WIDTH, higher(higher(held + one, held + other), load(extremes, WIDTH)))
    if not abs(said) >= rules.min_conviction or int(rules.mode) == INCREMENT:
        return False
    return (beyond(rules, said, cash, one) | beyond(rules, said, cash, other)) != 0


@compiled
def beyond(rules: Rules, said: float, cash: float, value: Floats) -> int:
    """On which of eight bars a position of `value` may be beyond its band around the target of `said`."""
    share, band = rules.base_fraction * said, rules.band * rules.base_fraction * (1.0 - SLACK)
    if rules.live_basis != 0.0:
        equity = splat(cash) + value
        return bits(absolute(equity * splat(share) - value) >= equity * splat(band) - splat(ROUNDING))
    return bits(absolute(splat(rules.initial * share) - value) >= splat(rules.initial * band - ROUNDING))


@compiled
def first_beyond(board: Board, rules: Rules, said: float, cash: float, unit: float, i: int, stop: int) -> int:
    """The first bar from `i` on that is `beyond`; `stop` where none before it is."""
    each = splat(unit)
    while i < stop:
        found = beyond(rules, said, cash, each * load(board.marks, i))
        if found != 0:
            return min(i + lowest_bit(found), stop)
        i += WIDTH
    return stop

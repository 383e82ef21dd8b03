"""The cards of the venue deck: what every exchange must do with an order, each shown on the exchange itself.

A card is a coroutine over a fresh bench. It returns where the venue keeps it, raises `CardFailed` with what it saw
where not, and `NotTried` where the bench has no means. What a venue declares that it cannot do is not held against it.
"""

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    CancelRejected,
    Fill,
    NotFound,
    OrderReport,
    Rejected,
)
from flea_lab.testing.bench import Bench, CardFailed, NotTried
from flea_lab.venue.budget import Paced
from flea_lab.venue.protocol import Capabilities

Said = tuple[OrderReport, ...] | None

AWAY = 0.2
"""How far from the price an order rests that shall not fill: a share of 1."""

HOUR_NS = 3_600_000_000_000
LONG_S = 60.0
"""A time that a venue's switch does not run out by itself while a card is played, however slow the machine."""


class Card(NamedTuple):
    """What is asked for, which promise it needs (empty where none), and how it is shown."""

    name: str
    needs: Callable[[Capabilities], str]
    play: Callable[[Bench], Awaitable[str]]


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise CardFailed(text)


def _accepted(said: Said, what: str) -> None:
    _require(bool(said) and isinstance(said[0], Accepted), f"{what} was answered {_short(said)}")  # type: ignore[index]


def _rejected(said: Said, what: str) -> None:
    _require(bool(said) and isinstance(said[0], Rejected), f"{what} was answered {_short(said)}")  # type: ignore[index]


def _short(said: Said) -> str:
    """An answer in a few words."""
    if said is None:
        return "so that nothing is known"
    return ", ".join(f"{type(one).__name__} {getattr(one, 'reason', '')}".strip() for one in said) or "nothing"


async def fills(bench: Bench) -> str:
    """An order is acknowledged, fills, and is said to be over with as much as filled."""
    order = bench.order()
    said = await bench.send(order)
    _accepted(said, "an ordinary order")
    found = await bench.filled(order)
    lots, state = sum(fill.lots for fill in found), await bench.over(order)
    _require(0 < lots <= order.lots, f"{lots} of {order.lots} lots filled")
    _require(state.filled_lots == lots, f"the order says {state.filled_lots} lots, its fills {lots}")
    _require(all(fill.price_ticks > 0 and fill.side == "buy" for fill in found), f"{found}")
    return f"{lots} of {order.lots} lots in {len(found)} fills"


async def accounts(bench: Bench) -> str:
    """Fills, position, fees and cash of the account are one story."""
    before, known = await bench.exchange.account(), {seq for seq, _ in await bench.exchange.fills(0)}
    for side in ("buy", "sell"):
        await bench.send(order := bench.order(side=side))
        await bench.filled(order)
    after = await bench.exchange.account()
    mine = [fill for seq, fill in await bench.exchange.fills(0) if seq not in known]
    signed = [(fill.lots if fill.side == "buy" else -fill.lots, fill) for fill in mine]
    lots, grid = sum(one for one, _ in signed), bench.instrument
    moved = after.lots.get(bench.symbol, 0) - before.lots.get(bench.symbol, 0)
    _require(moved == lots, f"the position moved by {moved} lots, the fills say {lots}")
    fees = sum(fill.fee_uusd for fill in mine)
    _require(after.fees_uusd - before.fees_uusd == fees, f"{after.fees_uusd - before.fees_uusd} of fees, fills {fees}")
    paid = sum(round(one * fill.price_ticks * grid.unit_num / grid.unit_den) for one, fill in signed)
    funded = after.funding_uusd - before.funding_uusd
    drift = before.cash_uusd - paid - fees - funded - after.cash_uusd
    _require(abs(drift) <= len(mine), f"cash is off by {drift} micro-dollars")
    return f"{len(mine)} fills, cash to {abs(drift)} micro-dollars"


async def repeats(bench: Bench) -> str:
    """Whatever channel tells a fill, however often, it has one name; numbers rise, and begin where they are asked."""
    orders = [bench.order(), bench.order()]
    for order in orders:
        await bench.send(order)
        await bench.filled(order)
    rows, again = await bench.exchange.fills(0), await bench.exchange.fills(0)
    _require(rows == again, "the same question was answered in two ways")
    names = [fill.fill_id for _, fill in rows]
    _require(len(set(names)) == len(names) and all(names), f"fill ids {names} are not different")
    numbers = [seq for seq, _ in rows]
    _require(numbers == sorted(set(numbers)), f"numbers {numbers} do not rise")
    rest = await bench.exchange.fills(numbers[0])
    _require(rest == rows[1:], f"after {numbers[0]} there are {len(rest)} fills, not {len(rows) - 1}")
    pushed = {said.fill_id for said in bench.heard if isinstance(said, Fill) and said.client_order_id}
    _require(pushed <= set(names), f"pushed fills {sorted(pushed - set(names))} are not listed")
    return f"{len(rows)} fills, {len(pushed)} of them pushed as well"


async def cancels(bench: Bench) -> str:
    """An order that rests is listed as open, is taken back, and is then neither."""
    order = bench.order(kind="limit", away=AWAY)
    said = await bench.send(order)
    _accepted(said, "a resting order")
    await _listed(bench, order.client_order_id, there=True)
    cancel = CancelOrder(client_order_id=order.client_order_id, symbol=bench.symbol, ts_event=bench.now_ns())
    answer = await bench.exchange.send(cancel)
    state = await bench.over(order)
    _require((state.status, state.filled_lots) == ("cancelled", 0), f"it ended {state.status} ({answer})")
    await _listed(bench, order.client_order_id, there=False)
    return "open, taken back, gone"


async def _listed(bench: Bench, name: str, *, there: bool) -> None:
    async def right() -> bool:
        return (name in {state.client_order_id for state in await bench.exchange.open_orders()}) is there

    await bench.until(f"{name} {'in' if there else 'out of'} the list of open orders", right)


async def cancels_all(bench: Bench) -> str:
    """One wish takes back all that is open, by the venue's own list."""
    for side in ("buy", "sell", "buy"):
        await bench.send(bench.order(side=side, kind="limit", away=AWAY))
    _require(len(await bench.exchange.open_orders()) >= 3, "three resting orders are not listed")
    await bench.exchange.cancel_all()

    async def empty() -> bool:
        return not await bench.exchange.open_orders()

    await bench.until("an empty list of open orders", empty)
    await bench.exchange.cancel_all()  # with nothing to take back it is no error
    return "three orders, none left"


async def cancels_filled(bench: Bench) -> str:
    """Taking back what has filled is refused, and changes nothing."""
    order = bench.order()
    await bench.send(order)
    before = await bench.filled(order)
    cancel = CancelOrder(client_order_id=order.client_order_id, symbol=bench.symbol, ts_event=bench.now_ns())
    said = await bench.exchange.send(cancel)
    refused = all(isinstance(one, CancelRejected | NotFound) for one in said)
    _require(refused or not any(isinstance(one, Cancelled) for one in said), f"it was answered {said}")
    _require(await bench.filled(order) == before, "its fills are others now")
    return "refused"


async def once(bench: Bench) -> str:
    """The same id again makes no second order, and another order under it is refused."""
    order = bench.order()
    await bench.send(order)
    await bench.filled(order)
    held, carried = await bench.held(), bench.carried_out()
    again = await bench.send(order)
    for _ in range(3):
        await bench.trade()
    _require(await bench.held() == held, f"the position moved ({again})")
    _require(bench.carried_out() == carried, f"the venue carried out {bench.carried_out() - carried} more")
    return "one execution"


async def unseen(bench: Bench) -> str:
    """An order that was never sent is not there."""
    found = await bench.exchange.order("deck-never-sent")
    _require(found is None, f"it is {found}")
    return "none"


async def lost_answer(bench: Bench) -> str:
    """An order whose answer was lost is of unknown fate, and then found as what it became; it is sent once."""
    if bench.lose_answer is None:
        raise NotTried("this bench cannot lose an answer")
    order, carried = bench.order(), bench.carried_out()
    bench.lose_answer()
    said = await bench.send(order)
    _require(said is None, f"it was answered {_short(said)}, which nobody can know")
    found = await bench.filled(order)
    _require(bench.carried_out() in (-1, carried + 1), f"it was carried out {bench.carried_out() - carried} times")
    _require(await bench.held() == sum(fill.lots for fill in found), "the position is not what filled")
    return f"unknown, then {sum(fill.lots for fill in found)} lots"


async def lost_order(bench: Bench) -> str:
    """An order that never arrived is of unknown fate, and at last said to be unknown to the venue."""
    if bench.lose_order is None:
        raise NotTried("this bench cannot lose an order")
    order, carried = bench.order(), bench.carried_out()
    bench.lose_order()
    said = await bench.send(order)
    _require(said is None, f"it was answered {_short(said)}, which nobody can know")

    async def gone() -> bool:
        try:
            return await bench.exchange.order(order.client_order_id) is None
        except VenueRefusal:
            raise
        except VenueError:
            await bench.later(10.0)
            return False

    await bench.until("the word that it never arrived", gone)
    _require(bench.carried_out() in (-1, carried) and await bench.held() == 0, "and yet it was carried out")
    return "unknown, then never seen"


async def late(bench: Bench) -> str:
    """A request stamped an hour ago, by a clock that is behind or a line that is slow, is void."""
    order, carried = bench.order(ts_event=bench.now_ns() - HOUR_NS), bench.carried_out()
    said = await bench.send(order)
    _rejected(said, "it")
    _require(bench.carried_out() == carried and await bench.held() == 0, "and yet it was carried out")
    return said[0].reason if said and isinstance(said[0], Rejected) else ""


async def reduces(bench: Bench) -> str:
    """An order that may only reduce opens nothing, and closes what is there."""
    said = await bench.send(bench.order(reduce_only=True))
    _rejected(said, "without a position it")
    await bench.send(order := bench.order())
    held = sum(fill.lots for fill in await bench.filled(order))
    await bench.send(order := bench.order(side="sell", lots=held, reduce_only=True))
    await bench.filled(order)
    left = await bench.held()
    _require(left == 0, f"{left} lots are left")
    return "refused without a position, and closed one"


async def edges(bench: Bench) -> str:
    """No lots, fewer than the smallest order, more than can be paid for, and a symbol that is not there are refused."""
    tiny = max(1, int(bench.instrument.min_notional_uusd / 1e6 / bench.price / bench.instrument.qty(1) / 4))
    wrong = {"no lots": {"lots": 0}, "another symbol": {"symbol": "NOSUCHCOIN"}, "too much": {"lots": 10**11}}
    small = bench.instrument.min_notional_usd > 0
    for what, given in (wrong | ({"too little": {"lots": tiny}} if small else {})).items():
        said = await bench.send(bench.order(**given))  # type: ignore[arg-type]
        _rejected(said, what)
    _require(await bench.held() == 0, "and yet something was carried out")
    return f"{len(wrong) + small} refused"


async def numbers(bench: Bench) -> str:
    """A price that is no number never leaves."""
    for price in (math.nan, math.inf, -1.0, 0.0):
        said = await bench.send(bench.order(kind="limit", limit_price=price))
        _rejected(said, f"a limit of {price}")
    _require(await bench.exchange.open_orders() == [], "and yet something rests")
    return "4 refused"


async def crowded(bench: Bench) -> str:
    """A rate limit is no order, and what comes right after waits or is not sent."""
    if bench.crowd is None:
        raise NotTried("this bench cannot reach the limit")
    carried = bench.carried_out()
    bench.crowd()
    said = await bench.send(bench.order())
    _require(said is None or isinstance(said[0], Rejected), f"it was answered {said}")
    waits = isinstance(bench.exchange, Paced) and bench.exchange.order_wait_s() > 0.0
    if not waits:
        after = await bench.send(bench.order())
        _require(after is not None and isinstance(after[0], Rejected), "the next order was sent at once")
    _require(bench.carried_out() in (-1, carried), "and yet it was carried out")
    return "unknown" if said is None else "refused"


async def dead_man(bench: Bench) -> str:
    """Without a word in time the venue takes every order back; disarmed it does not."""
    seconds, order = max(bench.exchange.capabilities.dead_man_s, 1.0), bench.order(kind="limit", away=AWAY)
    await bench.send(order)
    await bench.exchange.dead_man(LONG_S)
    await bench.exchange.dead_man(0.0)
    await bench.later(LONG_S + 1.0 if bench.moves_time else 0.1)
    _require(len(await bench.exchange.open_orders()) == 1, "disarmed, it took the order back")
    await bench.exchange.dead_man(seconds)
    await bench.later(seconds + 0.2)
    await _listed(bench, order.client_order_id, there=False)
    return f"after {seconds:g} s"


def _no(can: Capabilities) -> str:  # noqa: ARG001
    return ""


def _ids(can: Capabilities) -> str:
    return "" if can.id_scope == "for_ever" else f"an id names an order {can.id_scope.replace('_', ' ')}"


def _limits(can: Capabilities) -> str:
    return "" if can.limit_orders else "no limit orders"


def _all(can: Capabilities) -> str:
    return _limits(can) or ("" if can.cancel_all else "no cancel-all")


def _queries(can: Capabilities) -> str:
    return "" if can.query_by_id else "no query by id: in flight, one at a time"


def _voids(can: Capabilities) -> str:
    return "" if can.validity_s > 0.0 else "requests do not become void"


def _reduces(can: Capabilities) -> str:
    return "" if can.reduce_only else "no reduce-only orders"


def _switch(can: Capabilities) -> str:
    return _limits(can) or ("" if can.dead_man_s > 0.0 else "no dead man's switch")


CARDS = (
    Card("an order is acknowledged and fills", _no, fills),
    Card("fills, position, fees and cash agree", _no, accounts),
    Card("a fill told twice has one name", _no, repeats),
    Card("a resting order is taken back", _limits, cancels),
    Card("cancel-all leaves nothing open", _all, cancels_all),
    Card("a filled order cannot be cancelled", _no, cancels_filled),
    Card("the same id trades once", _ids, once),
    Card("an order never sent is not found", _queries, unseen),
    Card("a lost answer is found out", _no, lost_answer),
    Card("a lost order is found out", _no, lost_order),
    Card("a request of an hour ago is void", _voids, late),
    Card("reduce-only opens nothing", _reduces, reduces),
    Card("edges of grid, size and margin are refused", _no, edges),
    Card("a price that is no number never leaves", _no, numbers),
    Card("the rate limit is obeyed", _no, crowded),
    Card("the dead man's switch fires", _switch, dead_man),
)

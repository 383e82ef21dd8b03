"""What Hyperliquid tells about one account, into lots, ticks and micro-dollars. Pure.

Rules. Executions are numbered by their time: the millisecond, and their place among those of the same one, so that a
number means the same after every restart. What is charged is the fee with the builder's. Cash is what the venue calls
raw: the account's value without the value of its positions, as in our ledger. A position in a coin that is not traded
here is named by its coin and counted in 1e-8 of it: it is there to be seen, not to be accounted for.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import Struct, field

from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, Side
from flea_lab.model.trading import Fill
from flea_lab.venue.one_in_flight import Execution
from flea_lab.venue.order_wire import steps, uusd
from flea_lab.venue.reading import FrameError, read_body, shown

FILL_ROWS, FUNDING_ROWS = 2_000, 500
LATEST_MS = 9_000_000_000_000
PLACES = 1_000
"""Executions that one millisecond may have."""


class FillRow(Struct):
    """An execution, as `userFills` lists it."""

    coin: str
    side: Literal["A", "B"]
    px: Decimal
    sz: Decimal
    time: int
    tid: int
    oid: int
    fee: Decimal
    builder_fee: Decimal = field(name="builderFee", default=Decimal(0))
    cloid: str | None = None


class _Position(Struct):
    coin: str
    szi: Decimal


class _Held(Struct):
    position: _Position


class _Margin(Struct):
    value: Decimal = field(name="accountValue")
    raw: Decimal = field(name="totalRawUsd")


class _State(Struct):
    margin: _Margin = field(name="marginSummary")
    held: list[_Held] = field(name="assetPositions")
    time: int | None = None


class _Delta(Struct):
    usdc: Decimal


class _Paid(Struct):
    time: int
    delta: _Delta


class Holdings(NamedTuple):
    """What an account holds, signed lots by our symbol."""

    ts_event: int
    cash_uusd: int
    equity_uusd: int
    lots: dict[str, int]


class Page(NamedTuple):
    """One answer: the executions in our symbols, the fees of all by `tid`, the last time, and how many rows."""

    executions: list[Execution]
    names: dict[str, str]
    fees: dict[str, int]
    last_ms: int
    rows: int


class AccountReading:
    """Reads answers about one account; `coins` are the venue's names by our symbol."""

    def __init__(self, coins: Mapping[str, str], instruments: Mapping[str, Instrument]) -> None:
        self._ours = {coin: symbol for symbol, coin in coins.items()}
        self._grids = instruments

    def holdings(self, raw: bytes, now_ns: int) -> Holdings:
        """The account of a `clearinghouseState`."""
        state = read_body(raw, "", _State, "clearinghouseState")
        lots: dict[str, int] = {}
        for one in state.held:
            coin, size = one.position.coin, one.position.szi
            symbol = self._ours.get(coin)
            where = f"clearinghouseState: {shown(coin)}: szi"
            step = Decimal("1e-8") if symbol is None else self._grids[symbol].lot_size
            if size:
                lots[symbol or coin] = steps(size, step, where)
        return Holdings(
            ts_event=now_ns if state.time is None else _ms(state.time, "clearinghouseState") * MS_NS,
            cash_uusd=uusd(state.margin.raw, "clearinghouseState: totalRawUsd"),
            equity_uusd=uusd(state.margin.value, "clearinghouseState: accountValue"),
            lots=lots,
        )

    def fills(self, raw: bytes) -> Page:
        """The executions of a `userFills` or `userFillsByTime`, oldest first, each with its number; `names` are the
        ids that the orders bore, by `fill_id`."""
        rows = read_body(raw, "", list[FillRow], "userFills")
        rows.sort(key=lambda row: (row.time, row.tid))
        page, place, before = Page([], {}, {}, rows[-1].time if rows else 0, len(rows)), 0, -1
        for row in rows:
            where = f"userFills: tid {row.tid}"
            place = place + 1 if _ms(row.time, where) == before else 0
            before, name = row.time, str(row.tid)
            page.fees[name] = uusd(row.fee + row.builder_fee, f"{where}: fee")
            symbol = self._ours.get(row.coin)
            if symbol is None:
                continue
            fill = self.fill(row, symbol, where)
            page.executions.append(Execution(row.time * PLACES + place, str(row.oid), fill))
            if row.cloid:
                page.names[name] = row.cloid
        return page

    def fill(self, row: FillRow, symbol: str, where: str) -> Fill:
        """One execution, without an order id of ours."""
        grid = self._grids[symbol]
        side: Side = "buy" if row.side == "B" else "sell"
        ticks, lots = steps(row.px, grid.tick_size, f"{where}: px"), steps(row.sz, grid.lot_size, f"{where}: sz")
        if not (ticks > 0 and lots > 0):
            raise FrameError(f"{where}: px = {row.px}, sz = {row.sz}: must be above 0")
        return Fill(
            client_order_id="",
            ts_event=_ms(row.time, where) * MS_NS,
            symbol=symbol,
            side=side,
            lots=lots,
            price_ticks=ticks,
            fee_uusd=uusd(row.fee + row.builder_fee, f"{where}: fee"),
            reference_ticks=ticks,
            fill_id=str(row.tid),
        )

    def funding(self, raw: bytes) -> tuple[int, int, int]:
        """What a `userFunding` charged in micro-dollars (negative: brought), its last time, and how many rows."""
        rows = read_body(raw, "", list[_Paid], "userFunding")
        paid = -sum(uusd(row.delta.usdc, "userFunding: usdc") for row in rows)
        return paid, max((_ms(row.time, "userFunding") for row in rows), default=0), len(rows)


def _ms(value: int, where: str) -> int:
    if not 0 < value < LATEST_MS:
        raise FrameError(f"{where}: time = {value}: not a time in ms")
    return value

"""What happens to an account within a bar, as scalar functions: the same ones wherever a market is folded."""

from flea_lab.backtest.cell import Rules
from flea_lab.compiled import compiled
from flea_lab.ledger import DEN, MARK, NUM, PENDING, Book, apply_fill, gross_uusd, position_uusd
from flea_lab.money import slipped_ticks
from flea_lab.risk.checks import GateState, advance, review, worst_uusd
from flea_lab.sandbox.matching import fee_uusd
from flea_lab.strategy.sizing import intent_uusd


@compiled
def fill_at_open(book: Book, s: int, open_ticks: int, slippage_e8: int, fee_e8: int) -> int:
    """Fills what is pending in row `s`; returns the change in cash."""
    lots = book[s, PENDING]
    if lots == 0:
        return 0
    ticks = slipped_ticks(open_ticks, lots > 0, slippage_e8)
    fee = fee_uusd(lots, ticks, book[s, NUM], book[s, DEN], fee_e8)
    book[s, PENDING] = 0
    return apply_fill(book, s, lots, ticks, fee, open_ticks)


@compiled
def judge(gate: GateState, book: Book, ts_ns: int, equity: int, rules: Rules) -> None:
    """Judges the account at a close; a latch that closes takes every pending order back."""
    if advance(gate, ts_ns, equity, rules.max_daily_loss, rules.max_drawdown) != 0:
        for s in range(book.shape[0]):
            book[s, PENDING] = 0


@compiled
def verdict(
    gate: GateState, book: Book, s: int, equity: int, size: int, vpin: float, rules: Rules, unsettled: bool
) -> int:
    """The gate's code for `size` signed micro-dollars in row `s`."""
    return review(
        gate,
        equity,
        position_uusd(book, s),
        size,
        gross_uusd(book),
        worst_uusd(size, book[s, MARK], int(rules.slippage_e8)),
        rules.max_concentration,
        rules.of_exposure != 0.0,
        rules.max_order,
        rules.vpin_applied != 0.0,
        vpin,
        rules.vpin_limit,
        unsettled,
    )


@compiled
def wanted(book: Book, s: int, equity: int, conviction: float, rules: Rules) -> int:
    """Signed micro-dollars that the desk wants in row `s`."""
    if not abs(conviction) >= rules.min_conviction:  # silence, found before anything is valued
        return 0
    basis = equity if rules.live_basis != 0.0 else int(rules.initial)
    return intent_uusd(
        int(rules.mode),
        basis,
        rules.base_fraction,
        rules.band,
        conviction,
        rules.min_conviction,
        position_uusd(book, s),
    )

"""Bugs that a developer could have written into the quick way of a single backtest; see `planted_sweep`."""

from tests.parity.planting import Bug

ALONE = "flea_lab.backtest.alone"

ALONE_BUGS: dict[str, Bug] = {
    "alone_times_without_gaps": Bug(
        ALONE,
        "Bars are as far from each other as the interval says.",
        (
            (
                "begin_ns + (at - first) * interval_ns if even else board.close_ns[at]",
                "begin_ns + (at - first) * interval_ns",
            ),
        ),
    ),
    "alone_worth_before_the_fill": Bug(
        ALONE,
        "What a tick of the position is worth was written when the order was given.",
        (
            (
                "            open_alone(board, own, book, told, i, rules)\n"
                "            rests, exact = units_of(board, block, book, purse[CASH])\n",
                "            open_alone(board, own, book, told, i, rules)\n            rests = book[0, PENDING] == 0\n",
            ),
        ),
    ),
    "alone_fee_of_all_fills": Bug(
        ALONE,
        "The book says what a fill cost.",
        (("row[4] = book[0, FEES] - paid", "row[4] = book[0, FEES]"),),
    ),
    "alone_fills_at_the_close": Bug(
        ALONE,
        "A fill's reference is the price of its bar.",
        (("book[0, FEES], board.open_ticks[0, i]", "book[0, FEES], board.close_ticks[0, i]"),),
    ),
    "alone_leaves_the_bar_of_a_change": Bug(
        ALONE,
        "A stretch ends before the bar on which the conviction changes.",
        (("first, i, min(at + 1, until), extremes)", "first, i, min(at, until), extremes)"),),
    ),
    "alone_forgets_the_peak": Bug(
        ALONE,
        "The accumulators know the peak.",
        (
            (
                "own.gate[PEAK_OF_GATE], own.gate[LAST_OF_GATE] = int(own.acc[PEAK]), int(own.acc[LAST])",
                "own.gate[LAST_OF_GATE] = int(own.acc[LAST])",
            ),
        ),
    ),
    "alone_settles_at_the_new_mark": Bug(
        ALONE,
        "Funding is paid on the position at its mark.",
        (("int(board.marks[0, max(i - 1, 0)])", "int(board.marks[0, i])"),),
    ),
}

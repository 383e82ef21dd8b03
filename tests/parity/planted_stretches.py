"""Bugs in what takes stretches of one conviction whole, and in the columns that are kept by their changes: see
`planted_sweep`, which they are among."""

from tests.parity.planting import Bug

ACCOUNT, STEADY = "flea_lab.backtest.account", "flea_lab.backtest.steady"
COLUMNS, TURNS = "flea_lab.signal.columns", "flea_lab.signal.turns"

STRETCHES: dict[str, Bug] = {
    "bar_of_a_change_skipped": Bug(
        ACCOUNT,
        "A stretch ends with the bar on which its conviction changes.",
        (("at = min(begins, until) if waits", "at = min(begins + 1, until) if waits"),),
    ),
    "said_before_it_is": Bug(
        ACCOUNT,
        "What is said in a stretch is what its next change says.",
        (("said = says[turn] if begins == i else says[turn - 1]", "said = says[turn]"),),
    ),
    "said_after_it_was": Bug(
        ACCOUNT,
        "The bar on which a stretch ends says what the stretch does.",
        (("conviction = says[turn] if at == begins else said", "conviction = said"),),
    ),
    "judged_by_the_column_before": Bug(
        ACCOUNT,
        "What judges every bar finds the column where the walk has read it.",
        (
            (
                "        if not written:\n            write_turns(turns, row, block.conviction)\n        walk_judging",
                "        walk_judging",
            ),
        ),
    ),
    "changes_are_eight_bars_apart": Bug(
        TURNS,
        "What is compared is what was loaded before.",
        (("load(column, i) == load(column, i - 1)", "load(column, i) == load(column, i - 8)"),),
    ),
    "every_column_is_told_by_its_changes": Bug(
        COLUMNS,
        "A column's changes are kept, so the next one may have its row.",
        (
            (
                "return row if keep_turns(borrow(columns, row * block, block), n, turns, at) else row + 1",
                "keep_turns(borrow(columns, row * block, block), n, turns, at)\n    return row",
            ),
        ),
    ),
    "says_what_it_said_before": Bug(
        TURNS,
        "What is said from a change on stands at the bar before it.",
        (("said[k] = column[at[k]]", "said[k] = column[max(at[k] - 1, 0)]"),),
    ),
    "tail_of_a_stretch_not_written": Bug(
        STEADY,
        "A stretch is made of whole eights.",
        (("range(i + WIDTH, stop, AT_ONCE * WIDTH)", "range(i + WIDTH, stop - WIDTH, AT_ONCE * WIDTH)"),),
    ),
    "stretch_before_is_written_over": Bug(
        STEADY,
        "What is written of the bars before a stretch is written again.",
        (("chosen(own, held + value, load(block.equity, at))", "held + value"),),
    ),
    "highest_close_speaks_for_all": Bug(
        STEADY,
        "A position is furthest from its goal where the price is highest.",
        (("beyond(rules, said, cash, one) | beyond", "beyond"),),
    ),
    "beyond_in_both_at_once": Bug(
        STEADY,
        "A stretch is loud where its lowest and its highest close are.",
        (("beyond(rules, said, cash, one) | beyond", "beyond(rules, said, cash, one) & beyond"),),
    ),
    "increments_by_their_distance": Bug(
        ACCOUNT,
        "A position that is near its goal wants nothing.",
        (
            (
                "rests and not (int(rules.mode) == INCREMENT and abs(said) >= rules.min_conviction and said != 0.0)",
                "rests",
            ),
        ),
    ),
}

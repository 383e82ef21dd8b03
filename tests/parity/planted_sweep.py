"""Bugs that a developer could have written into the sweep's engine, each of which the campaign must catch.

A bug is a change of the source: the words that it replaces are its anchor. Nothing of it knows of seeds or of the
campaign. Where an anchor no longer stands in the source the bug is to be written anew, in the words that do.
"""

from tests.parity.planted_alone import ALONE_BUGS
from tests.parity.planted_stretches import STRETCHES
from tests.parity.planting import Bug

QUIET, ACCOUNT, CELLS = "flea_lab.backtest.quiet", "flea_lab.backtest.account", "flea_lab.backtest.cells"
BATCH, GUARD, METRICS = "flea_lab.backtest.batch", "flea_lab.backtest.guard", "flea_lab.backtest.metrics"
LATCHED = "flea_lab.backtest.latched"
PARTS, COLUMNS, RULES = "flea_lab.signal.part_columns", "flea_lab.signal.columns", "flea_lab.backtest.rules"
FILLS = "flea_lab.signal.part_fills"

UNITS_AFTER_OPEN = """            open_at(board, book, purse, i, rules)
            rests, fits = units_of(board, block, book, purse[CASH])
"""

BUGS: dict[str, Bug] = {
    **STRETCHES,
    # where something may be wanted
    "no_room_for_rounding": Bug(
        QUIET,
        "Floats are exact here, so whether a position is far enough from its goal needs no room for rounding to cents.",
        (("ROUNDING = 6_000.0", "ROUNDING = 0.0"),),
    ),
    "room_on_the_wrong_side": Bug(
        QUIET,
        "A position must be beyond the band for sure before it is worth a look.",
        (("equity * band - slack", "equity * band + slack"),),
    ),
    "speaks_only_beyond_the_threshold": Bug(
        QUIET,
        "A conviction must be above its threshold.",
        (("spoken = loud >= least", "spoken = loud > least"),),
    ),
    "last_symbol_decides": Bug(
        QUIET,
        "Whether a symbol wants something is found symbol by symbol.",
        (("found |= bits(spoken & (gap", "found = bits(spoken & (gap"),),
    ),
    "quiet_beyond_its_end": Bug(
        QUIET,
        "Eight bars were judged quiet, so eight bars are behind us.",
        (("return min(i, stop)", "return i"),),
        count=2,
    ),
    # convictions
    "not_ready_is_no_opinion": Bug(
        QUIET,
        "An alpha that is not ready has no opinion: 0.",
        (("chosen(ready, total, nothing)", "chosen(ready, total, zero)"),),
    ),
    "confident_only_beyond_the_threshold": Bug(
        QUIET,
        "A confidence must be above its threshold.",
        (("sure, w = confidence >= least", "sure, w = confidence > least"),),
    ),
    "weight_of_a_lone_alpha": Bug(
        QUIET,
        "The weight of a single alpha cancels out.",
        ((" and weights[0] == 1.0", ""),),
    ),
    # what a position is worth
    "rounds_towards_the_ceiling": Bug(
        QUIET,
        "Half a micro-dollar rounds up, below zero too.",
        (
            ("floored((absolute(value) + splat", "absolute(floored((value + splat"),
            ("/ splat(den * 1.0))", "/ splat(den * 1.0)))"),
        ),
    ),
    "every_float_is_exact": Bug(
        QUIET,
        "Nobody has billions of dollars.",
        (("largest < EXACT", "largest < np.inf"),),
    ),
    "every_tick_is_whole": Bug(
        ACCOUNT,
        "One symbol alone takes the quick way.",
        (("if book.shape[0] == 1 and book[0, DEN] == 1:", "if book.shape[0] == 1:"),),
    ),
    "worth_before_the_fill": Bug(
        ACCOUNT,
        "What a tick of the position is worth was written when the order was given.",
        (
            (
                "if i == stop or not rests:\n            rests, fits = units_of(board, block, book, purse[CASH])",
                "if i == stop or not rests:\n            rests = not pends(book)",
            ),
        ),
        count=2,
    ),
    "worth_of_several_before_the_fill": Bug(
        ACCOUNT,
        "What a tick of the position is worth was written when the order was given.",
        (
            (
                UNITS_AFTER_OPEN,
                "            open_at(board, book, purse, i, rules)\n            rests = not pends(book)\n",
            ),
        ),
    ),
    "no_mark_in_a_hole": Bug(
        CELLS,
        "A symbol is marked at its close.",
        (("last = closes[s, i] * 1.0 if closes[s, i] > 0 else last", "last = closes[s, i] * 1.0"),),
    ),
    # orders
    "order_waits_for_the_next_stop": Bug(
        ACCOUNT,
        "Whether anything is pending is asked where something happens.",
        (("rests = book[0, PENDING] == 0", "rests = True"),),
        count=2,
    ),
    "orders_wait_for_the_next_stop": Bug(
        ACCOUNT,
        "Whether anything is pending is asked where something happens.",
        (("rests = not pends(book)\n            at += 1", "rests = True\n            at += 1"),),
    ),
    "fills_in_a_hole": Bug(
        ACCOUNT,
        "What is pending fills at the next bar of the account.",
        ((" and board.close_ticks[s, i] > 0:", ":"),),
    ),
    "refusal_counted_twice": Bug(
        ACCOUNT,
        "A refused order counts, and so does the decision that led to it.",
        (("accounts.vetoes[k, code] += 1", "accounts.vetoes[k, code] += 1 if code == PASSED else 2"),),
    ),
    "goal_of_another_equity": Bug(
        ACCOUNT,
        "The goal follows from the conviction, so it is computed when that changes.",
        (("if live or abs(conviction) != asked:", "if abs(conviction) != asked:"),),
        count=2,
    ),
    "latch_leaves_the_orders": Bug(
        RULES,
        "A latch refuses what is asked from now on.",
        (("            book[s, PENDING] = 0\n", "            book[s, PENDING] += 0\n"),),
    ),
    # guards
    "drawdown_not_noticed": Bug(
        ACCOUNT,
        "A drawdown ends with the day.",
        (("return gate[DRAWDOWN_LATCH] == 0 and not", "return gate[DRAWDOWN_LATCH] != 0 and not"),),
    ),
    "daily_loss_not_noticed": Bug(
        ACCOUNT,
        "Once the day's latch is closed its loss matters.",
        (("if gate[DAILY_LATCH] == 0 and not (base", "if gate[DAILY_LATCH] != 0 and not (base"),),
    ),
    "peak_of_the_last_stretch": Bug(
        ACCOUNT,
        "The peak is in the extremes.",
        (
            (
                "max(highest, widest(extremes, 1)), widest(extremes, 0), rules)",
                "widest(extremes, 1), widest(extremes, 0), rules)",
            ),
        ),
        count=3,
    ),
    "peak_forgotten_after_a_block": Bug(
        ACCOUNT,
        "The accumulators know the peak.",
        (
            (
                "gate[PEAK], gate[LAST] = int(acc[PEAK_EQUITY]), int(acc[LAST_EQUITY])",
                "gate[LAST] = int(acc[LAST_EQUITY])",
            ),
        ),
    ),
    "last_close_forgotten_after_a_block": Bug(
        ACCOUNT,
        "The accumulators know the last equity.",
        (
            (
                "gate[PEAK], gate[LAST] = int(acc[PEAK_EQUITY]), int(acc[LAST_EQUITY])",
                "gate[PEAK] = int(acc[PEAK_EQUITY])",
            ),
        ),
    ),
    "day_begins_with_its_first_bar": Bug(
        ACCOUNT,
        "The day's base is the equity at its first close.",
        (("equity_uusd(book, cash) if ts_ns % DAY_NS == 0 else before", "equity_uusd(book, cash)"),),
    ),
    "day_begins_with_the_block": Bug(
        ACCOUNT,
        "The gate keeps the equity of the last close.",
        (("before = int(block.equity[i - first - 1]) if i > first else gate[LAST]", "before = gate[LAST]"),),
    ),
    "second_walk_keeps_the_vetoes": Bug(
        ACCOUNT,
        "Vetoes are counts: they only grow.",
        (("        vetoes[:] = saved[n_book + n_gate : n_book + n_gate + n_vetoes]\n", ""),),
    ),
    "second_walk_keeps_the_cash": Bug(
        ACCOUNT,
        "Cash follows from the book.",
        (("        purse[:] = saved[n_book + n_gate + n_vetoes : n_book + n_gate + n_vetoes + PURSE]\n", ""),),
    ),
    "second_walk_keeps_the_gate": Bug(
        ACCOUNT,
        "The gate was not touched, for no latch was judged.",
        (
            (
                "        flat[:], gate[:] = saved[:n_book], saved[n_book : n_book + n_gate]\n",
                "        flat[:] = saved[:n_book]\n",
            ),
        ),
    ),
    "settles_a_bar_early": Bug(
        GUARD,
        "The last of the bars that a symbol stays out is the first that it may trade.",
        (("out[s, i - first] = state[s, LEFT] > 0", "out[s, i - first] = state[s, LEFT] > 1"),),
    ),
    "one_patience_for_all": Bug(
        CELLS,
        "Combinations that tolerate the same holes share a column.",
        (
            (
                "asked = [(int(kinds[k, 0]), int(kinds[k, 1])) for k in kept]",
                "asked = [(int(kinds[k, 0]), int(kinds[kept[0], 1])) for k in kept]",
            ),
        ),
    ),
    "vpin_of_another": Bug(
        BATCH,
        "The first of the configs have the first of the guards.",
        (("configs[int(np.argmax(vpin_which == at))]", "configs[at]"),),
    ),
    # stops: days and funding
    "midnight_is_no_stop": Bug(
        CELLS,
        "Only settlements move cash.",
        (("if fresh or funded:", "if funded:"),),
    ),
    "settlement_is_no_stop": Bug(
        CELLS,
        "Funding is paid when the account is next looked at.",
        (("if fresh or funded:", "if fresh:"),),
    ),
    "stop_at_the_seam": Bug(
        CELLS,
        "The first stop of a block is the one after where it begins.",
        (("np.searchsorted(self.board.stops, first))", 'np.searchsorted(self.board.stops, first, side="right"))'),),
    ),
    "funding_a_bar_late": Bug(
        CELLS,
        "A settlement is paid at the close of its bar.",
        (
            ("funding = market.fund_at, market", "funding = market.fund_at + 1, market"),
            ("closes, market.fund_at, marks", "closes, market.fund_at + 1, marks"),
        ),
    ),
    "funding_at_the_wrong_mark": Bug(
        ACCOUNT,
        "A settlement is of what the position is worth now.",
        (("mark_at(board, book, max(i - 1, 0))", "mark_at(board, book, i)"),),
    ),
    "one_settlement_a_bar": Bug(
        ACCOUNT,
        "A bar has a settlement or none.",
        (
            (
                "        while settled < board.fund_at.shape[0] and board.fund_at[settled] == i:\n            purse",
                "        if settled < board.fund_at.shape[0] and board.fund_at[settled] == i:\n            purse",
            ),
        ),
    ),
    # stretches that a latch refuses
    "refusals_beyond_the_stretch": Bug(
        LATCHED,
        "Eight bars were taken in, so all their refusals count.",
        (("& wanted) & within)", "& wanted))"),),
    ),
    "drawdown_before_the_day": Bug(
        LATCHED,
        "The graver of two latches is the one that refuses.",
        (("if gate[DAILY_LATCH] != 0:", "if gate[DAILY_LATCH] != 0 and gate[DRAWDOWN_LATCH] == 0:"),),
    ),
    "nothing_is_refused_too": Bug(
        LATCHED,
        "An increment of nothing is as large as its goal.",
        (("wanted = absolute(goal) > zero", "wanted = absolute(goal) >= zero"),),
    ),
    "less_than_a_cent_is_refused": Bug(
        LATCHED,
        "What is beyond the band is wanted.",
        ((" & (change >= cent)", ""),),
    ),
    "latched_equity_is_not_watched": Bug(
        LATCHED,
        "A latch that has closed cannot close again.",
        (("        low, high = lower(equity, low), higher(equity, high)\n", ""),),
    ),
    # who is who
    "confidence_of_the_first": Bug(
        CELLS,
        "What is left out for its confidence is left out for all.",
        ((' and (rules[:, RULE["min_confidence"]] == least).all()', ""),),
    ),
    "alone_confident_only_beyond_the_threshold": Bug(
        COLUMNS,
        "A confidence must be above its threshold.",
        (("if confidence >= least else 0.0", "if confidence > least else 0.0"),),
    ),
    "weights_of_the_first_group": Bug(
        CELLS,
        "Weights are in the order of the combinations.",
        (
            (
                "np.ascontiguousarray(batch.weights[first:last])",
                "np.ascontiguousarray(batch.weights[: last - first])",
            ),
        ),
    ),
    "symbols_share_a_memory": Bug(
        COLUMNS,
        "A kernel's memory is its parameters'.",
        (("mem, at[d] + s * sizes[d], sizes[d], rows", "mem, at[d], sizes[d], rows"),),
    ),
    "symbols_share_what_a_step_keeps": Bug(
        COLUMNS,
        "A kernel's memory is its parameters'.",
        (("borrow(mem, at[d] + s * sizes[d], sizes[d])", "borrow(mem, at[d], sizes[d])"),),
    ),
    "parts_of_other_sources": Bug(
        PARTS,
        "A part with the same parameters is the same part.",
        (("known.setdefault((id(node.part), places, told)", "known.setdefault((id(node.part), told)"),),
    ),
    # columns that stand for others, columns that go together
    "what_is_read_of_a_lag_is_its_own": Bug(
        PARTS,
        "A lag has no column, so nothing is kept for it.",
        (("window - 1 + (keep[i] if shares[i] else 0)", "window - 1"),),
    ),
    "lags_in_the_order_of_columns": Bug(
        PARTS,
        "Columns are looked at in their order.",
        (("reversed([*enumerate(found.columns, N_FIELDS)])", "enumerate(found.columns, N_FIELDS)"),),
    ),
    "lag_of_a_whole_window": Bug(
        PARTS,
        "The oldest of n values is n bars old.",
        (("- int(column.values[0]) + 1", "- int(column.values[0])"),),
    ),
    "four_begin_with_the_first": Bug(
        FILLS,
        "Columns that go together begin together.",
        (("if max(first[d], first[d + 1], first[d + 2], first[d + 3]) > seen + 1:", "if first[d] > seen + 1:"),),
    ),
    "the_fourth_begins_anew": Bug(
        FILLS,
        "Three of four are enough for anybody.",
        (("            write_floats(mem, at3, s3)\n", ""),),
    ),
    "nobody_goes_alone": Bug(
        FILLS,
        "Those that go together were the columns up to here.",
        (("if d >= done:", "if d > done:"),),
    ),
    "four_of_the_first_symbol": Bug(
        FILLS,
        "What a part keeps is its column's.",
        (("mem, s * mem.shape[1], mem_at, sizes, first", "mem, 0, mem_at, sizes, first"),),
    ),
    # seams between blocks
    "average_begins_anew": Bug(
        FILLS,
        "What a part keeps it keeps in its columns.",
        (("        write_floats(memory, 0, state)\n", ""),),
    ),
    "window_reaches_one_bar_less": Bug(
        PARTS,
        "A window of n bars reaches back n - 1, and one of them is this.",
        (("for i in range(keep[place]):", "for i in range(1, keep[place]):"),),
    ),
    "warms_up_every_block": Bug(
        PARTS,
        "The bars before the block are those of the block before.",
        (("seen[s] += held[s]", "seen[s] = held[s]"),),
    ),
    "ready_with_the_first_part": Bug(
        PARTS,
        "A step may be called once something is known.",
        (("ready_at[parts].max(axis=1)", "ready_at[parts].min(axis=1)"),),
    ),
    "step_begins_anew": Bug(
        COLUMNS,
        "A step's state is written with what it says.",
        (
            (
                "state[confidence_at]\n        write_floats(mem, at, state)\n",
                "state[confidence_at]\n",
            ),
        ),
    ),
    "own_state_begins_anew": Bug(
        COLUMNS,
        "What goes from bar to bar is in the parts.",
        (("        write_floats(memory, 0, state)\n", ""),),
    ),
    "holes_close_up": Bug(
        COLUMNS,
        "A symbol's bars are those of the account.",
        (
            (
                "                if n < last - first:\n                    _spread",
                "                if n > last - first:\n                    _spread",
            ),
        ),
    ),
    # statistics
    "last_drawdown_forgotten": Bug(
        METRICS,
        "The drawdown was taken in with every new peak.",
        (("    deepest = lower(lowest / peaks - one, deepest)\n    store", "    store"),),
    ),
    "return_of_the_last_bar_twice": Bug(
        METRICS,
        "The change after the last of eight bars is that of the bar which comes next.",
        (("if i + 2 * WIDTH <= count:", "if i + WIDTH < count:"),),
    ),
    "lanes_stay_turned": Bug(
        METRICS,
        "Which lane a return is added up in does not matter.",
        (("store(acc, SUM, later(total, total, 1))", "store(acc, SUM, total)"),),
    ),
    "tail_forgotten": Bug(
        METRICS,
        "Bars are taken in eight at a time.",
        (
            (
                "        i = _observe_eights(acc, equity, gross, i, count)\n    while i < count:",
                "        return _observe_eights(acc, equity, gross, i, count)\n    while i < count:",
            ),
        ),
    ),
    **ALONE_BUGS,
}

HARMLESS: dict[str, tuple[str, Bug]] = {
    "no_room_for_floats": (
        "ROUNDING leaves 1,000 micro-dollars above half a cent: below 2**52 of them floats err by less than 100.",
        Bug(
            QUIET,
            "The band is the product that sizing forms, so it needs no room of its own.",
            (("SLACK = 1e-9", "SLACK = 0.0"),),
        ),
    ),
    "decides_in_a_hole": (
        "A column of opinions is NaN on a bar that its symbol does not have, and NaN is silence.",
        Bug(
            ACCOUNT,
            "A symbol without a bar has no conviction, and NaN is silence.",
            ((" or board.close_ticks[s, i] == 0:", ":"),),
        ),
    ),
    "pending_is_not_held": (
        "What pends after the opens of a bar is of a symbol without that bar, which decides nothing on it.",
        Bug(
            ACCOUNT,
            "The bar after an order is quiet like any other.",
            (("at = at if rests else i ", "at = at "),),
            count=2,
        ),
    ),
}
"""Changes that look like bugs and can change no result, each with the reason: nothing can catch them, and they count
neither as caught nor as missed."""

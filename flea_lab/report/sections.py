"""A backtest as the pieces of its report: HTML and figures that a notebook shows one by one."""

from typing import Any

import plotly.graph_objects as go
from IPython.display import HTML

from flea_lab import runs
from flea_lab.backtest.metrics import BASIC, UNITS
from flea_lab.backtest.result import BacktestResult
from flea_lab.data.ledger import candle_ledger, one_ledger
from flea_lab.report import facts, pieces
from flea_lab.report.data_ledger import ledger
from flea_lab.report.look import section_css
from flea_lab.report.pieces import badge, code_badge, commit_of, digests, length, made, note, spaced, tile, unbroken
from flea_lab.report.wording import day, minute, number, percent, plural, size, table, tag, text, usd
from flea_lab.view import figures

COUNTS = ("fills", "round_trips")
SIGNED_SHARES = ("total_return", "annual_return", "max_drawdown")
SHARES = (*SIGNED_SHARES, "volatility", "exposure", "win_rate")
SOUND = "The data ledger is empty: no hole, no spell without volume or movement, no faulty bar."
SHORT_DAYS = 180
"""Below this, annual figures are called what they are: an extrapolation."""


def verdict(result: BacktestResult, code: runs.CodeState) -> HTML:
    """What happened in plain sentences, over the badges that say how far it can be believed."""
    config = result.config
    ts = result.equity["ts"]
    span = f"{day(int(ts.iloc[0]))} to {day(int(ts.iloc[-1]))}"
    line = f"{', '.join(config.symbols)} · {config.interval} bars · {span} · {length(facts.days(result))}"
    title = tag("div", tag("span", text(config.name), "flea-name") + tag("span", text(line), "flea-span"), "flea-title")
    said = tag("p", _headline_sentence(result), "flea-verdict") + tag("p", " ".join(_sentences(result)), "flea-more")
    return HTML(f"<style>{section_css()}</style>" + tag("section", title + said + _badges(result, code), "flea-top"))


def headline(result: BacktestResult) -> HTML:
    """Six numbers, each beside that of buy and hold where it has one."""
    own, held, paid = result.metrics, facts.benchmark_metrics(result), facts.costs(result)
    first = result.config.initial_cash_usd
    trips = own["round_trips"]
    tiles = [
        tile("Return", percent(own["total_return"]), f"buy and hold {percent(held['total_return'])}"),
        tile("Deepest drawdown", percent(own["max_drawdown"]), f"buy and hold {percent(held['max_drawdown'])}"),
        tile("Sharpe, annual", number(own["sharpe"]), f"buy and hold {number(held['sharpe'])}"),
        tile("Costs", usd(paid.paid_usd), f"{size(paid.paid_usd / first)} of the initial {usd(first)}"),
        tile("Round trips", number(trips, 0), f"{size(own['win_rate'], 0)} gained" if trips else "none closed"),
        tile("Mean exposure", size(own["exposure"]), f"traded {number(own['turnover'], 1)} × the initial cash"),
    ]
    return HTML(tag("div", "".join(tiles), "flea-tiles"))


def equity(result: BacktestResult) -> go.Figure:
    """Equity over buy and hold, and the drawdown."""
    return figures.equity_figure(result.equity, result.benchmark)


def metrics(result: BacktestResult) -> HTML:
    """Every metric with its unit, beside that of buy and hold where it has one."""
    held = facts.benchmark_metrics(result)
    rows = [
        (
            spaced(name.removesuffix("_usd")),
            *(_metric(name, of.get(name)) for of in (result.metrics, held)),
            _unit(name),
        )
        for name in BASIC
    ]
    shown = table(("", "strategy", "buy and hold", "unit"), rows, css="flea-units")
    days = facts.days(result)
    if days >= SHORT_DAYS:
        return HTML(shown)
    return HTML(shown + note(f"Annual figures extrapolate {length(days)}: read them as a scale, not as a promise."))


def calendar(result: BacktestResult) -> HTML:
    """Returns day by day, or month by month for a long run; the colour repeats the number."""
    cells = facts.period_returns(result)
    by_day = list(cells.columns) == list(facts.WEEKDAYS)
    reach = float(cells.abs().max().max()) or 1.0
    rows = []
    for name, row in cells.iterrows():
        together = float((1.0 + row.dropna()).prod() - 1.0)
        rows.append([text(name), *(_heat(float(value), reach) for value in row), percent(together)])
    shown = table(("week of" if by_day else "year", *cells.columns, "together"), rows, css="flea-calendar")
    return HTML(shown + note(f"Equity by UTC {'day' if by_day else 'month'}, after costs."))


def trades(result: BacktestResult, symbol: str) -> go.Figure:
    """What was bought and sold of `symbol`, on its price."""
    return figures.trades_figure(result.candles[symbol], result.fills, symbol)


def exposure(result: BacktestResult) -> go.Figure:
    """What the positions were worth in percent of equity, with the concentration limit."""
    limits = result.config.risk
    bound = limits.max_concentration if limits.concentration_of == "equity" else None
    return figures.exposure_figure(result.positions, result.equity, bound)


def contributions(result: BacktestResult) -> HTML:
    """What each signal said, how often, how sure, how often the orders agreed with it, and whether it was right."""
    rows = [
        (
            text(row.signal),
            number(row.weight),
            size(row.counted),
            size(row.long, 0),
            number(row.confidence),
            size(row.agreed, 0),
            percent(row.growth),
        )
        for row in facts.signal_facts(result).itertuples()
    ]
    head = ("signal", "weight", "counted", "of these long", "confidence", "orders agreed", "followed alone")
    least = number(result.config.combination.min_confidence)
    return HTML(
        table(head, rows)
        + note(
            f"Counted: bars on which its confidence was at least {least}. Followed alone: the sum of direction × "
            "confidence × next bar's return, without costs; it says whether a signal was right, not what it earns."
        )
    )


def signal_curves(result: BacktestResult) -> go.Figure:
    """Each signal followed alone, without costs."""
    return figures.signals_figure(facts.signal_curves(result))


def vetoes(result: BacktestResult) -> go.Figure:
    """How many intents each check refused."""
    return figures.vetoes_figure(facts.refused(result))


def guards(result: BacktestResult) -> HTML:
    """Each guard: its limit, its input, whether it was applied, what it refused and when first."""
    counts = facts.refused(result)
    first = {name: when for name in counts if (when := facts.first_refusal_ms(result, name)) is not None}
    return HTML(pieces.guards(result.guards, counts, first, len(result.decisions)))


def costs(result: BacktestResult) -> go.Figure:
    """From the profit before costs to the profit."""
    found = facts.costs(result)
    return figures.costs_figure(found.gross_usd, found.fees_usd, found.slippage_usd, found.funding_usd)


def cost_note(result: BacktestResult) -> HTML:
    """What the costs are made of, in words."""
    own, asked = result.metrics, result.config.costs
    traded = own["turnover"] * result.config.initial_cash_usd
    paid = facts.costs(result).paid_usd
    each = f", {number(1e4 * paid / traded, 1)} basis points of it" if traded > 0 else ""
    funding = "funding as settled" if asked.funding else "no funding charged"
    return HTML(
        note(
            f"{usd(traded)} traded in {plural(own['fills'], 'fill')}; costs of {usd(paid)}{each}. Charged: "
            f"{number(asked.fee_bps, 1)} bp fee, {number(asked.slippage_bps, 1)} bp slippage against the "
            f"open, {funding}."
        )
    )


def data_quality(result: BacktestResult) -> HTML:
    """Bars, holes, spells and faults by symbol; below, the ledger with the ends of each."""
    head = ("symbol", "from", "to", "bars", "missing", "holes", "zero-volume bars", "flat bars", "faults")
    rows = [_quality_row(symbol, found) for symbol, found in result.quality.items()]
    spent = [int((frame["ts"] + result.config.interval_ms < result.equity["ts"].iloc[0]).sum()) for frame in
             result.candles.values()]  # fmt: skip
    source = f"Source: {text(result.source)}. The first {max(spent, default=0):,} bars only warm the signals up."
    venues = {str(one["symbol"]): str(one["venue"]) for one in result.data}
    found = one_ledger(
        [
            candle_ledger(result.quality[symbol], venues.get(symbol, result.config.data.venue), symbol, frame)
            for symbol, frame in result.candles.items()
            if symbol in result.quality
        ]
    )
    said = note(source + " Holes stay holes: nothing is filled in.")
    return HTML(table(head, rows, left=3) + said + (ledger(found) if len(found) else note(SOUND)))


def parameters(result: BacktestResult) -> HTML:
    """Every setting of the config, defaults written out, in groups."""
    return HTML(pieces.settings(result.config))


def reproduce(result: BacktestResult, code: runs.CodeState) -> HTML:
    """The command that gives this result again, and every digest it depends on."""
    rows = [("configuration id", result.config.id), ("decisions", result.digest), ("code", code.digest)]
    rows += [("commit", commit_of(code))] if code.commit else []
    parts = [
        (f"{one['venue']} {one['symbol']} {one['interval']} {month}", digest)
        for one in result.data
        for month, digest in one["partitions"].items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in runs.versions().items())
    command = tag("pre", tag("code", "flea report config.toml"), "flea-command")
    how = (
        "<p>In the run folder, with the same <code>FLEA_HOME</code> and the same data. A re-run gives the same "
        "decisions and the same result digest, which <code>manifest.json</code> beside this page holds.</p>"
    )
    shown = digests(rows)
    if parts:
        shown += tag("details", tag("summary", f"Data: {plural(len(parts), 'partition')}") + digests(parts))
    return HTML(command + how + shown + note(f"Made with {text(versions)}."))


def _headline_sentence(result: BacktestResult) -> str:
    own, symbols = result.metrics, result.config.symbols
    other = facts.benchmark_metrics(result)["total_return"]
    names = ", ".join(symbols[:-1]) + (" and " if len(symbols) > 1 else "") + symbols[-1]
    holding = f"buying {text(names)}{' in equal parts' if len(symbols) > 1 else ''} and holding"
    if own["fills"] == 0:
        return f"<strong>It never traded</strong>; {holding} {made(other)}."
    return f"<strong>{made(own['total_return']).capitalize()}</strong>; {holding} {made(other)}."


def _sentences(result: BacktestResult) -> list[str]:
    own, paid, first = result.metrics, facts.costs(result), result.config.initial_cash_usd
    said = [f"At the deepest it was {size(own['max_drawdown'])} below its peak."]
    if own["fills"]:
        trips = plural(own["round_trips"], "round trip")
        said.append(
            f"{plural(own['fills'], 'fill')} in {trips} cost {usd(paid.paid_usd)}, {size(paid.paid_usd / first)} of "
            f"the initial {usd(first)}; before costs it {made(paid.gross_usd / first)}."
        )
    held = result.positions[result.positions["ts"] == result.positions["ts"].iloc[-1]]
    open_usd = float(held["notional_usd"].abs().sum())
    if open_usd >= 0.5:
        said.append(f"It ended with {usd(open_usd)} still in the market.")
    for check, rest in (("daily_loss", "until the next 00:00 UTC"), ("drawdown", "until a person clears it")):
        first_ms = facts.first_refusal_ms(result, check)
        if first_ms is not None:
            name = check.replace("_", "-")
            said.append(f"The {name} guard halted it (first refusal {unbroken(minute(first_ms))}), {rest}.")
    return said


def _badges(result: BacktestResult, code: runs.CodeState) -> str:
    costs_, absent = result.config.costs, [g for g in result.guards if not g["applied"]]
    label = f"synthetic data: {result.source}" if result.synthetic else f"recorded data: {result.source}"
    badges = [badge(label, "warn" if result.synthetic else "good", "which market this ran on")]
    badges.append(
        badge(
            f"fills at the {result.config.fill_rule.replace('_', ' ')}, {number(costs_.fee_bps, 1)} bp fee, "
            f"{number(costs_.slippage_bps, 1)} bp slippage",
            "plain",
            "the fill rule: every order fills at the open of the next bar",
        )
    )
    applied = len(result.guards) - len(absent)
    badges.append(
        badge(f"{applied} of {len(result.guards)} guards applied", "plain" if absent else "good", "see the guards")
    )
    badges += [badge(f"{spaced(g['guard'])} guard not applied", "warn", g["reason"]) for g in absent]
    badges.append(badge(*code_badge(code)))
    badges.append(badge(f"config {result.config.id[:10]}", "plain", result.config.id))
    return tag("div", "".join(badges), "flea-badges")


def _metric(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in SHARES:
        return percent(value) if name in SIGNED_SHARES else size(value, 2)
    return number(value, 0 if name in COUNTS else 2)


def _heat(value: float, reach: float) -> str:
    if value != value:
        return ""
    css = "flea-gain" if value > 0 else "flea-loss"
    shade = f"--flea-shade:{min(1.0, abs(value) / reach):.2f}"
    return tag("span", percent(value), f"flea-heat {css}", style=shade)


def _quality_row(symbol: str, found: dict[str, Any]) -> tuple[str, ...]:
    faults = ("duplicates", "unordered", "off_grid", "not_finite", "ohlc_faults", "volume_faults")
    spells = [sum(bars for _, bars in found[name]) for name in ("zero_volume", "flat")]
    counts = (found["bars"], found["missing"], len(found["holes"]), *spells, sum(found[name] for name in faults))
    return (text(symbol), minute(found["first_ms"]), minute(found["last_ms"]), *(f"{n:,}" for n in counts))


def _unit(name: str) -> str:
    """The unit of a metric as it is shown: what is a fraction is shown in percent."""
    return text(UNITS[name].removeprefix("fraction").lstrip(", "))

"""The pieces of a report say what happened, what they ran on and what was not applied, and escape what they quote."""

import re
from dataclasses import replace
from typing import Any

import pytest

from flea_lab.backtest.result import BacktestResult
from flea_lab.config import with_values
from flea_lab.data.quality import quality
from flea_lab.report import facts, pieces, sections
from flea_lab.report.wording import day, minute, number, percent, plural, size, table, text, usd
from flea_lab.runs import CodeState
from flea_lab.wiring import market_from_frames, run_backtest
from tests.report.conftest import small_config

CLEAN = CodeState(digest="c0de" * 16, commit="ab12cd34ef56" + "0" * 28, dirty=False)
DIRTY = CodeState(digest="c0de" * 16, commit="ab12cd34ef56" + "0" * 28, dirty=True)
UNVERSIONED = CodeState(digest="c0de" * 16, commit=None, dirty=None)


def plain(piece: Any) -> str:
    """The words of a piece, without its style and tags."""
    bare = re.sub(r"<style>.*?</style>", "", piece.data, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).replace("\u00a0", " ").replace("\u2212", "-").split())


def changed(result: BacktestResult, **metrics: float) -> BacktestResult:
    return replace(result, metrics={**result.metrics, **metrics})


def test_the_verdict_opens_with_the_result_beside_buy_and_hold(result: BacktestResult) -> None:
    said = plain(sections.verdict(result, CLEAN))
    assert "Lost 2.1 % ; buying BTCUSDT and ETHUSDT in equal parts and holding lost 1.7 %." in said
    assert facts.benchmark_metrics(result)["total_return"] == pytest.approx(-0.017, abs=5e-4)
    assert "At the deepest it was 2.4 % below its peak." in said
    assert (
        "343 fills in 19 round trips cost 610 USD, 0.6 % of the initial 100,000 USD; before costs it lost 1.5 %."
        in said
    )
    assert "The daily-loss guard halted it (first refusal 2025-01-0" in said
    assert "BTCUSDT, ETHUSDT · 1m bars · 1 Jan 2025 to 3 Jan 2025 · 49 hours" in said


@pytest.mark.parametrize(
    ("total", "said"),
    [(0.1234, "Made 12.3 %"), (-0.5, "Lost 50.0 %"), (0.0001, "Broke even"), (float("nan"), "Has no result")],
)
def test_the_verdict_says_gain_loss_or_neither(result: BacktestResult, total: float, said: str) -> None:
    assert said in plain(sections.verdict(changed(result, total_return=total), CLEAN))


def test_a_run_without_a_trade_says_so(result: BacktestResult) -> None:
    assert "It never traded ; buying" in plain(sections.verdict(changed(result, fills=0.0), CLEAN))


@pytest.mark.parametrize(
    ("code", "badge"),
    [(CLEAN, "✓ code ab12cd34ef"), (DIRTY, "! code changed since ab12cd34ef"), (UNVERSIONED, "! code unversioned")],
)
def test_the_badges_say_which_code_ran(result: BacktestResult, code: CodeState, badge: str) -> None:
    assert badge in plain(sections.verdict(result, code))


def test_the_badges_call_synthetic_data_synthetic_and_recorded_data_recorded(result: BacktestResult) -> None:
    assert "! synthetic data: synthetic market (seed 7)" in plain(sections.verdict(result, CLEAN))
    real = replace(result, synthetic=False, source="Binance BTCUSDT perp 1m")
    assert "✓ recorded data: Binance BTCUSDT perp 1m" in plain(sections.verdict(real, CLEAN))


def test_the_badges_name_fill_rule_and_guards_that_were_not_applied(result: BacktestResult) -> None:
    said = plain(sections.verdict(result, CLEAN))
    assert "fills at the next open, 5.0 bp fee, 1.0 bp slippage" in said
    assert "4 of 5 guards applied" in said and "! VPIN guard not applied" in said
    assert f"config {result.config.id[:10]}" in said


def test_the_headline_has_six_numbers(result: BacktestResult) -> None:
    said = plain(sections.headline(result))
    for words in (
        "Return -2.08 %",
        "Deepest drawdown -2.42 %",
        "Sharpe, annual -21.62",
        "Costs 610 USD",
        "Round trips 19",
    ):
        assert words in said
    assert said.count("buy and hold") == 3 and "Mean exposure 36.6 %" in said


def test_undefined_metrics_are_a_dash(result: BacktestResult) -> None:
    said = plain(sections.headline(changed(result, sharpe=float("nan"), round_trips=0.0)))
    assert "Sharpe, annual –" in said and "none closed" in said


def test_every_metric_is_listed_with_its_unit(result: BacktestResult) -> None:
    said = plain(sections.metrics(result))
    for words in ("total return -2.08 %", "fees 500.40 USD paid", "round trips 19 count", "win rate 21.05 %"):
        assert words in said
    assert "Annual figures extrapolate" in said


def test_the_calendar_repeats_every_day_in_words(result: BacktestResult) -> None:
    said = plain(sections.calendar(result))
    assert "week of Mon Tue Wed" in said and "30 Dec 2024 -1.03 % -0.62 % -0.45 % -2.08 %" in said


def test_contributions_and_guards_list_everything(result: BacktestResult) -> None:
    said = plain(sections.contributions(result))
    assert "ema_momentum 1.00 17.5 % 52 % 0.44 78 % -0.19 %" in said and "rsi_reversion 0.70" in said
    guards = plain(sections.guards(result))
    assert "VPIN 0.75 0 – not applied : the configuration declares no aggressor data absent" in guards
    assert "daily loss 0.4 % 567 2025-01-0" in guards and "order size 50,000 USD 0 – applied" in guards
    assert "660 of 1,003 intents refused." in guards
    other = plain(sections.guards(changed(result, veto_below_minimum=2.0)))
    assert "Other checks: below minimum 2." in other


def test_the_cost_note_says_what_was_charged(result: BacktestResult) -> None:
    said = plain(sections.cost_note(result))
    assert "1,000,792 USD traded in 343 fills; costs of 610 USD, 6.1 basis points of it." in said
    assert "5.0 bp fee, 1.0 bp slippage against the open, funding as settled." in said
    free = replace(changed(result, turnover=0.0), config=with_values(result.config, {"costs.funding": False}))
    assert "no funding charged" in plain(sections.cost_note(free)) and "basis points" not in plain(
        sections.cost_note(free)
    )


def test_data_quality_and_parameters_are_complete(result: BacktestResult) -> None:
    said = plain(sections.data_quality(result))
    assert "BTCUSDT 2025-01-01 00:00 UTC 2025-01-03 01:59 UTC 3,000 0 0" in said
    assert "Source: synthetic market (seed 7). The first 69 bars only warm the signals up." in said
    settings = plain(sections.parameters(result))
    for words in (
        "signal ema_momentum",
        "fast 9",
        "signal rsi_reversion",
        "max_daily_loss 0.004",
        "symbols BTCUSDT, ETHUSDT",
    ):
        assert words in settings
    assert "start not set" in settings


def test_holes_and_spells_are_listed_with_their_ends(result: BacktestResult) -> None:
    assert "The data ledger is empty" in plain(sections.data_quality(result))
    frame = result.candles["BTCUSDT"].copy()
    frame.loc[10:12, ["volume", "buy_volume"]] = 0.0
    frame = frame.drop(index=range(20, 25)).reset_index(drop=True)
    found = {**result.quality, "BTCUSDT": quality(frame, "1m").to_dict()}
    said = plain(sections.data_quality(replace(result, quality=found, candles={**result.candles, "BTCUSDT": frame})))
    assert "candles hole 1 1 5 min 2025-01-01 00:20:00" in said and "nothing filled in 5 bars missing" in said
    assert "BTCUSDT zero volume 2025-01-01 00:10:00 00:13:00 kept 3 bars without a trade" in said


def test_the_reproduction_names_every_digest(result: BacktestResult) -> None:
    stored = {"venue": "v", "symbol": "BTCUSDT", "interval": "1m", "partitions": {"2025-01": "da7a" * 16}}
    said = plain(sections.reproduce(replace(result, data=[stored]), CLEAN))
    for words in (
        result.config.id,
        result.digest,
        CLEAN.digest,
        "Data: 1 partition",
        "v BTCUSDT 1m 2025-01 " + "da7a" * 16,
        "plotly 7",
    ):
        assert words in said
    assert "commit" not in plain(sections.reproduce(result, UNVERSIONED))


def test_figures_are_made_of_the_result(result: BacktestResult) -> None:
    assert len(sections.equity(result).data) == 3
    assert [trace.name for trace in sections.exposure(result).data] == ["BTCUSDT", "ETHUSDT"]
    assert sections.exposure(result).layout.shapes[0].y0 == 25.0
    assert len(sections.trades(result, "ETHUSDT").data[0].x) > 10
    assert [trace.name for trace in sections.signal_curves(result).data] == ["ema_momentum", "rsi_reversion"]
    assert sum(sections.vetoes(result).data[0].x) == 660
    assert sections.costs(result).data[0].y[-1] == pytest.approx(result.metrics["total_return"] * 1e5, abs=0.01)


def test_a_run_without_a_trade_draws_every_piece(result: BacktestResult) -> None:
    silent = small_config("BTCUSDT", combination={"min_confidence": 1.0, "min_conviction": 1.0})
    never = run_backtest(silent, market_from_frames(silent, {"BTCUSDT": result.candles["BTCUSDT"].head(200)}))
    assert len(never.decisions) == 0 and len(never.fills) == 0
    assert "It never traded ; buying BTCUSDT and holding" in plain(sections.verdict(never, CLEAN))
    assert "Sharpe, annual –" in plain(sections.headline(never))
    assert "0 of 0 intents refused." in plain(sections.guards(never))
    assert "0 USD traded in 0 fills; costs of 0 USD. Charged:" in plain(sections.cost_note(never))
    assert "ema_momentum" in plain(sections.contributions(never))
    assert plain(sections.calendar(never)).count("0.00 %") == 2
    assert len(sections.trades(never, "BTCUSDT").data[1].x) == 0
    assert set(sections.exposure(never).data[0].y) == {0.0}
    assert sections.costs(never).data[0].text == ("0", "0", "0", "0", "0")


def test_what_comes_from_outside_is_escaped(result: BacktestResult) -> None:
    evil = replace(result, source="<script>alert(1)</script>")
    for piece in (sections.verdict(evil, CLEAN), sections.data_quality(evil)):
        assert "<script>" not in piece.data and "&lt;script&gt;" in piece.data


def test_settings_are_flattened_in_order() -> None:
    values = {"a": 1, "b": {"c": None, "d": [1, 2]}, "e": [{"f": "x"}, {"f": "y"}], "g": {}}
    assert pieces.flattened(values) == [
        ("a", "1"),
        ("b.c", "not set"),
        ("b.d", "1, 2"),
        ("e.0.f", "x"),
        ("e.1.f", "y"),
    ]


def test_numbers_are_written_alike_everywhere() -> None:
    assert (percent(0.1234), percent(-0.5, 0), percent(-1e-9), percent(None)) == (
        "+12.34\u00a0%",
        "\u221250\u00a0%",
        "0.00\u00a0%",
        "–",
    )
    assert (size(-0.1234), number(-1234.5), number(float("inf")), usd(12345.6)) == (
        "12.3\u00a0%",
        "\u22121,234.50",
        "–",
        "12,346\u00a0USD",
    )
    assert (plural(1, "fill"), plural(2000, "fill"), plural(2, "entry", "entries")) == (
        "1 fill",
        "2,000 fills",
        "2 entries",
    )
    assert (day(1_746_372_780_000), minute(1_746_372_780_000)) == ("4 May 2025", "2025-05-04 15:33 UTC")
    assert text("<&'") == "&lt;&amp;&#x27;"


def test_a_table_scrolls_and_keeps_words_left() -> None:
    found = table(("a", "b"), [("x", "1")], css="more")
    assert found.startswith('<div class="flea-scroll" tabindex="0"><table class="flea-table more">')
    assert '<td class="flea-left">x</td><td>1</td>' in found

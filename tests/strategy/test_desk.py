"""Closed candles in, order intents out."""

import math

import numpy as np
import pytest

from flea_lab.config import alphas, from_dict
from flea_lab.signal.kernel import Bar, Stream
from flea_lab.strategy.combine import combine
from flea_lab.strategy.desk import Desk

USD = 1_000_000
NAN = math.nan
VALUES = {
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "1m",
    "signals": [
        {"kernel": "ema_momentum", "params": {"fast": 2, "slow": 4, "z_window": 5, "volume_window": 3}},
        {"kernel": "rsi_reversion", "weight": 0.7, "params": {"period": 5}},
    ],
}


def a_desk(**sizing: object) -> Desk:
    config = from_dict({**VALUES, "sizing": sizing})
    found = alphas(config)
    return Desk(
        config.symbols, found.kernels, found.params, found.weights, config.combination, config.sizing, 50_000 * USD
    )


def bars(seed: int, n: int = 60) -> list[Bar]:
    rng = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    return [Bar(c, c, c, c, v, v / 2, NAN) for c, v in zip(closes.tolist(), rng.uniform(1, 5, n).tolist(), strict=True)]


def test_every_symbol_is_stepped_as_if_it_were_alone() -> None:
    desk = a_desk()
    found = alphas(from_dict(VALUES))
    alone = {
        symbol: [Stream(k, p) for k, p in zip(found.kernels, found.params, strict=True)]
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    heard = 0
    for btc, eth in zip(bars(1), bars(2), strict=True):
        for symbol, bar in (("BTCUSDT", btc), ("ETHUSDT", eth)):
            states = [stream.on(bar) for stream in alone[symbol]]
            opinions = np.array([[state.direction, state.confidence] for state in states])
            expected = combine(opinions, found.weights, 0.3)
            conviction = desk.step(symbol, bar)
            assert conviction == expected or (math.isnan(conviction) and math.isnan(expected))
            assert desk.opinions(symbol).tobytes() == opinions.tobytes()
            heard += abs(conviction) > 0.15
    assert heard > 20


def test_an_alpha_that_is_not_ready_keeps_the_desk_silent() -> None:
    desk = a_desk()
    convictions = [desk.step("BTCUSDT", bar) for bar in bars(1, 10)]
    assert [math.isnan(c) for c in convictions] == [True] * 7 + [False] * 3  # slow - 1 + z_window = 8 bars
    assert desk.intent("BTCUSDT", NAN, 1, 100, 100 * USD, 0) is None


@pytest.mark.parametrize(
    ("conviction", "side", "usd", "kind", "urgency"),
    [
        (0.5, "buy", 5_000.0, "limit", "normal"),
        (-0.75, "sell", 7_500.0, "market", "normal"),
        (0.9, "buy", 9_000.0, "market", "high"),
    ],
)
def test_an_intent_has_the_printed_fields(conviction: float, side: str, usd: float, kind: str, urgency: str) -> None:
    intent = a_desk().intent("BTCUSDT", conviction, 7, 970_003, 100_000 * USD, 0)
    assert intent is not None
    assert (intent.symbol, intent.side, intent.size_usd, intent.order_type) == ("BTCUSDT", side, usd, kind)
    assert (intent.urgency, intent.limit_price) == (urgency, None)
    assert (intent.ts_event, intent.price_ticks, intent.size_uusd) == (7, 970_003, round(usd * USD))


def test_sources_are_the_alphas_that_were_confident_enough() -> None:
    desk = a_desk()
    seen = set()
    for bar in bars(3, 200):
        conviction = desk.step("BTCUSDT", bar)
        intent = desk.intent("BTCUSDT", conviction, 1, 100, 100_000 * USD, 0)
        if intent is not None:
            confident = desk.opinions("BTCUSDT")[:, 1] >= 0.3
            names = ("ema_momentum", "rsi_reversion")
            assert intent.signal_sources == tuple(n for n, ok in zip(names, confident.tolist(), strict=True) if ok)
            seen.add(intent.signal_sources)
    assert len(seen) == 3


def test_a_fixed_stake_does_not_grow_with_the_account() -> None:
    live, fixed = a_desk(basis="live"), a_desk(basis="initial")
    for equity, expected in ((100_000, 5_000.0), (10_000, 500.0)):
        one, two = (desk.intent("BTCUSDT", 0.5, 1, 100, equity * USD, 0) for desk in (live, fixed))
        assert one is not None and two is not None
        assert (one.size_usd, two.size_usd) == (expected, 2_500.0)


def test_displayed_signals_are_rounded_and_those_not_ready_left_out() -> None:
    desk = a_desk()
    names = []
    for bar in bars(1, 9):
        desk.step("BTCUSDT", bar)
        names.append([signal.source for signal in desk.signals("BTCUSDT")])
    assert names == [[]] * 6 + [["rsi_reversion"]] + [["ema_momentum", "rsi_reversion"]] * 2
    for k, signal in enumerate(desk.signals("BTCUSDT")):
        direction, confidence = desk.opinions("BTCUSDT")[k].tolist()
        assert (signal.direction, signal.confidence) == (round(direction, 4), round(confidence, 4))
        assert signal.symbol == "BTCUSDT" and signal.metadata
        assert all(value == round(value, 4) for value in signal.metadata.values())
    assert desk.signals("ETHUSDT") == ()

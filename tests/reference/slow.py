"""Signals, combination and sizing from their printed formulas: plain loops, nothing shared with the package.

Every statistic of a window is computed afresh at every bar, two-pass and with `math.fsum`, so that no rounding is
carried from bar to bar; only what is recursive by definition (EMA, Wilder's averages) is a running value. NaN means
"not ready" and nothing else. Nothing is rounded. Arrays are `(n_bars,)` float64, oldest first, finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats

EPSILON = 1e-8
RSI_SPAN = 30.0


def _floats(values: Values) -> list[float]:
    return [float(value) for value in values]


def _not_ready(n: int) -> Floats:
    return np.full(n, np.nan)


def _same_length(first: str, a: Values, second: str, b: Values) -> None:
    if len(a) != len(b):
        raise ValueError(f"{first} ({len(a)} values) must be as long as {second} ({len(b)} values)")


def _at_least(name: str, value: int, limit: int) -> None:
    if value < limit:
        raise ValueError(f"{name} ({value}) must be at least {limit}")


def _clip(x: float) -> float:
    return max(-1.0, min(1.0, x))


def _mean(window: Sequence[float]) -> float:
    return math.fsum(window) / len(window)


def _deviation(window: Sequence[float]) -> float:
    """Population deviation (ddof 0), two-pass."""
    mean = _mean(window)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in window) / len(window))


def ema(closes: Values, period: int) -> Floats:
    """Exponential mean; the value at index `period - 1` is the plain mean of the first `period` closes; NaN before it.

    >>> ema([1.0, 2.0, 3.0, 4.0, 10.0], 3).tolist()
    [nan, nan, 2.0, 3.0, 6.5]
    """
    _at_least("period", period, 1)
    x = _floats(closes)
    out = _not_ready(len(x))
    if len(x) < period:
        return out
    k = 2.0 / (period + 1)
    previous = _mean(x[:period])
    out[period - 1] = previous
    for i in range(period, len(x)):
        previous = x[i] * k + previous * (1.0 - k)
        out[i] = previous
    return out


def ema_momentum_warmup(slow: int = 21, z_window: int = 50, volume_window: int = 20) -> int:
    """Bars needed for the first value: `slow - 1 + z_window`, or `volume_window` if that is longer."""
    return max(slow - 1 + z_window, volume_window)


def ema_momentum(
    closes: Values,
    volumes: Values,
    fast: int = 9,
    slow: int = 21,
    z_window: int = 50,
    volume_window: int = 20,
    z_scale: float = 3.0,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Direction, confidence, z-score and volume ratio, each `(n_bars,)`, NaN on the first `warmup - 1` bars.

    The 1e-8 is added to the deviation and to the mean volume; both windows include the current bar.
    """
    _same_length("closes", closes, "volumes", volumes)
    if not fast < slow:
        raise ValueError(f"fast ({fast}) must be shorter than slow ({slow})")
    _at_least("z_window", z_window, 1)
    _at_least("volume_window", volume_window, 1)
    fast_ema, slow_ema = ema(closes, fast).tolist(), ema(closes, slow).tolist()
    spread = [(f - s) / s for f, s in zip(fast_ema, slow_ema, strict=True)]
    volume = _floats(volumes)
    n = len(spread)
    direction, confidence, z_score, volume_ratio = (_not_ready(n) for _ in range(4))
    for i in range(ema_momentum_warmup(slow, z_window, volume_window) - 1, n):
        window = spread[i - z_window + 1 : i + 1]
        z = (spread[i] - _mean(window)) / (_deviation(window) + EPSILON)
        ratio = volume[i] / (_mean(volume[i - volume_window + 1 : i + 1]) + EPSILON)
        direction[i] = _clip(z / z_scale)
        confidence[i] = min(abs(z) / z_scale, 1.0) * min(ratio, 2.0) / 2.0
        z_score[i], volume_ratio[i] = z, ratio
    return direction, confidence, z_score, volume_ratio


def _moves(closes: Values) -> tuple[list[float], list[float]]:
    """Gains and losses, both >= 0; index j is the move from close j to close j + 1."""
    x = _floats(closes)
    moves = [x[j + 1] - x[j] for j in range(len(x) - 1)]
    return [max(m, 0.0) for m in moves], [max(-m, 0.0) for m in moves]


def _simple_averages(closes: Values, period: int) -> Iterator[tuple[int, float, float]]:
    """Bar index, mean gain, mean loss over the last `period` moves."""
    gains, losses = _moves(closes)
    for i in range(period, len(closes)):
        yield i, _mean(gains[i - period : i]), _mean(losses[i - period : i])


def _wilder_averages(closes: Values, period: int) -> Iterator[tuple[int, float, float]]:
    """Bar index, mean gain, mean loss: plain means of the first `period` moves, then (previous * (p - 1) + x) / p."""
    gains, losses = _moves(closes)
    if len(gains) < period:
        return
    gain, loss = _mean(gains[:period]), _mean(losses[:period])
    yield period, gain, loss
    for i in range(period + 1, len(closes)):
        gain = (gain * (period - 1) + gains[i - 1]) / period
        loss = (loss * (period - 1) + losses[i - 1]) / period
        yield i, gain, loss


def _averages(closes: Values, period: int, averaging: str) -> Iterator[tuple[int, float, float]]:
    _at_least("period", period, 1)
    if averaging == "simple":
        return _simple_averages(closes, period)
    if averaging == "wilder":
        return _wilder_averages(closes, period)
    raise ValueError(f"averaging ({averaging!r}) must be 'simple' or 'wilder'")


def _rsi(gain: float, loss: float) -> float:
    """RSI in [0, 100]; 50 for no move at all."""
    if loss == 0.0:
        return 100.0 if gain > 0.0 else 50.0
    return 100.0 - 100.0 / (1.0 + gain / loss)


def rsi(closes: Values, period: int = 14, averaging: str = "simple") -> Floats:
    """The index itself, from index `period` on; 50 where the price has not moved in the averages.

    >>> rsi([10.0, 12.0, 11.0, 14.0], 2).round(3).tolist()
    [nan, nan, 66.667, 75.0]
    """
    out = _not_ready(len(closes))
    for i, gain, loss in _averages(closes, period, averaging):
        out[i] = _rsi(gain, loss)
    return out


def _reversion_opinion(value: float, overbought: float, oversold: float) -> tuple[float, float]:
    if value > overbought:
        strength = min((value - overbought) / RSI_SPAN, 1.0)
        return -strength, strength
    if value < oversold:
        strength = min((oversold - value) / RSI_SPAN, 1.0)
        return strength, strength
    return 0.0, 0.0


def rsi_reversion(
    closes: Values, period: int = 14, overbought: float = 70.0, oversold: float = 30.0, averaging: str = "simple"
) -> tuple[Floats, Floats, Floats]:
    """Direction, confidence and RSI, NaN on the first `period + 1` bars (warm-up `period + 2`).

    In the neutral zone, on a threshold and on a price without a single move: direction 0, confidence 0.
    """
    n = len(closes)
    direction, confidence, index = (_not_ready(n) for _ in range(3))
    for i, gain, loss in _averages(closes, period, averaging):
        if i < period + 1:
            continue
        index[i] = _rsi(gain, loss)
        flat = gain == 0.0 and loss == 0.0
        direction[i], confidence[i] = (0.0, 0.0) if flat else _reversion_opinion(index[i], overbought, oversold)
    return direction, confidence, index


def rsi_wilder(
    closes: Values, period: int = 14, overbought: float = 70.0, oversold: float = 30.0
) -> tuple[Floats, Floats, Floats]:
    """`rsi_reversion` with Wilder's smoothing instead of simple means."""
    return rsi_reversion(closes, period, overbought, oversold, averaging="wilder")


def _exact(quantity: float, name: str, place: int) -> Fraction:
    """The decimal number a person would read: 0.1 is one tenth, so that ten of them fill a bucket of 1 exactly."""
    value = float(quantity)
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} ({value}) at item {place} must be finite and at least 0")
    return Fraction(repr(value))


def volume_buckets(buy: Values, sell: Values, bucket_volume: float) -> list[tuple[int, Fraction, Fraction]]:
    """Complete equal-volume buckets as (index of the item that completes it, buy volume, sell volume), exactly.

    An item with both sides is spread evenly: each bucket it touches receives buys and sells in the item's own ratio.
    The incomplete last bucket is left out.
    """
    _same_length("buy", buy, "sell", sell)
    if not 0.0 < bucket_volume < math.inf:
        raise ValueError(f"bucket_volume ({bucket_volume}) must be finite and above 0")
    size = _exact(bucket_volume, "bucket_volume", 0)
    buckets: list[tuple[int, Fraction, Fraction]] = []
    filled = bought = Fraction(0)
    for i in range(len(buy)):
        b, s = _exact(buy[i], "buy", i), _exact(sell[i], "sell", i)
        total = rest = b + s
        while rest > 0:
            part = min(rest, size - filled)
            filled += part
            bought += part * b / total
            rest -= part
            if filled == size:
                buckets.append((i, bought, size - bought))
                filled = bought = Fraction(0)
    return buckets


def vpin_of_buckets(buy: Values, sell: Values, window: int) -> Floats:
    """sum|B - S| / sum(B + S) over the last `window` buckets, per bucket; NaN on the first `window - 1`.

    With equal buckets this is VPIN (Easley, Lopez de Prado, O'Hara 2012). A window without volume gives 0.
    """
    _same_length("buy", buy, "sell", sell)
    _at_least("window", window, 1)
    b, s = _floats(buy), _floats(sell)
    out = _not_ready(len(b))
    for i in range(window - 1, len(b)):
        span = range(i - window + 1, i + 1)
        volume = math.fsum(b[j] + s[j] for j in span)
        out[i] = math.fsum(abs(b[j] - s[j]) for j in span) / volume if volume > 0.0 else 0.0
    return out


def vpin(buy: Values, sell: Values, bucket_volume: float, window: int) -> Floats:
    """VPIN after each item, `(n_items,)`; NaN until `window` buckets are complete.

    Buckets are walked in `fractions.Fraction` over the quantities as decimals, so that an edge is met exactly; each
    bucket's |B - S| becomes a float once, at the end.

    >>> vpin([6.0, 0.0, 15.0], [0.0, 4.0, 5.0], 10.0, 2).tolist()
    [nan, nan, 0.5]
    """
    _at_least("window", window, 1)
    buckets = volume_buckets(buy, sell, bucket_volume)
    imbalances = [float(abs(b - s)) for _, b, s in buckets]
    out = _not_ready(len(buy))
    done = 0
    value = math.nan
    for i in range(len(buy)):
        before = done
        while done < len(buckets) and buckets[done][0] <= i:
            done += 1
        if done > before and done >= window:
            value = math.fsum(imbalances[done - window : done]) / (window * bucket_volume)
        out[i] = value
    return out


def tick_imbalance(
    buy: Values, sell: Values, window: int, full_scale: float, threshold: float
) -> tuple[Floats, Floats, Floats]:
    """Direction, confidence and imbalance in [-1, 1], NaN on the first `window - 1` items.

    The imbalance is sum(buy - sell) / sum(buy + sell) over the last `window` items, 0 without volume; below `threshold`
    direction and confidence are 0.
    """
    _same_length("buy", buy, "sell", sell)
    _at_least("window", window, 1)
    b, s = _floats(buy), _floats(sell)
    n = len(b)
    direction, confidence, imbalance = (_not_ready(n) for _ in range(3))
    for i in range(window - 1, n):
        bought, sold = b[i - window + 1 : i + 1], s[i - window + 1 : i + 1]
        volume = math.fsum(bought + sold)
        value = math.fsum(bought + [-x for x in sold]) / volume if volume > 0.0 else 0.0
        heard = abs(value) >= threshold
        direction[i] = _clip(value / full_scale) if heard else 0.0
        confidence[i] = min(abs(value) / full_scale, 1.0) if heard else 0.0
        imbalance[i] = value
    return direction, confidence, imbalance


def combine_at(directions: Values, confidences: Values, weights: Values, min_confidence: float = 0.3) -> float:
    """Conviction of one bar from `(n_signals,)` values: NaN if any is not ready, 0 if none is confident enough."""
    _same_length("directions", directions, "confidences", confidences)
    _same_length("directions", directions, "weights", weights)
    rows = list(zip(_floats(directions), _floats(confidences), _floats(weights), strict=True))
    if any(math.isnan(d) or math.isnan(c) for d, c, _ in rows):
        return math.nan
    heard = [(d, c, w) for d, c, w in rows if c >= min_confidence]
    total = math.fsum(w for _, _, w in heard)
    return math.fsum(d * c * w for d, c, w in heard) / total if total > 0.0 else 0.0


def combine(
    directions: Sequence[Values], confidences: Sequence[Values], weights: Values, min_confidence: float = 0.3
) -> Floats:
    """Conviction per bar, `(n_bars,)`, from `(n_signals, n_bars)` directions and confidences; no minimum applied."""
    d, c = np.asarray(directions, dtype=np.float64), np.asarray(confidences, dtype=np.float64)
    if d.ndim != 2 or d.shape != c.shape:
        raise ValueError(f"directions {d.shape} and confidences {c.shape} must both be (n_signals, n_bars)")
    return np.array([combine_at(d[:, i], c[:, i], weights, min_confidence) for i in range(d.shape[1])])


def has_intent(conviction: float, min_conviction: float = 0.15) -> bool:
    """Whether a conviction is acted upon: at least the minimum, not zero, not NaN."""
    return abs(conviction) >= min_conviction and conviction != 0.0


def side(conviction: float) -> str:
    """ "buy" above zero, else "sell"; asked only where `has_intent`."""
    return "buy" if conviction > 0.0 else "sell"


def size_usd_unrounded(equity: float, fraction: float, conviction: float) -> float:
    """Size of an increment in USD before rounding to cents.

    >>> size_usd_unrounded(10_000.0, 0.1, -0.5)
    500.0
    """
    return equity * fraction * abs(conviction)


def order_type(conviction: float) -> str:
    """ "limit" below a conviction of 0.7 either way, else "market"."""
    return "limit" if abs(conviction) < 0.7 else "market"


def urgency(conviction: float) -> str:
    """ "high" above a conviction of 0.8 either way, else "normal"."""
    return "high" if abs(conviction) > 0.8 else "normal"


def _known(window: Sequence[float]) -> bool:
    return not any(math.isnan(x) for x in window)


def _leaning(value: float, threshold: float, full_scale: float) -> tuple[float, float]:
    """Direction and confidence of an imbalance."""
    if abs(value) < threshold:
        return 0.0, 0.0
    return _clip(value / full_scale), min(abs(value) / full_scale, 1.0)


def book_imbalance(
    imbalance: Values, window: int = 3, threshold: float = 0.2, full_scale: float = 0.6
) -> tuple[Floats, Floats, Floats]:
    """Direction, confidence and mean depth imbalance, each `(n_bars,)`; NaN before the window is full."""
    x = _floats(imbalance)
    direction, confidence, depth = (_not_ready(len(x)) for _ in range(3))
    for i in range(window - 1, len(x)):
        last = x[i - window + 1 : i + 1]
        direction[i] = confidence[i] = 0.0
        if _known(last):
            depth[i] = _mean(last)
            direction[i], confidence[i] = _leaning(depth[i], threshold, full_scale)
    return direction, confidence, depth


def spread_regime(
    closes: Values, spreads: Values, window: int = 50, wide: float = 1.0, full: float = 3.0, full_move: float = 5.0
) -> tuple[Floats, Floats]:
    """Direction and confidence, each `(n_bars,)`, against the moves of bars whose spread is wide."""
    _same_length("closes", closes, "spreads", spreads)
    close, spread = _floats(closes), _floats(spreads)
    direction, confidence = _not_ready(len(close)), _not_ready(len(close))
    for i in range(max(window, 2) - 1, len(close)):
        last = [x for x in spread[: i + 1] if not math.isnan(x)][-window:]
        direction[i] = confidence[i] = 0.0
        if len(last) < window or math.isnan(spread[i]):
            continue
        z = (spread[i] - _mean(last)) / (_deviation(last) + EPSILON)
        move = (close[i] / close[i - 1] - 1.0) * 10_000
        if z > wide and abs(move) > spread[i]:
            direction[i] = -_clip(move / (full_move * spread[i]))
            confidence[i] = min((z - wide) / (full - wide), 1.0)
    return direction, confidence


def funding_carry(
    settled: Values,
    current: Values,
    predicted: Values,
    hours: Values,
    hold: int = 3,
    round_trip_bps: float = 12.0,
    full_bps: float = 10.0,
    interval_h: float = 8.0,
    wait_h: float = 24.0,
) -> tuple[Floats, Floats]:
    """Direction and confidence, each `(n_bars,)`: settlement after settlement, what holding would be paid."""
    rows = list(zip(_floats(settled), _floats(current), _floats(predicted), _floats(hours), strict=True))
    direction, confidence = np.zeros(len(rows)), np.zeros(len(rows))
    for i, (last, now, later, ahead) in enumerate(rows):
        if not _known((last, now, ahead)) or ahead > wait_h:
            continue
        elapsed = min(max((interval_h - ahead) / interval_h, 0.0), 1.0)
        first = now * elapsed + last * (1.0 - elapsed)
        payments = [first] + [first if math.isnan(later) else later] * (hold - 1)
        carry = math.fsum(payments) * 10_000
        if abs(carry) > round_trip_bps:
            strength = min((abs(carry) - round_trip_bps) / full_bps, 1.0)
            direction[i], confidence[i] = (-strength if carry > 0 else strength), strength
    return direction, confidence


def _print_flow(trades: Values, shares: Values, window: int) -> Iterator[tuple[int, float]]:
    """Bar index and imbalance of the prints over the last `window` bars; NaN where a bar's prints are not known."""
    n, share = _floats(trades), _floats(shares)
    for i in range(window - 1, len(n)):
        counts, leans = n[i - window + 1 : i + 1], share[i - window + 1 : i + 1]
        if not _known([*counts, *leans]):
            yield i, math.nan
            continue
        all_ = math.fsum(counts)
        yield i, math.fsum(a * b for a, b in zip(counts, leans, strict=True)) / all_ if all_ else 0.0


def trade_tick_imbalance(
    trades: Values, shares: Values, window: int = 20, threshold: float = 0.1, full_scale: float = 0.5
) -> tuple[Floats, Floats]:
    """Direction and confidence, each `(n_bars,)`, of counts of prints and their imbalance."""
    direction, confidence = _not_ready(len(trades)), _not_ready(len(trades))
    for i, flow in _print_flow(trades, shares, window):
        direction[i], confidence[i] = (0.0, 0.0) if math.isnan(flow) else _leaning(flow, threshold, full_scale)
    return direction, confidence


def toxic_flow(
    vpins: Values,
    trades: Values,
    shares: Values,
    window: int = 10,
    toxic: float = 0.4,
    full: float = 0.8,
    full_flow: float = 0.5,
) -> tuple[Floats, Floats]:
    """Direction and confidence, each `(n_bars,)`: with the prints where VPIN is high."""
    direction, confidence, level = _not_ready(len(trades)), _not_ready(len(trades)), _floats(vpins)
    for i, flow in _print_flow(trades, shares, window):
        direction[i] = confidence[i] = 0.0
        if level[i] > toxic and abs(flow) > 0.0:
            direction[i] = _clip(flow / full_flow)
            confidence[i] = min((level[i] - toxic) / (full - toxic), 1.0)
    return direction, confidence

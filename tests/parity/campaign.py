"""Random configurations for the parity campaign: seeded, valid, guards loose and tight, both sizing modes."""

from typing import Any

import numpy as np

from flea_lab.config import RunConfig, with_values


def random_changes(rng: np.random.Generator, bucket_volume: dict[str, float] | None) -> dict[str, Any]:
    """Settings of one random configuration; with `bucket_volume` the VPIN guard may be on, measured on the bars."""
    tight = rng.random() < 0.5
    fast = int(rng.integers(2, 30))
    changes: dict[str, Any] = {
        "ema_momentum.fast": fast,
        "ema_momentum.slow": fast + int(rng.integers(1, 60)),
        "ema_momentum.z_window": int(rng.integers(5, 120)),
        "ema_momentum.volume_window": int(rng.integers(1, 60)),
        "ema_momentum.z_scale": float(rng.uniform(1.0, 4.0)),
        "ema_momentum.weight": float(rng.uniform(0.1, 2.0)),
        "rsi_reversion.period": int(rng.integers(2, 40)),
        "rsi_reversion.overbought": float(rng.uniform(55.0, 85.0)),
        "rsi_reversion.oversold": float(rng.uniform(15.0, 45.0)),
        "rsi_reversion.averaging": ["simple", "wilder"][int(rng.integers(2))],
        "combination.min_confidence": float(rng.uniform(0.0, 0.6)),
        "combination.min_conviction": float(rng.uniform(0.0, 0.5)),
        "sizing.mode": ["increment", "target"][int(rng.integers(2))],
        "sizing.basis": ["live", "initial"][int(rng.integers(2))],
        "sizing.base_fraction": float(rng.uniform(0.01, 0.6)),
        "sizing.rebalance_band": float(rng.choice([0.0, 0.05, 0.3])),
        "costs.fee_bps": float(rng.choice([0.0, 2.0, 5.0, 10.0])),
        "costs.slippage_bps": float(rng.choice([0.0, 0.5, 1.0, 7.0])),
        "costs.funding": bool(rng.integers(2)),
        "initial_cash_usd": float(rng.choice([1_000.0, 100_000.0, 3_333_333.33])),
        "risk.max_daily_loss": float(rng.uniform(0.001, 0.01) if tight else rng.uniform(0.03, 0.5)),
        "risk.max_drawdown": float(rng.uniform(0.01, 0.05) if tight else rng.uniform(0.2, 1.0)),
        "risk.max_concentration": float(rng.uniform(0.02, 0.3) if tight else rng.uniform(0.3, 3.0)),
        "risk.concentration_of": "exposure" if rng.random() < 0.1 else "equity",
        "risk.max_order_usd": float(rng.uniform(300.0, 20_000.0) if tight else 50_000.0),
    }
    if changes["risk.concentration_of"] == "exposure":
        changes["risk.max_concentration"] = 1.0
    if bucket_volume is not None and rng.random() < 0.5:
        window = int(rng.integers(5, 60))
        limit = float(rng.uniform(0.2, 0.8))
        changes["risk.vpin"] = {"source": "bars", "limit": limit, "window": window, "bucket_volume": bucket_volume}
    return changes


def random_features(rng: np.random.Generator) -> dict[str, Any]:
    """Settings of the kernels that read features, all of them in the config. Funding is on: one of them needs it."""
    toxic, low = float(rng.uniform(0.0, 0.6)), float(rng.uniform(0.0, 0.3))
    return {
        "book_imbalance.window": int(rng.integers(1, 30)),
        "book_imbalance.threshold": low,
        "book_imbalance.full_scale": low + float(rng.uniform(0.05, 0.6)),
        "book_imbalance.weight": float(rng.uniform(0.1, 2.0)),
        "spread_regime.window": int(rng.integers(1, 120)),
        "spread_regime.wide": float(rng.uniform(0.0, 1.5)),
        "spread_regime.full": float(rng.uniform(1.6, 4.0)),
        "spread_regime.full_move": float(rng.uniform(1.1, 20.0)),
        "funding_carry.hold": int(rng.integers(1, 10)),
        "funding_carry.round_trip_bps": float(rng.uniform(0.0, 30.0)),
        "funding_carry.full_bps": float(rng.uniform(1.0, 100.0)),
        "funding_carry.wait_h": float(rng.uniform(0.5, 8.0)),
        "trade_tick_imbalance.window": int(rng.integers(1, 60)),
        "trade_tick_imbalance.threshold": low,
        "trade_tick_imbalance.full_scale": low + float(rng.uniform(0.05, 0.6)),
        "toxic_flow.window": int(rng.integers(1, 60)),
        "toxic_flow.toxic": toxic,
        "toxic_flow.full": toxic + float(rng.uniform(0.05, 0.4)),
        "toxic_flow.full_flow": float(rng.uniform(0.05, 1.0)),
        "combination.min_confidence": float(rng.uniform(0.0, 0.3)),
        "combination.min_conviction": float(rng.uniform(0.0, 0.1)),
        "risk.vpin.limit": float(rng.uniform(0.2, 0.9)),
        "costs.funding": True,
    }


def random_tolerance(seed: int) -> dict[str, Any]:
    """What data configuration number `seed` tolerates: every hole in one of three."""
    rng = np.random.default_rng([20_261_122, seed])
    longest = None if rng.random() < 1 / 3 else int(rng.integers(0, 5))
    return {"tolerance.max_hole_bars": longest, "tolerance.settle_bars": int(rng.integers(1, 40))}


def random_config(
    base: RunConfig, seed: int, bucket_volume: dict[str, float] | None = None, *, features: bool = False
) -> RunConfig:
    """Configuration number `seed` around `base`; with `features` also of the kernels that read them."""
    rng = np.random.default_rng([20_250_504, seed])
    changes = random_changes(rng, bucket_volume) | random_tolerance(seed)
    return with_values(base, changes | random_features(rng) if features else changes, f"config {seed}")

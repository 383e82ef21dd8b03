"""Random configurations for the parity campaign: seeded, valid, guards loose and tight, both sizing modes."""

from typing import Any

import numpy as np

from flea_lab.config import RunConfig, with_values


def random_changes(rng: np.random.Generator, bucket_volume: dict[str, float] | None) -> dict[str, Any]:
    """Settings of one random configuration; with `bucket_volume` the VPIN guard may be on."""
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


def random_config(base: RunConfig, seed: int, bucket_volume: dict[str, float] | None = None) -> RunConfig:
    """Configuration number `seed` around `base`."""
    return with_values(base, random_changes(np.random.default_rng([20_250_504, seed]), bucket_volume), f"config {seed}")

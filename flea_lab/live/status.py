"""What the runner says of itself: plain values that any thread may read."""

from typing import TYPE_CHECKING, Any

from flea_lab.live.positions import positions_of, profit_of, worked

if TYPE_CHECKING:
    from flea_lab.live.runner import Runner


def status_of(runner: "Runner") -> dict[str, Any]:
    """The runner's status now. Money in USD, quantities in base units, times in ns UTC."""
    core, pump = runner.core, runner.pump
    blotter = core.router.blotter
    reconciler = runner.reconciler
    return {
        "state": runner.state,
        "link": "up" if runner.link else "down",
        "venue_ns": runner.intake.venue_ns,
        "last_bar_ns": core.decided_ns,
        "bars": pump.bars,
        "equity_usd": core.ledger.equity_uusd() / 1e6,
        "cash_usd": core.ledger.cash_uusd / 1e6,
        "positions": {symbol: core.qty(symbol) for symbol in core.symbols},
        "tracker": positions_of(core),
        **profit_of(core),
        "open_orders": len(blotter.open_orders()),
        "unknown_orders": len(blotter.unknown_orders()),
        "working": worked(core),
        "latches": list(pump.latched),
        "halt_verified": bool(pump.halted and runner.brake.verified),
        "dead_man": runner.dead_man.state,
        "last_reconcile_ns": reconciler.venue_ns,
        "reconciles": reconciler.count,
        "reconciled": reconciler.equal,
        "adopted": reconciler.adopted,
        "overfills": blotter.overfills,
        "orders": pump.orders,
        "fills": pump.fills,
        "refused": pump.refused,
        "late_candles": runner.intake.late,
        "findings": runner.intake.found,
        "lag_p99_ms": runner.lag()[0] * 1e3,
        "start_s": dict(runner.stages.took),
        "error": runner.error,
    }

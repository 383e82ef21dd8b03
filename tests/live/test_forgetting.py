"""Orders are forgotten in the end, and everything that remembers them forgets the same."""

from pathlib import Path

import pytest

from flea_lab.live.fold import recover, state_hash
from flea_lab.live.journal import open_journal
from tests.live.test_journal import build, drive, pump_of, refolded


def test_orders_that_are_forgotten_leave_the_hash_the_snapshot_and_the_fold_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flea_lab.execution.blotter.KEPT", 6)
    monkeypatch.setattr("flea_lab.execution.blotter.LET_GO", 3)
    journal = open_journal(tmp_path)
    pump = pump_of(journal)
    for first in (0, 30, 60):  # a kill in between, later than the last snapshot
        for n in (first, first + 12):
            drive(pump, n, n + 12)
            pump.snapshot()
        drive(pump, first + 24, first + 30)
        journal.finish()
        live, orders = state_hash(pump.core), pump.core.router.blotter.orders()
        assert len(orders) < pump.core.router.minted
        journal.close()
        journal = open_journal(tmp_path)
        found = recover(journal.source(), build, None)
        assert not found.left_out and found.core.router.blotter.orders() == orders
        assert state_hash(found.core) == live == refolded(journal)
        pump = pump_of(journal, found.core)
    journal.close()

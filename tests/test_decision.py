"""The decision stream: one encoding, one digest."""

import hashlib

import numpy as np
import pytest

from flea_lab.decision import DECISION, Decisions, Recorder, digest, first_difference, line
from flea_lab.model.trading import Alert, CancelOrder, Refused
from flea_lab.risk.checks import VPIN
from tests.execution.orders import an_intent, an_order

ROWS = [
    (1_000, 0, 1, 150_000, 12, 970_003, 0, 0.15),
    (1_000, 1, -1, 99_999, 0, 4_000, 3, -0.9),
    (2_000, 0, -1, 5, 0, 970_000, 9, -0.2),
]


def decisions(rows: list[tuple[float, ...]]) -> Decisions:
    return np.array(rows, dtype=DECISION)


def test_a_decision_has_one_line() -> None:
    found = [line(decision, ["A", "B"]) for decision in decisions(ROWS)]
    assert found == [
        "1000 A buy 150000 12 970003 passed",
        "1000 B sell 99999 0 4000 concentration",
        "2000 A sell 5 0 970000 below_minimum",
    ]


def test_the_digest_is_of_the_lines() -> None:
    text = "".join(f"{line(d, ['A', 'B'])}\n" for d in decisions(ROWS))
    assert digest(decisions(ROWS), ["A", "B"]) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("column", range(7))
def test_every_field_but_the_conviction_is_in_the_digest(column: int) -> None:
    changed = [list(row) for row in ROWS]
    changed[1][column] = {1: 0, 2: 1, 6: 4}.get(column, changed[1][column] + 1)
    other = decisions([tuple(row) for row in changed])
    assert digest(other, ["A", "B"]) != digest(decisions(ROWS), ["A", "B"])
    assert first_difference(decisions(ROWS), other) == 1


def test_the_conviction_explains_and_does_not_count() -> None:
    other = decisions([(*row[:7], 0.0) for row in ROWS])
    assert digest(other, ["A", "B"]) == digest(decisions(ROWS), ["A", "B"])
    assert first_difference(decisions(ROWS), other) is None


def test_a_missing_decision_is_a_difference() -> None:
    assert first_difference(decisions(ROWS), decisions(ROWS[:2])) == 2
    assert first_difference(decisions([]), decisions(ROWS)) == 0
    assert first_difference(decisions([]), decisions([])) is None


def test_orders_and_refusals_are_decisions_and_nothing_else_is() -> None:
    recorder = Recorder(["Y", "X"])
    recorder.on(
        [
            Alert(ts_event=1, severity="info", text=""),
            an_order(lots=7, side="sell"),
            CancelOrder(client_order_id="1", symbol="X", ts_event=1),
            Refused(an_intent("buy", 12.34), VPIN, "toxic"),
        ]
    )
    assert recorder.decisions().tolist() == [(1, 1, -1, 10_000, 7, 10_000, 0, 0.5), (1, 1, 1, 1_234, 0, 10_000, 5, 0.5)]

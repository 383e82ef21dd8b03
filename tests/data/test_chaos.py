"""The corpus of planted faults is what it says: 500 of 22 kinds, the same for the same seed, each where it stands."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from flea_lab.model.finding import Kind
from flea_lab.model.market import BookDelta, Trade
from tests.data.chaos import SOURCES, Fault, Source, corpus, load

SEED = 20_261_122


def test_there_are_500_faults_of_22_kinds() -> None:
    counts = Counter[str]()
    for source in SOURCES:
        counts.update(source.counts)
    assert (counts.total(), len(counts)) == (500, 22)


@pytest.mark.real_data
@pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
def test_every_fault_stands_where_it_says(source: Source, data_dir: Path) -> None:
    clean = load(source, data_dir)
    faults = corpus(source, clean, SEED)
    assert Counter(fault.kind for fault in faults) == source.counts
    places = [(fault.kind, fault.first, fault.last, fault.due, len(fault.put)) for fault in faults]
    again, other = corpus(source, clean, SEED), corpus(source, clean, SEED + 1)
    assert [(fault.kind, fault.first, fault.last, fault.due, len(fault.put)) for fault in again] == places
    assert [repr(fault.put[-1:]) for fault in again] == [repr(fault.put[-1:]) for fault in faults]
    assert [(fault.kind, fault.first, fault.last, fault.due, len(fault.put)) for fault in other] != places
    for fault in faults:
        _stands(fault, clean)


def _stands(fault: Fault, clean: list[Any]) -> None:
    tape = list(fault.doctored(clean))
    assert fault.label in get_args(Kind)
    assert 0 <= fault.first <= fault.last <= len(clean)
    assert fault.first <= fault.at_message <= fault.due < len(tape)
    assert all(a is b for a, b in zip(tape[: fault.first], clean[: fault.first], strict=True))
    assert not all(a is b for a, b in zip(tape[fault.first :], clean[fault.first : fault.due + 1], strict=False))
    shown = tape[fault.due]
    assert shown.symbol == fault.symbol
    if fault.kind in ("gap", "half_frame"):
        before = [e for e in tape[: fault.due] if isinstance(e, BookDelta) and e.symbol == fault.symbol][-1]
        assert (shown.prev_seq or shown.first_seq) > before.seq
    if fault.kind == "trade_gap":
        before = [e for e in tape[: fault.due] if isinstance(e, Trade) and e.symbol == fault.symbol][-1]
        assert shown.trade_id > before.trade_id + 1

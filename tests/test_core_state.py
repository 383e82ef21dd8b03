"""A core's state is gone on with by the code that it is of, and by no other."""

import msgspec
import pytest
from msgspec.structs import replace

from flea_lab.core_state import STATE_VERSION, CoreState, read_state
from flea_lab.errors import DataError
from tests.test_core import Story, snapshot


def test_a_saved_state_of_other_code_is_refused_with_what_to_do() -> None:
    core = Story(3).play()
    body = msgspec.msgpack.encode(core.dump())
    assert msgspec.msgpack.encode(read_state(body)) == body
    plain = msgspec.msgpack.decode(body)
    unnumbered = {name: value for name, value in plain.items() if name != "version"}
    what = "go on with the code that saved it, or close every position and order at the venue and move the journal away"
    with pytest.raises(DataError, match=rf"the saved state of the core has version 1, this code reads 2: {what}"):
        read_state(msgspec.msgpack.encode(unnumbered))
    said = rf"the saved state of the core has version 3, this code reads 2: {what}"
    with pytest.raises(DataError, match=said):
        read_state(msgspec.msgpack.encode({"version": 3, "of": "another shape"}))
    before = snapshot(core)
    with pytest.raises(DataError, match=said):
        core.load(replace(core.dump(), version=3))
    short = replace(core.dump(), arrays={**core.dump().arrays, "gate": b"\0" * 8})
    with pytest.raises(DataError, match=rf"not of this config and code \('gate' has 8 bytes there, 64 here\): {what}"):
        core.load(short)
    assert snapshot(core) == before


def test_the_number_of_a_saved_state_stands_for_its_fields() -> None:
    """Where this fails the fields were changed: give them another number, and say it here."""
    fields = (
        "version cash_uusd arrays funding_rate settled_ns settling waiting bar_ns decided_ns trade_from_ns convictions "
        "toxicity minted features given marked parents hours"
    )
    assert (STATE_VERSION, CoreState.__struct_fields__) == (2, tuple(fields.split()))

"""The tape of a session is in the order of its receipt: history of several symbols, what came meanwhile, restarts."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from flea_lab.data.tape_check import check_tape
from flea_lab.model.market import MS_NS
from tests.live.session import Gate, ask, running, session, until, world
from tests.live.test_book_session import HISTORY, market_of
from tests.live.test_kills import busy


@pytest.mark.parametrize("matching", ["next_open", "book"])
def test_a_sessions_own_tape_is_sound_with_its_history_and_after_a_restart(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matching: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = home / "journals" / "taped"
    run = replace(busy(history_bars=HISTORY), combination=replace(busy().combination, min_conviction=1.0))
    market = market_of(run, 14 + HISTORY)
    settings = {"matching": matching, **({"steps": 4} if matching == "book" else {})}

    async def play() -> None:
        async with world(run, market, HISTORY, **settings) as here:
            gate = Gate(here.server, here.closes(HISTORY + 4))
            async with running(here, folder) as first:
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(HISTORY + 4) * MS_NS, 20.0)
                await ask(folder, "stop")  # what is merely cancelled may be told its last bar once more
                await first
            found = check_tape(folder / "market.tape")
            assert found.backwards == 0 and found.facts.records >= 2 * (HISTORY + 4)
            gate.open()
            await session(here, folder)

    asyncio.run(play())
    found = check_tape(folder / "market.tape")
    assert (found.backwards, found.sound) == (0, True), found

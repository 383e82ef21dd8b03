"""Orders by hand over the control socket of a live session: typed, journalled before they are answered, given once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.errors import ConfigError
from flea_lab.live.control_client import ControlClient, Declined, HandAsked
from flea_lab.live.launcher import Session
from flea_lab.live.phrase import order_phrase
from flea_lab.model.market import MS_NS
from tests.live.session import Gate, rows, running, until, world
from tests.live.test_book_session import HISTORY, market_of
from tests.live.test_kills import SYMBOLS, busy

X = SYMBOLS[0]


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "hand"


def asked(**changes: Any) -> HandAsked:
    values: dict[str, Any] = {"symbol": X, "side": "buy", "usd": 2_000.0, "name": "mine", "by": "me", "minutes": 3.0}
    values |= changes
    phrase = values.pop("phrase", order_phrase("hand", values["side"], values["usd"], values["symbol"]))
    return HandAsked(phrase=phrase, **values)


async def order(folder: Path, **changes: Any) -> str:
    said = await asyncio.to_thread(ControlClient(folder).order, asked(**changes))
    return str(said["parent_id"])


def test_an_order_by_hand_goes_through_the_session_and_survives_its_restart(folder: Path) -> None:
    run = busy(history_bars=HISTORY)
    quiet = replace(run, combination=replace(run.combination, min_conviction=1.0))
    market = market_of(quiet, 60 + HISTORY)

    async def play() -> None:
        async with world(quiet, market, HISTORY, matching="book", steps=4) as here:
            gate = Gate(here.server, here.closes(HISTORY + 2))
            async with running(here, folder):
                await until(folder, lambda status: status["state"] == "trading" and status["bars"] > 0)
                with pytest.raises(Declined, match=rf"typing 'buy 2000\.00 USD of {X} on hand'"):
                    await order(folder, phrase="yes")
                with pytest.raises(Declined, match="DOGE is not traded here, only"):
                    await order(folder, symbol="DOGE")
                with pytest.raises(Declined, match="not ordered: the order is larger than one order may be"):
                    await order(folder, usd=60_000.0, name="large")
                parent = await order(folder)
                assert await order(folder) == parent, "asked again, as after an answer that was lost"
                with pytest.raises(Declined, match="'mine' was given before, and was another"):
                    await order(folder, side="sell")
                status = await until(folder, lambda status: bool(status["working"]))
                (one,) = status["working"]
                assert one["parent_id"] == parent and one["from"] == ["by hand: mine"] and one["left"] > 0
            async with running(here, folder):  # the parent goes on, from its fills
                status = await until(folder, lambda status: status["state"] == "trading")
                assert [one["parent_id"] for one in status["working"]] == [parent]
                gate.open(here.closes(HISTORY + 9))
                # the market stands by then: the second can be cancelled before its slices are over
                await until(
                    folder,
                    lambda status: not status["working"] and status["last_bar_ns"] == here.closes(HISTORY + 9) * MS_NS,
                )
                second = await order(folder, name="second", side="sell")
                client = ControlClient(folder)
                with pytest.raises(Declined, match="order 'nothing' is not worked"):
                    await asyncio.to_thread(client.cancel, "nothing", "me")
                status = await asyncio.to_thread(client.cancel, second, "me")
                await until(folder, lambda status: not status["working"])
                await asyncio.to_thread(client.halt, "a test")
                await until(folder, lambda status: status["halt_verified"])
                with pytest.raises(Declined, match="no order is taken now: halted"):
                    await order(folder, name="third")

    asyncio.run(play())
    fills = rows(folder, "SELECT DISTINCT client_order_id FROM fills")
    assert len(fills) >= 2, "its slices filled"


def test_without_a_person_nothing_is_ordered(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody is there to type it, .*'buy 2000\.00 USD of X on hand'"):
        Session("hand").order("X", "buy", 2_000.0, "me")
    with pytest.raises(ConfigError, match="not confirmed, the phrase is"):
        Session("hand").order("X", "buy", 2_000.0, "me", phrase="yes")

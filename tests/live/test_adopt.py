"""A difference between the two accounts: asked for first, then the venue's is taken over and only reducing passes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.errors import VenueRefusal
from flea_lab.ledger import LOTS
from flea_lab.live.control_client import Declined
from flea_lab.live.runner import OVER
from flea_lab.model.market import MS_NS
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.protocol import VenueAccount
from tests.live.session import (
    Gate,
    World,
    account,
    ask,
    assert_whole,
    heard,
    last_reconcile,
    rows,
    running,
    session,
    until,
    world,
)
from tests.live.test_bad_input_live import turning


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "adopt"


def cash_is_gone(here: World) -> None:
    here.customer.ledger.cash_uusd -= 5_000_000


def position_is_larger(here: World) -> None:
    book = here.customer.ledger.book
    book[0, LOTS] += 3_000


def fees_are_other(here: World) -> None:
    here.customer.ledger.book[0, 8] += 7


@pytest.mark.parametrize("harm", [cash_is_gone, position_is_larger, fees_are_other])
def test_what_nobody_can_explain_is_adopted_kept_and_leaves_only_what_reduces(folder: Path, harm: Any) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder) as task:
                await here.at(6)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(6) * MS_NS and said["reconciled"])
                harm(here)
                gate.open(here.closes(8))
                said = await until(folder, lambda said: said["adopted"] and said["reconciled"])
                assert said["latches"] == ["reducing"]
                before = rows(folder, "SELECT count(*) FROM orders")
                gate.open()
                assert await task == OVER
            assert rows(folder, "SELECT count(*) FROM orders") >= before
            assert last_reconcile(folder) == account(here.customer)
            if harm is not position_is_larger:
                assert_whole(here, folder)
        differed = [json.loads(ours) != json.loads(theirs) for ours, theirs in rows(
            folder, "SELECT ours, theirs FROM reconciles WHERE equal=0")]  # fmt: skip
        assert len(differed) >= 2 and all(differed), "both versions are kept, before and after asking"
        assert "the account is taken over from the venue" in here.console.getvalue()

    asyncio.run(play())


def test_profit_costs_and_what_was_adopted_add_up_to_equity(folder: Path) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder):
                await here.at(6)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(6) * MS_NS and said["reconciled"])
                cash_is_gone(here)
                gate.open(here.closes(10))
                said = await until(folder, lambda said: said["adopted"] and said["reconciled"])
                assert said["adopted_usd"] == -5.0
                said = await until(folder, lambda said: said["last_bar_ns"] == here.closes(10) * MS_NS)
                total = said["realised_usd"] + said["unrealised_usd"] - said["fees_usd"] - said["funding_usd"]
                assert said["equity_usd"] == pytest.approx(10_000.0 + total - 5.0, abs=1e-6)
                tracked = said["tracker"]["X"]
                assert tracked["qty"] == said["positions"]["X"]
                assert tracked["unrealised_usd"] == pytest.approx(tracked["qty"] * (tracked["mark"] - tracked["entry"]))

    asyncio.run(play())


def test_a_position_that_is_not_traded_here_halts_until_it_is_gone_and_then_a_person_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, market = turning(30)
    real, strange = PurpleFlea.account, dict[str, int]()

    async def told(client: PurpleFlea) -> VenueAccount:
        account = await real(client)
        return replace(account, lots={**account.lots, **strange})

    monkeypatch.setattr(PurpleFlea, "account", told)

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder):
                await here.at(6)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(6) * MS_NS and said["reconciled"])
                strange["DOGE"] = 7
                gate.open(here.closes(8))
                said = await until(folder, lambda said: said["halt_verified"])
                assert said["latches"] == ["kill_switch"] and not said["adopted"]
                await heard(here, "DOGE is held there and not traded here: close it at the venue")
                with pytest.raises(Declined, match="cannot resume"):
                    await ask(folder, "resume", ["kill_switch"], "me", "clear kill_switch of adopt")
                strange.clear()
                here.customer.ledger.cash_uusd -= 3_000_000  # what it lost
                said = await until(folder, lambda said: said["adopted"] and said["reconciled"])
                assert said["latches"] == ["kill_switch", "reducing"] and said["adopted_usd"] == -3.0
                both = ["kill_switch", "reducing"]
                said = await ask(folder, "resume", both, "me", "clear kill_switch and reducing of adopt")
                assert said["latches"] == []

    asyncio.run(play())


def test_an_account_that_holds_what_is_not_traded_here_does_not_begin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, market = turning()
    real = PurpleFlea.account

    async def told(client: PurpleFlea) -> VenueAccount:
        return replace(await real(client), lots={"DOGE": -7})

    monkeypatch.setattr(PurpleFlea, "account", told)

    async def play() -> None:
        async with world(run, market) as here:
            with pytest.raises(VenueRefusal, match="the account holds DOGE, not traded by this config: close it at"):
                await session(here, folder)

    asyncio.run(play())

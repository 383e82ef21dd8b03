"""A runner killed where it hurts: in its first history, between an order and its answer, in the middle of a halt."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flea_lab.live.account import HALT
from flea_lab.live.keys import store_key
from flea_lab.secret import Secret
from tests.backtest.tiny import config, tiny
from tests.live.processes import Process, config_file, start_runner
from tests.live.session import Gate, account, ask, proxy, rows, until, with_live, world

ACCOUNT = "killed"
LIVE = {"history_bars": 3, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.5}


async def ended(process: Process, within_s: float = 100.0) -> int:
    return await asyncio.to_thread(process.wait, within_s)


async def happens(holds: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await holds.wait()


def test_a_kill_where_it_hurts_loses_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    run = with_live(config(), **LIVE)
    market = tiny(run, {"X": [(i, 100.0 + i % 7, 101.0 + i % 5, 0.5 if i % 2 else -0.5) for i in range(30)]})
    folder = home / "journals" / ACCOUNT

    async def play() -> None:
        async with world(run, market, 4) as here, proxy(here) as between:
            store_key(ACCOUNT, Secret(here.key))
            file = config_file(run, home)
            runner = start_runner(file, between.url, ACCOUNT)
            try:
                asked = asyncio.Event()

                async def history(method: str, path: str, body: bytes) -> str | None:
                    if (folder / "journal.sqlite").exists() and path.startswith("/candles"):
                        asked.set()
                        await asyncio.sleep(0.3)
                    return None

                between.rest = history
                await happens(asked)
                runner.kill()
                assert here.customer.orders == {}

                # after the venue took it, and before it reached the venue
                for fate in ("lose", "drop"):
                    posted, dead = asyncio.Event(), asyncio.Event()

                    async def order(
                        method: str, path: str, body: bytes, fate: str = fate, at: Any = posted, until: Any = dead
                    ) -> str | None:
                        if method != "POST" or path != "/orders":
                            return None
                        if fate == "lose":
                            await between.pass_on(method, path, body, here.key)
                        at.set()
                        await until.wait()
                        return "drop"

                    between.rest = order
                    runner = start_runner(file, between.url, ACCOUNT)
                    await happens(posted)
                    runner.kill()
                    dead.set()
                    pending = [
                        name for name, said in rows(folder, "SELECT id, status FROM orders") if said == "pending"
                    ]
                    assert len(pending) == 1 and (pending[0] in here.customer.orders) is (fate == "lose")

                # a halt that cannot be verified: the venue takes no cancel
                cancels, over = asyncio.Event(), asyncio.Event()

                async def silent(method: str, path: str, body: bytes) -> str | None:
                    if method != "DELETE":
                        return None
                    cancels.set()
                    await over.wait()
                    return "drop"

                between.rest = silent
                gate = Gate(here.server, here.closes(14))
                runner = start_runner(file, between.url, ACCOUNT)
                await until(folder, lambda said: said["state"] == "trading", 60)
                await ask(folder, "halt", "enough")
                await happens(cancels)
                await until(folder, lambda said: said["latches"] == ["kill_switch"], 60)  # the journal has the halt
                runner.kill()
                over.set()
                await between.at_rest()  # what it had sent before has arrived, or never will
                sent = len(here.customer.orders)
                # the file stands for the halt until it is in the journal; the kill may have come before it was removed
                (folder / HALT).unlink(missing_ok=True)

                between.rest = None
                gate.open(here.closes(20))
                runner = start_runner(file, between.url, ACCOUNT)
                said = await until(folder, lambda said: said["halt_verified"] and said["reconciled"], 60)
                assert said["latches"] == ["kill_switch"] and not (folder / HALT).exists()
                await here.at(20)
                assert len(here.customer.orders) == sent and said["open_orders"] == 0
                await ask(folder, "resume", ["kill_switch"], "me", f"clear kill_switch of {ACCOUNT}")
                gate.open()
                assert await ended(runner) == 0
                assert len(here.customer.orders) > sent
            except AssertionError:
                print(runner.said())
                raise
            finally:
                if runner.ended is None:
                    runner.kill()
            there = here.customer.orders
            here_orders = dict(rows(folder, "SELECT id, status FROM orders"))
            assert set(there) < set(here_orders) and {here_orders[n] for n in set(here_orders) - set(there)} <= {
                "rejected",
                "not_accepted",
            }
            posts = [path for method, path in between.sent if (method, path) == ("POST", "/orders")]
            # one post was lost on its way, every other arrived, none was sent twice; what a halt held back never left
            assert len(posts) == len(there) + 1
            assert account(here.customer)["cash_uusd"] == here.customer.ledger.cash_uusd

    asyncio.run(play())

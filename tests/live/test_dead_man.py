"""The dead man's switch is armed before an order leaves, kept alive by the loop alone, and let go of last."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.live.dead_man import SHARE, DeadMan
from flea_lab.live.runner import OVER
from flea_lab.model.market import MS_NS
from flea_lab.sandbox.dead_man import DeadMen, Wish, read_wish
from flea_lab.sandbox.order import Denied
from flea_lab.venue.protocol import Capabilities, Exchange
from flea_lab.venue.rest import KeyRefused
from tests.backtest.tiny import tiny
from tests.live.session import Gate, proxy, running, until, with_live, world
from tests.live.test_guards_live import resting


class Venue:
    """An exchange that has a switch and nothing else. `said` are the times it was asked for."""

    def __init__(self, least_s: float = 1.0) -> None:
        self.capabilities = Capabilities(dead_man_s=least_s, limit_orders=True, cancel_all=True)
        self.said: list[tuple[float, float]] = []
        self.fault: VenueError | None = None

    async def dead_man(self, timeout_s: float) -> None:
        if self.fault is not None:
            raise self.fault
        self.said.append((asyncio.get_running_loop().time(), timeout_s))


def switch(venue: Venue, wanted_s: float, alerts: list[str]) -> DeadMan:
    return DeadMan(cast(Exchange, venue), wanted_s, lambda _, text: alerts.append(text))


def test_no_order_leaves_before_it_is_armed_and_it_is_refreshed_before_a_third_of_its_time() -> None:
    async def play() -> None:
        venue, alerts = Venue(), list[str]()
        dead_man = switch(venue, 1.0, alerts)
        assert dead_man.why_not == "the dead man's switch is not armed" and dead_man.state == "lapsed"
        task = asyncio.create_task(dead_man.run())
        while len(venue.said) < 3:
            await asyncio.sleep(0.01)
        assert dead_man.why_not == "" and dead_man.state == "armed" and not alerts
        assert [timeout for _, timeout in venue.said] == [1.0, 1.0, 1.0] and SHARE > 3
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await dead_man.disarm()
        assert venue.said[-1][1] == 0.0 and dead_man.state == "none"

    asyncio.run(play())


def test_a_switch_that_cannot_be_refreshed_keeps_orders_back_once_it_may_have_lapsed() -> None:
    async def play() -> None:
        venue, alerts = Venue(), list[str]()
        dead_man = switch(venue, 1.0, alerts)
        task = asyncio.create_task(dead_man.run())
        while dead_man.why_not:
            await asyncio.sleep(0.01)
        venue.fault = VenueError("away")
        async with asyncio.timeout(20):
            while not dead_man.why_not:
                await asyncio.sleep(0.01)
        assert "the dead man's switch is not refreshed: away" in alerts
        venue.fault = None
        async with asyncio.timeout(20):
            while dead_man.why_not:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())


def test_a_venue_without_one_is_said_and_trades_on_and_a_refused_key_is_no_such_venue() -> None:
    async def play() -> None:
        alerts: list[str] = []
        assert switch(Venue(0.0), 15.0, alerts).why_not == ""
        assert alerts == ["this venue has no dead man's switch: orders stay open if this process dies"]
        venue = Venue()
        venue.fault = VenueRefusal("404 not_found")
        dead_man = switch(venue, 15.0, alerts)
        task = asyncio.create_task(dead_man.run())
        while dead_man.why_not:
            await asyncio.sleep(0)
        assert alerts[-1] == "no dead man's switch: 404 not_found. Orders stay open if this process dies"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        venue.fault = KeyRefused("401")
        with pytest.raises(KeyRefused, match="401"):
            await switch(venue, 15.0, alerts).run()
        assert switch(Venue(5.0), 1.0, []).timeout_s == 5.0, "never shorter than the venue takes"
        assert switch(Venue(), 0.0, alerts).state == "none" and len(alerts) == 2, "nobody wanted one"

    asyncio.run(play())


class Timer:
    def __init__(self) -> None:
        self.stopped = False

    def cancel(self) -> None:
        self.stopped = True


def test_the_sandbox_takes_back_what_nobody_asks_to_keep_and_each_wish_begins_anew() -> None:
    set_: list[tuple[float, Any, Timer]] = []
    lapsed: list[str] = []

    def later(seconds: float, call: Any) -> Timer:
        set_.append((seconds, call, Timer()))
        return set_[-1][2]

    men = DeadMen(lambda: later, lapsed.append)
    assert men.wish("a", Wish(2.0)) == {"armed": True, "timeout_s": 2.0, "lapsed": 0}
    men.wish("a", Wish(3.0))
    assert set_[0][2].stopped and not set_[1][2].stopped and set_[1][0] == 3.0
    set_[1][1]()
    assert lapsed == ["a"] and men.wish("a", Wish(0.0)) == {"armed": False, "timeout_s": 0.0, "lapsed": 1}
    men.wish("b", Wish(5.0))
    men.close()
    assert set_[2][2].stopped


@pytest.mark.parametrize("body", [b'{"timeout_s": 0.5}', b'{"timeout_s": -1}', b'{"timeout_s": 1e9}'])
def test_a_time_out_of_range_is_refused(body: bytes) -> None:
    said = read_wish(body)
    assert isinstance(said, Denied) and said.status == 400 and "is neither 0 nor from 1 to 3600" in said.message


@pytest.mark.parametrize("body", [b"", b"{}", b'{"timeout_s": "1"}', b'{"timeout_s": NaN}', b"\xff"])
def test_what_is_no_wish_is_refused(body: bytes) -> None:
    said = read_wish(body)
    assert isinstance(said, Denied) and said.code == "invalid_request"
    assert read_wish(b'{"timeout_s": 0}') == Wish(0.0)


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "dead"


def test_the_orders_of_a_session_that_is_gone_are_taken_back_by_the_venue(folder: Path) -> None:
    run = with_live(resting(), dead_man_s=600.0)
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here, proxy(here) as between:
            Gate(here.server, here.closes(8))
            async with running(here, folder, url=between.url):
                await here.at(8)
                await until(
                    folder, lambda said: said["dead_man"] == "armed" and said["last_bar_ns"] >= here.closes(8) * MS_NS
                )
                await here.rests()
                first = between.sent.index(("POST", "/orders/dead-man"))
                assert first < between.sent.index(("POST", "/orders")), "armed before the first order"
            # cancelled in mid-air, as good as killed: nothing was disarmed
            men = here.server._dead_men
            [account] = men._timers
            await here.rests()
            men.wish(account, Wish(1.0))  # as if all of the time but a second were over
            async with asyncio.timeout(20):
                while here.customer.open:
                    await asyncio.sleep(0.02)
            assert men.lapsed == {account: 1} and not men._timers

    asyncio.run(play())


def test_a_session_that_ends_in_order_disarms_it(folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(12)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here, running(here, folder) as task:
            assert await task == OVER
            assert not here.server._dead_men._timers and not here.server._dead_men.lapsed

    asyncio.run(play())

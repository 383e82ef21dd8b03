"""The websocket against small venues that break every promise: what is delivered, and when it comes back."""

import asyncio
from typing import Any

import pytest

from flea_lab.errors import VenueRefusal
from flea_lab.model.market import Candle, Heartbeat
from flea_lab.model.trading import Accepted, Cancelled, Expired, Fill, Filled, Rejected
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.protocol import Link, Played, Said
from flea_lab.venue.reconnect import Reconnect
from tests.venue.stand_in import (
    T0,
    StandIn,
    Talk,
    candle_row,
    client_of,
    downs,
    fill_row,
    hear,
    order_row,
)


def links(heard: list[Said]) -> list[bool]:
    return [said.up for said in heard if isinstance(said, Link)]


def never(heard: list[Said]) -> bool:
    return False


async def talking(venue: StandIn, until: Any, **given: Any) -> tuple[list[Said], PurpleFlea]:
    async with venue.running() as address, client_of(address, **given) as client:
        return await hear(client, until), client


def test_up_means_that_every_channel_and_symbol_was_acknowledged() -> None:
    async def halves(talk: Talk) -> None:
        asked = await talk.subscription()
        await talk.say(event="subscribed", channels=asked["channels"], symbols=["BTCUSDT"])
        await talk.say(channel="candle_1m", symbol="BTCUSDT", seq=1, data=candle_row(0, complete=True))
        await talk.say(event="subscribed", channels=asked["channels"], symbols=["ETHUSDT"])
        await talk.idle()

    given = {"symbols": ["BTCUSDT", "ETHUSDT"], "key": None}
    heard, _ = asyncio.run(talking(StandIn(halves), lambda heard: True in links(heard), **given))
    assert [type(said) for said in heard] == [Candle, Link]


def test_what_is_never_acknowledged_is_a_link_down_that_names_it() -> None:
    async def half(talk: Talk) -> None:
        asked = await talk.subscription()
        await talk.say(event="subscribed", channels=["candle_1m"], symbols=asked["symbols"])
        await talk.idle()

    values = {"acknowledge_within_s": 0.1}
    heard, _ = asyncio.run(talking(StandIn(half), lambda heard: len(heard) == 1, values=values, key=None))
    assert downs(heard) == ["not acknowledged within 0.1 s: funding BTCUSDT"]


def test_a_subscription_whose_answer_was_lost_is_soon_made_again_and_a_slow_venue_gets_more_time() -> None:
    async def lost(talk: Talk) -> None:
        if talk.number == 3:
            await talk.confirm()
        await talk.idle()

    values = {"acknowledge_first_s": 0.02}
    heard, _ = asyncio.run(talking(StandIn(lost), lambda heard: True in links(heard), values=values, key=None))
    first, second = downs(heard)
    assert first == "not acknowledged within 0.02 s: candle_1m BTCUSDT, funding BTCUSDT"
    assert second.startswith("not acknowledged within 0.08 s: ") and links(heard) == [False, False, True]


@pytest.mark.parametrize("first", ["data", "silence"])
def test_a_venue_that_acknowledges_nothing_is_taken_at_its_data_or_its_silence(first: str) -> None:
    async def bare(talk: Talk) -> None:
        await talk.subscription()
        if first == "data":
            await talk.say(channel="trades", symbol="BTCUSDT", data={"price": 1.5, "size": 2, "side": "buy"})
        await talk.idle()

    given = {"channels": ["candle", "book", "trades"], "values": {"acknowledge_within_s": 0.2}}
    heard, _ = asyncio.run(talking(StandIn(bare), lambda heard: True in links(heard), **given))
    assert links(heard) == [True]


def test_a_symbol_that_the_venue_does_not_know_is_refused_loudly() -> None:
    async def unknown(talk: Talk) -> None:
        await talk.subscription()
        await talk.say(event="error", code="unknown_symbol", message="no symbol 'BTCUSDT'")
        await talk.idle()

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(talking(StandIn(unknown), never))
    assert raised.group_contains(VenueRefusal, match="subscription refused: unknown_symbol: no symbol 'BTCUSDT'")


@pytest.mark.parametrize("code", [1000, 1001, 1011])
def test_every_end_of_a_connection_is_a_link_down_and_a_new_connect(code: int) -> None:
    async def leaves(talk: Talk) -> None:
        await talk.confirm()
        if talk.number == 1:
            await talk.socket.close(code=code, message=b"bye")
        await talk.idle()

    heard, _ = asyncio.run(talking(StandIn(leaves), lambda heard: len(heard) == 3))
    assert links(heard) == [True, False, True]
    assert downs(heard) == [f"closed by the venue, code {code} bye"]


def test_a_broken_connection_is_a_link_down() -> None:
    async def breaks(talk: Talk) -> None:
        await talk.confirm()
        transport = talk.socket.get_extra_info("socket")
        if talk.number == 1:
            talk.socket._req.transport.abort()  # type: ignore[union-attr]
        assert transport is not None
        await talk.idle()

    heard, _ = asyncio.run(talking(StandIn(breaks), lambda heard: len(heard) == 3))
    assert links(heard) == [True, False, True]


def test_a_venue_that_accepts_and_closes_is_met_at_most_20_times_a_minute() -> None:
    for jitter in (0.0, 0.5, 0.999):
        policy, now, connects = Reconnect(0.25, 30.0, 20, 10.0), 0.0, []
        while now < 600.0:
            now += policy.wait_s(now, jitter)
            policy.connecting(now)
            connects.append(now)
            policy.ended(0.0)
        assert all(later - first >= 60.0 for first, later in zip(connects, connects[20:], strict=False))


def test_the_back_off_is_full_jitter_and_only_steady_data_resets_it() -> None:
    policy = Reconnect(0.25, 30.0, 600, 10.0)
    waits = []
    for flowed in [0.0] * 9 + [9.9, 10.0, 0.0]:
        waits.append(policy.wait_s(0.0, 1.0))
        policy.ended(flowed)
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 0.25]


def test_a_real_server_that_accepts_and_closes_is_not_hammered() -> None:
    async def closes(talk: Talk) -> None:
        await talk.subscription()
        await talk.socket.close()

    async def second() -> int:
        venue = StandIn(closes)
        values = {"backoff_first_s": 0.25, "backoff_last_s": 30.0, "connects_per_minute": 5}
        async with venue.running() as address, client_of(address, values=values) as client:
            with pytest.raises(TimeoutError):
                await hear(client, never, timeout_s=1.5)
        return venue.connects

    assert 2 <= asyncio.run(second()) <= 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_the_upgrade_refuses_is_final(status: int) -> None:
    venue = StandIn()
    venue.upgrade_status = status
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(talking(venue, never))
    assert raised.group_contains(VenueRefusal, match=f"websocket upgrade answered {status}: the key")
    assert venue.connects == 1


def test_an_upgrade_that_is_not_there_is_a_dialect_mismatch_but_a_busy_one_is_tried_again() -> None:
    venue = StandIn()
    venue.upgrade_status = 404
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(talking(venue, never))
    assert raised.group_contains(VenueRefusal, match="dialect mismatch: websocket upgrade answered 404")
    venue.upgrade_status = 503
    heard, _ = asyncio.run(talking(venue, lambda heard: len(heard) == 3))
    assert downs(heard) == ["websocket upgrade answered 503"] * 3


def test_an_upgrade_that_is_led_elsewhere_does_not_take_the_key_along() -> None:
    venue = StandIn()
    venue.upgrade_status = 302
    heard, _ = asyncio.run(talking(venue, lambda heard: len(heard) == 2))
    text = "connect: the venue redirects, and a request that carries a key does not follow"
    assert downs(heard) == [text, text]
    assert not any("elsewhere" in what for what in venue.asked)


def test_garbage_is_counted_and_told_and_the_connection_lives_on() -> None:
    garbage = ["", "{", "[1,2]", "nonsense", '{"channel":"orderbook_l2","symbol":"BTCUSDT","data":{"bids":"x"}}']
    garbage += ['{"channel":"trades","symbol":"BTCUSDT","data":{"price":-1,"size":1,"side":"buy"}}', "[" * 5000]

    async def babbles(talk: Talk) -> None:
        await talk.confirm()
        for text in garbage:
            await talk.socket.send_str(text)
        await talk.socket.send_bytes(b"\xff\x00")
        await talk.say(event="heartbeat", ts=T0)
        await talk.idle()

    told: list[str] = []
    given = {"on_fault": told.append, "channels": ["candle", "book", "trades"]}
    heard, client = asyncio.run(talking(StandIn(babbles), lambda heard: len(heard) == 2, **given))
    assert heard[1] == Heartbeat(ts_event=T0 * 1_000_000)
    assert client.faults == len(told) == len(garbage) + 1
    assert "orderbook_l2 BTCUSDT: bids = x: expected array, got str" in told
    assert "trades BTCUSDT: price = -1.0: must be a number above 0" in told


@pytest.mark.parametrize(
    "frame",
    [
        '{"channel":"candle_1m","symbol":"BTCUSDT","data":{"t":1,"o":"nan"}}',
        '{"channel":"fills","symbol":"BTCUSDT","data":{}}',
        '{"channel":"candle_1m","symb',
        '{"event":"heartbeat"}',
    ],
)
def test_what_may_not_be_missed_and_cannot_be_read_takes_the_link_down(frame: str) -> None:
    async def spoils(talk: Talk) -> None:
        await talk.confirm()
        if talk.number == 1:
            await talk.socket.send_str(frame)
        await talk.idle()

    heard, _ = asyncio.run(talking(StandIn(spoils), lambda heard: len(heard) == 3))
    assert links(heard) == [True, False, True]


def test_a_candle_that_was_skipped_takes_the_link_down_so_that_history_is_asked() -> None:
    async def skips(talk: Talk) -> None:
        await talk.confirm()
        for seq in (7, 9):
            await talk.say(channel="candle_1m", symbol="BTCUSDT", seq=seq, data=candle_row(seq, complete=True))
        await talk.idle()

    heard, _ = asyncio.run(talking(StandIn(skips), lambda heard: False in links(heard)))
    assert [type(said) for said in heard] == [Link, Candle, Link]
    assert downs(heard) == ["candle_1m BTCUSDT: seq = 9: 1 missing before it"]


def test_a_gap_in_the_private_frames_is_filled_before_the_next_one_is_delivered() -> None:
    async def jumps(talk: Talk) -> None:
        await talk.confirm()
        await talk.say(channel="fills", symbol="BTCUSDT", seq=4, data=fill_row(4))
        await talk.say(channel="fills", symbol="BTCUSDT", seq=8, data=fill_row(8))
        await talk.say(channel="orders", symbol="BTCUSDT", seq=9, data=order_row(status="filled"))
        await talk.say(event="played", ts=T0)
        await talk.idle()

    rows = [fill_row(n, seq=n) for n in (5, 7, 8)]
    venue = StandIn(jumps, **{"GET /fills": (200, {"fills": rows})})
    heard, client = asyncio.run(talking(venue, lambda heard: isinstance(heard[-1], Played)))
    assert [said.fill_id for said in heard if isinstance(said, Fill)] == ["f-4", "f-5", "f-7", "f-8"]
    assert client.private_seq == 9
    assert venue.queries[-1] == {"after": "4", "limit": "1000"}


def test_a_private_gap_that_cannot_be_filled_takes_the_link_down() -> None:
    async def jumps(talk: Talk) -> None:
        await talk.confirm()
        await talk.say(channel="fills", symbol="BTCUSDT", seq=4, data=fill_row(4))
        await talk.say(channel="fills", symbol="BTCUSDT", seq=8, data=fill_row(8))
        await talk.idle()

    heard, client = asyncio.run(talking(StandIn(jumps), lambda heard: False in links(heard)))
    assert downs(heard)[0].startswith("private frames 5 to 7 are missing: GET /fills answered 404")
    assert client.private_seq == 4


def test_what_the_venue_says_of_an_order_comes_as_its_report() -> None:
    statuses = ["open", "cancelled", "rejected", "expired", "filled"]

    async def tells(talk: Talk) -> None:
        await talk.confirm()
        for seq, status in enumerate(statuses, 1):
            row = order_row(status=status, reason="margin")
            await talk.say(channel="orders", symbol="BTCUSDT", seq=seq, data=row)
        await talk.say(event="played", ts=T0)
        await talk.idle()

    heard, _ = asyncio.run(talking(StandIn(tells), lambda heard: isinstance(heard[-1], Played)))
    at = {"client_order_id": "run-1", "ts_event": T0 * 1_000_000}
    assert heard[1:-1] == [
        Accepted(**at, venue_order_id="o-1"),
        Cancelled(**at, filled_lots=0),
        Rejected(**at, reason="margin"),
        Expired(**at, filled_lots=0),
        Filled(**at),
    ]


def test_a_venue_that_waits_is_told_what_was_worked_off() -> None:
    told: list[Any] = []

    async def waits(talk: Talk) -> None:
        await talk.confirm()
        assert talk.asked["ack"] is True
        await talk.say(event="heartbeat", ts=T0)
        told.append(await talk.socket.receive_json(timeout=2))
        await talk.say(event="played", ts=T0)
        await talk.idle()

    async def run() -> None:
        async with StandIn(waits).running() as address, client_of(address, ack=True) as client:
            await client.acknowledge(T0 * 1_000_000)  # nobody is there yet
            heard: asyncio.Queue[Said] = asyncio.Queue()
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                running = group.create_task(client.run(heard.put_nowait))
                while not isinstance(said := await heard.get(), Played):
                    if isinstance(said, Heartbeat):
                        await client.acknowledge(said.ts_event)
                await client.run(heard.put_nowait)  # the other face, at once
                running.cancel()

    asyncio.run(run())
    assert told == [{"action": "ack", "ts": T0}]


def test_a_half_open_connection_is_found_by_its_silence() -> None:
    async def run() -> list[Said]:
        async with StandIn().running() as address, client_of(address) as client:
            client._stream._silence_s = 0.1
            return await hear(client, lambda heard: len(heard) == 3)

    heard = asyncio.run(run())
    assert links(heard) == [True, False, True]
    assert downs(heard) == ["no frame for 0.1 s"]

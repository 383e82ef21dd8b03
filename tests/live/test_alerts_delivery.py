"""Alerts beyond this machine: a dead webhook blocks nobody and loses nothing critical; what is delivered is seen."""

import asyncio
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import Stopwatch, WallClock
from flea_lab.errors import ConfigError
from flea_lab.live.alerts import Alerts, Notice
from flea_lab.live.alerts_channel import AppriseNotifier, NotSent, channel_file, load_address, parts_of
from flea_lab.live.alerts_courier import Courier, message
from flea_lab.live.alerts_post import Post, open_alerts, undelivered
from flea_lab.live.secrecy import mask_of
from flea_lab.model.alert import AlertChannel, AlertSettings
from flea_lab.secret import Secret
from tests.live.hooks import hook

TOKEN = "123456789:abcdefghijklmnopqrstuvwxyz123456789"
TELEGRAM = f"tgram://{TOKEN}/12345/"
DISCORD = "discord://123456789012345678/tokentokentokentokentoken_canary/"
ALL = AlertChannel(severity="info")


def until(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    watch, pause = Stopwatch(), threading.Event()
    while watch.elapsed_s() < within_s and not holds():
        pause.wait(0.01)
    return holds()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]


class Kept:
    """A channel that keeps what it is given, and fails while told to."""

    def __init__(self, why: str = "") -> None:
        self.why, self.got = why, list[str]()
        self.tries = 0

    def prepare(self) -> None:
        """Needs nothing."""

    def send(self, title: str, body: str) -> None:
        self.tries += 1
        if self.why:
            raise NotSent(self.why)
        self.got.append(body)


class Dead(Kept):
    """A channel whose sending never returns, until `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def send(self, title: str, body: str) -> None:
        self.tries += 1
        self.free.wait(60)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., tuple[Alerts, Post]]]:
    """Opens alerts with a post of channels that are stand-ins; closed at the end."""
    closing: list[Callable[[], None]] = []

    def start(settings: AlertSettings, again: bool = False, **notifiers: Any) -> tuple[Alerts, Post]:
        post = Post(tmp_path, settings, notifiers, pace_s=0.0, first_s=0.05)
        earlier = undelivered(tmp_path, settings, WallClock().now_ns()) if again else []
        alerts = Alerts(tmp_path, WallClock(), console=io.StringIO(), sinks=(post,), every_s=settings.every_s)
        post.alert = alerts.put
        post.start(earlier)
        closing.extend((alerts.close, post.close))
        return alerts, post

    yield start
    for close in closing:
        close()


def settings(send_s: float = 5.0, **channels: AlertChannel) -> AlertSettings:
    return AlertSettings(channels=channels, send_s=send_s)


def storm(alerts: Alerts, n: int = 10_000) -> float:
    """The longest that a put took, in a loop that also looks at its own lag: the longest of both, in seconds."""

    async def run() -> float:
        worst = 0.0
        loop = asyncio.get_running_loop()
        for at in range(n):
            began = loop.time()
            severity = "critical" if at % 10 == 0 else "warning"
            alerts.put(severity, f"storm number {at}", key=f"{severity} {at % 7}" if at % 3 else f"unique {at}")
            await asyncio.sleep(0)
            worst = max(worst, loop.time() - began)
        return worst

    return asyncio.run(run())


def test_a_storm_with_a_dead_webhook_blocks_nobody_and_loses_nothing_critical(
    tmp_path: Path, opened: Callable[..., tuple[Alerts, Post]]
) -> None:
    dead = Dead()
    alerts, post = opened(settings(send_s=0.2, phone=ALL), phone=dead)
    worst = storm(alerts)
    assert worst < 10.0, worst  # the webhook is silent for a minute; what a put takes is measured elsewhere
    assert until(
        lambda: post.couriers[0].failing.startswith(("no answer within 0.2 s", "the last message still hangs"))
    )
    assert dead.tries == 1, "none is sent beside one that hangs"
    alerts.close()
    said = [row for row in rows(tmp_path) if row["key"].startswith(("critical", "warning"))]
    held = Counter(row["key"] for row in said if " more, the last: " not in row["text"])
    assert max(held.values()) == 1, "one line a key and minute"
    critical = {row["text"] for row in rows(tmp_path) if row["severity"] == "critical"}
    own = {f"storm number {at}" for at in range(0, 10_000, 30)}
    assert own <= critical, "each critical one with a key of its own is in the file"
    counted = sum(
        int(row["text"].split()[0]) if " more, the last: " in row["text"] else row.get("held", 0)
        for row in rows(tmp_path)
    )
    assert counted == alerts.held, "and what was held back is counted"
    dead.free.set()


@pytest.mark.parametrize("manner", ["hangs", "fails", "refuses"])
def test_a_webhook_that_does_not_take_it_is_told_once_and_another_gets_it(
    tmp_path: Path, manner: Any, opened: Callable[..., tuple[Alerts, Post]]
) -> None:
    with hook("takes" if manner == "refuses" else manner) as bad, hook() as good:
        port = 1 if manner == "refuses" else bad.port
        send_s = 0.5 if manner == "hangs" else 5.0
        here = AppriseNotifier("phone", Secret(f"json://127.0.0.1:{port}/token-canary"), send_s)
        there = AppriseNotifier("desk", Secret(f"json://127.0.0.1:{good.port}/x"), 60.0)
        there.prepare()
        alerts, post = opened(settings(send_s, phone=ALL, desk=AlertChannel(kinds=("halt",))), phone=here, desk=there)
        [of_desk] = [courier for courier in post.couriers if courier.name == "desk"]
        of_desk._limit_s = 60.0  # only the other is to be given up
        alerts.put("critical", "halted by drawdown", kind="risk")
        assert until(lambda: "halted by drawdown" in good.texts and "'phone' does not deliver" in good.texts)
        for n in range(3):
            alerts.put("warning", f"again {n}", key=f"again {n}")
        assert until(lambda: all(f"again {n}" in good.texts for n in range(3)))
        assert len([row for row in rows(tmp_path) if "does not deliver" in row["text"]]) == 1
        assert "token-canary" not in (tmp_path / "alerts.jsonl").read_text() + good.texts
        taken = (tmp_path / "alerts.delivered").read_text().split()
        [critical] = [row["id"] for row in rows(tmp_path) if row["severity"] == "critical"]
        assert taken == [critical], "taken by the other"
        bad.free.set()


def test_what_is_critical_is_delivered_when_the_channel_is_back_and_not_again_after_a_restart(
    tmp_path: Path, opened: Callable[..., tuple[Alerts, Post]]
) -> None:
    phone = Kept("503")
    alerts, post = opened(settings(phone=ALL), phone=phone)
    for n in range(15):
        alerts.put("critical", f"halted {n}", key=f"k{n}")
    alerts.put("warning", "stale", key="stale")
    assert until(lambda: phone.tries >= 3 and len(post.couriers[0]._waiting) == 15)
    phone.why = ""
    assert until(lambda: any("delivers again" in text for text in phone.got))
    assert phone.got[0].count("CRITICAL") == 10 and "more of" in phone.got[0]
    again = Kept()
    later, _ = opened(settings(phone=ALL), again=True, phone=again)
    later.put("info", "up")
    assert until(lambda: bool(again.got)) and "halted" not in again.got[0]


def test_what_nobody_took_is_delivered_after_a_restart(
    tmp_path: Path, opened: Callable[..., tuple[Alerts, Post]]
) -> None:
    alerts, post = opened(settings(phone=ALL), phone=Kept("dead"))
    alerts.put("critical", "halted: equity 1,234.56 USD")
    alerts.put("warning", "not worth a second try")
    alerts.close()
    post.close()
    phone = Kept()
    opened(settings(phone=ALL), again=True, phone=phone)
    assert until(lambda: bool(phone.got))
    assert "(from before this start) halted: equity *** USD" in phone.got[0] and "second try" not in phone.got[0]
    assert until(lambda: (tmp_path / "alerts.delivered").exists())
    assert undelivered(tmp_path, settings(phone=ALL), WallClock().now_ns()) == []
    assert undelivered(tmp_path, settings(phone=AlertChannel(kinds=("fill",))), 0) == []


def test_a_critical_alert_is_on_the_disk_before_a_channel_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("os.fsync", lambda _: order.append("synced"))
    with Alerts(tmp_path, WallClock(), console=io.StringIO(), sinks=(lambda _: order.append("told"),)) as alerts:
        alerts.put("critical", "halted")
        assert until(lambda: "told" in order)
    assert order == ["synced", "told"]


def test_a_channel_gets_its_severity_and_its_kinds(tmp_path: Path, opened: Callable[..., tuple[Alerts, Post]]) -> None:
    fills, halts = Kept(), Kept()
    alerts, _ = opened(
        settings(fills=AlertChannel(severity="info", kinds=("fill",)), halts=AlertChannel(kinds=("halt",))),
        fills=fills,
        halts=halts,
    )
    alerts.put("info", "bought 1 BTCUSDT", kind="fill")
    alerts.put("critical", "halted by daily_loss")
    alerts.put("info", "halted, says nobody", kind="halt")
    assert until(lambda: bool(fills.got and halts.got))
    alerts.close()
    assert "bought" in fills.got[0] and "halted" not in "".join(fills.got)
    assert "halted by daily_loss" in halts.got[0] and "nobody" not in "".join(halts.got)


def test_what_does_not_fit_into_a_message_is_counted() -> None:
    many = [Notice(ts=0, severity="warning", key=f"k{n % 3}", text=f"text {n}") for n in range(500)]
    critical = Notice(ts=0, severity="critical", key="halt", text="x" * 500, held=7)
    text = message([*many, critical], Counter({"k0": 9_874}), 2)
    assert text.splitlines()[0].endswith("… (and 7 more)")
    assert "and 10,038 more of k0" in text and text.endswith("and 2 more that found the line full")
    assert len(text) < 2_000, "Discord takes no more"


def test_telegram_and_discord_say_it_to_their_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as telegram, hook() as discord:
        for name, address, found, path in (
            ("phone", TELEGRAM, telegram, "bot"),
            ("team", DISCORD, discord, "api/webhooks"),
        ):
            notifier = AppriseNotifier(name, Secret(address), 5.0)
            monkeypatch.setenv("FLEA_OFFLINE", "0")
            notifier.prepare().notify_url = f"http://127.0.0.1:{found.port}/{path}"
            notifier.send("flea_lab main", "CRITICAL 12:00:00Z halted by <drawdown> & more")
            notifier.send("flea_lab main", "CRITICAL 12:00:00Z halted by <drawdown> & more")
    assert [path for path, _ in telegram.got] == [f"/bot{TOKEN}/sendMessage"] * 2
    assert [path for path, _ in discord.got] == [
        "/api/webhooks/123456789012345678/tokentokentokentokentoken_canary"
    ] * 2
    assert telegram.got[0][1]["chat_id"] == 12345
    assert "halted by" in telegram.texts and "halted by <drawdown> & more" in json.dumps(discord.got[0][1])


def test_an_address_is_a_secret_and_comes_from_where_secrets_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_ALERT_MY_PHONE", raising=False)
    with pytest.raises(ConfigError, match=r"no address for alert channel 'my-phone': put it in .*alert-my-phone\.url"):
        load_address("my-phone")
    file = channel_file("my-phone")
    file.parent.mkdir(parents=True)
    file.write_text(TELEGRAM)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others") as raised:
        load_address("my-phone")
    assert TOKEN not in str(raised.value)
    file.chmod(0o600)
    address = load_address("my-phone")
    assert address.reveal() == TELEGRAM and TOKEN not in repr(address)
    assert "abcdefghij" not in mask_of(*parts_of(address))(f"https://api.telegram.org/bot{TOKEN}/sendMessage")
    monkeypatch.setenv("FLEA_ALERT_MY_PHONE", "file:///etc/passwd")
    with pytest.raises(ConfigError, match="its address begins with none of tgram://, discord://, json://, jsons://"):
        load_address("my-phone")


def test_offline_no_channel_beyond_this_machine_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    with pytest.raises(
        NotSent, match=r"FLEA_OFFLINE=1 forbids the connection of alert channel 'p' to api\.telegram\.org"
    ):
        AppriseNotifier("p", Secret(TELEGRAM), 1.0).send("", "x")
    with pytest.raises(ConfigError, match="alert channel 'p': apprise does not understand its address"):
        AppriseNotifier("p", Secret("tgram://x"), 1.0).prepare()


def test_opened_alerts_reach_a_webhook_and_show_its_address_nowhere(tmp_path: Path) -> None:
    with hook() as phone:
        address = Secret(f"json://127.0.0.1:{phone.port}/canary_9f8e7d6c")
        console = io.StringIO()
        with open_alerts(
            tmp_path, WallClock(), mask_of(*parts_of(address)), settings(phone=ALL), {"phone": address}, console
        ) as alerts:
            alerts.put("critical", "halted: posted to canary_9f8e7d6c")
            assert until(lambda: "halted: posted to ***" in phone.texts)
    assert "canary_9f8e7d6c" not in (tmp_path / "alerts.jsonl").read_text() + console.getvalue()


def test_a_courier_with_nothing_to_say_says_nothing() -> None:
    phone = Kept()
    courier = Courier("p", ALL, phone, title="t", limit_s=1.0, delivered=lambda _: None, failed=lambda *_: None)
    courier.start()
    courier.close(5.0)
    assert phone.tries == 0

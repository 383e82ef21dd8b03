"""The live console without a browser, over a real sandbox and a real runner: call what its buttons call."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import account_folder
from flea_lab.live.control_client import Declined
from flea_lab.live.launcher import Session
from flea_lab.live.own_sandbox import current, end_own_sandbox, family, own_sandbox, unused
from flea_lab.live.watch import Filled, Seen, Watch
from flea_lab.runs import to_toml
from flea_lab.view import live_console
from flea_lab.view.live_console import LiveConsole
from flea_lab.view.live_html import fills_html, mark_html, message_html, status_html
from flea_lab.wiring import demo_config

NAME = "desk"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunConfig]:
    """A config over a synthetic market, in a workspace of this module's own; what runs in it is ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("FLEA_DATA_DIR", raising=False)
        yield demo_config(symbols=("BTCUSDT", "ETHUSDT"), days=2)
        for account in family(NAME):
            Session(account).stop()
            end_own_sandbox(account)


@pytest.fixture(scope="module")
def console(config: RunConfig) -> Iterator[LiveConsole]:
    """A console whose session trades and has filled."""
    made = LiveConsole(config, account=NAME, pace=200.0, days=1.0)
    made.launch()
    made.wait_for_fills(1)
    assert until(lambda: made.refresh().filled > 0), "in the journal a moment after the runner counts it"
    yield made
    made.close()


def until(holds: Callable[[], bool]) -> bool:
    by = time.monotonic() + 60.0
    while time.monotonic() < by:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_what_the_runner_and_its_journal_say_is_shown(console: LiveConsole) -> None:
    def says(*words: str) -> bool:
        console.refresh()
        return all(word in console.status.value for word in words)

    assert until(lambda: says("TRADING", "reconciled"))
    seen = console.refresh()
    journal = console.session.fills()
    assert "UNPROMOTED</b> demo" in console.mark.value
    assert 1 <= seen.filled <= len(journal)
    last, row = seen.fills[0], journal.iloc[0]
    assert (last.ts, last.symbol, last.side) == (row["ts"], row["symbol"], row["side"])
    assert (last.qty, last.price, last.fee_usd) == (row["qty"], row["price"], row["fee_usd"])
    assert "<tr class='flea-fill'>" in console.fills.value


def test_a_look_reads_only_what_is_new_and_says_what_a_first_look_says(console: LiveConsole) -> None:
    looked = Watch(console.session)
    looked.look()
    time.sleep(0.3)
    again, fresh = looked.look(), Watch(console.session).look()

    def same(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
        n = min(len(a[0]), len(b[0]))
        return n > 0 and all(np.array_equal(one[:n], other[:n]) for one, other in zip(a, b, strict=True))

    assert same(again.equity, fresh.equity)
    assert set(again.prices) == set(fresh.prices) == {"BTCUSDT", "ETHUSDT"}
    assert all(same(line, fresh.prices[symbol]) for symbol, line in again.prices.items())
    assert fresh.fills[: len(again.fills)] == again.fills


def test_one_figure_is_fed_and_keeps_its_names(console: LiveConsole) -> None:
    figure = console.figure
    console.symbol.value = "ETHUSDT"
    console.refresh()
    assert console.figure is figure
    assert [trace.name for trace in figure.data] == ["equity", "price", "bought", "sold"]
    assert figure.layout.yaxis2.title.text == "ETHUSDT, USD"
    assert figure.data[1].x.dtype.kind == "M" and len(figure.data[1].x) == len(figure.data[1].y) > 0


def test_a_console_made_again_attaches_and_takes_the_place_of_the_first(console: LiveConsole) -> None:
    other = LiveConsole(account=NAME)
    assert f"attached to the runner of account {NAME}, pid {console.session.pid}" in other.message.value
    assert other.session.pid == console.session.pid
    assert console._closed.is_set() and not other._closed.is_set()
    other.close()


def test_a_console_that_nobody_has_is_let_go_with_its_thread(config: RunConfig) -> None:
    def followers() -> int:
        return sum(thread.name == "console" for thread in threading.enumerate())

    before = followers()
    ref = weakref.ref(LiveConsole(config, account="nobody"))

    def gone() -> bool:
        gc.collect()  # a look that is under way holds it, and leaves a cycle behind
        return ref() is None

    assert until(gone) and until(lambda: followers() <= before)


def test_a_halt_is_verified_a_resume_is_signed_and_a_stop_ends_the_sandbox_too(console: LiveConsole) -> None:
    with pytest.raises(ConfigError, match="no latch that a person may clear"):
        console.resume("me")
    assert console.halt().outcome == "verified"
    assert "halted: no open order at the exchange" in console.message.value
    with pytest.raises(ConfigError, match="a resume is signed: type your name first"):
        console.resume("  ")
    with pytest.raises(ConfigError, match=f"not confirmed, the phrase is 'clear kill_switch of {NAME}'"):
        console.resume("Ada", "yes")
    assert until(lambda: resumed(console)) and "resumed by Ada: kill_switch" in console.message.value
    sandbox = own_sandbox(NAME)
    assert sandbox is not None and sandbox.url.startswith("http://127.0.0.1:")
    assert console.stop() and not console.session.alive
    assert until(lambda: own_sandbox(NAME) is None)
    assert "NO RUNNER" in _after(console).status.value and "stopped by a person" in console.status.value
    assert (current(NAME), unused(NAME)) == (NAME, f"{NAME}-2")
    with pytest.raises(WorkspaceError, match=r"fewer than 1000 fills, it ended: stopped"):
        console.wait_for_fills(1000)


def resumed(console: LiveConsole) -> bool:
    """Whether the runner was resumed; where it could not compare the account in time, a person asks again."""
    try:
        return bool(console.resume("Ada", f"clear kill_switch of {NAME}")["account"] == NAME)
    except Declined as error:
        if "the account could not be compared in " not in str(error):
            raise
        return False


def _after(console: LiveConsole) -> LiveConsole:
    console.refresh()
    return console


def test_nothing_chosen_and_a_file_that_is_no_config_are_said(config: RunConfig, tmp_path: Path) -> None:
    empty = LiveConsole(account="empty")
    with pytest.raises(ConfigError, match="nothing is chosen: flea promote a run, or name a config file"):
        empty.launch()
    with pytest.raises(ConfigError, match="nothing that writes a report: flea session"):
        empty.report()
    empty.file.value = str(tmp_path / "none.toml")
    assert "none.toml" in empty.message.value and empty.config.value is None
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(config.to_dict()))
    empty.file.value = str(file)
    assert empty.config.value == "UNPROMOTED mine.toml"
    assert "UNPROMOTED</b> mine.toml" in _after(empty).mark.value
    empty.close()


def test_what_cannot_be_launched_leaves_no_sandbox(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def refused(*_: object, **__: object) -> Session:
        raise WorkspaceError("no")

    monkeypatch.setattr(live_console, "start_own_sandbox", refused)
    monkeypatch.setattr(live_console, "end_own_sandbox", lambda account: ended.append(account) or False)
    console = LiveConsole(config, account="refused")
    console.buttons["launch"].click()
    assert until(lambda: ">no<" in console.message.value)
    assert ended == ["refused"] and not account_folder("refused").exists()
    console.close()


def test_a_session_that_never_was_says_so(config: RunConfig) -> None:
    seen: Seen = Watch(Session("never")).look()
    assert (seen.alive, seen.status, seen.note, seen.fills) == (False, {}, "nothing has run on it", ())


def test_the_table_shows_the_last_ten_newest_first_with_prices_under_each_other() -> None:
    fills = [Filled(60_000.0 * n, "BTCUSDT", "buy" if n % 2 else "sell", 0.5, 100.0 + n / 2, 0.01) for n in range(12)]
    rows = fills_html(fills, 12).split("<tr class='flea-fill'>")[1:]
    assert len(rows) == 10 and "1970-01-01T00:11:00Z" in rows[0] and ">105.5<" in rows[0] and ">105.0<" in rows[1]
    assert "last 10 of 12 fills" in fills_html(fills, 12) and "no fill yet" in fills_html([], 0)


def test_what_comes_from_outside_is_escaped() -> None:
    seen = Seen(True, {"state": "<b>", "error": "<script>"}, "", (np.empty(0), np.empty(0)), {}, (), 0)
    said = status_html(seen, "a") + message_html("<script>") + mark_html(False, "<script>")
    assert "<script>" not in said and "<B>" not in said and said.count("&lt;script&gt;") == 3

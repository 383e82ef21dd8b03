"""`flea halt` claims nothing that was not verified; a runner is found, asked, and never started twice or unpromoted."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flea_lab.wiring_live
from flea_lab.cli import live
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, FleaError, PromotionError, WorkspaceError
from flea_lab.live import phrase
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.control import ControlServer, NoRunner, Unanswered
from flea_lab.live.keys import store_key
from flea_lab.live.latch import take_clearing
from flea_lab.live.lock import lock_account
from flea_lab.secret import Secret
from tests.live.fake_runner import FakeRunner

SEED = Path(__file__).parents[2] / "pipelines" / "params" / "seed.toml"


def flea(*words: object, typed: str = "") -> Result:
    return CliRunner().invoke(live.app, [str(word) for word in words], input=typed)


def refused(*words: object, typed: str = "") -> FleaError:
    found = flea(*words, typed=typed).exception
    assert isinstance(found, FleaError) and "\n" not in str(found)
    return found


class Accounts:
    """Stand-in runners of this process, by account."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    def run(self, account: str = "main", asks: int = 3) -> FakeRunner:
        runner = FakeRunner(account, "c" * 64, asks)
        folder = ready_folder(account)
        self._held.enter_context(lock_account(folder, WallClock()))
        self._held.enter_context(ControlServer(folder, runner))
        return runner

    def hold(self, account: str) -> None:
        self._held.enter_context(lock_account(ready_folder(account), WallClock()))


@pytest.fixture
def accounts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    with ExitStack() as held:
        yield Accounts(held)


def test_a_halt_is_claimed_only_once_no_order_is_open(accounts: Accounts) -> None:
    accounts.run(asks=3)
    found = flea("halt", "--reason", "test")
    assert found.exit_code == 0
    assert found.output.splitlines() == [
        "halting: 2 open orders at the exchange",
        "halting: 1 open order at the exchange",
        "halted: no open order at the exchange",
    ]


def test_a_halt_that_is_not_verified_in_time_says_what_may_be_open(accounts: Accounts) -> None:
    accounts.run(asks=1_000).status["unknown_orders"] = 1
    found = flea("halt", "--wait-s", 0.3)
    assert found.exit_code == 1 and "halted:" not in found.output
    last = found.output.splitlines()[-1]
    said = "halt stands, not verified after 0.3 s: the exchange has not said that none is open, 99"
    assert last.startswith(said) and last.endswith("open orders and 1 of unknown fate known here")


def test_where_nobody_answers_the_halt_file_is_written_and_said(accounts: Accounts) -> None:
    found = flea("halt", "--account", "b", "--reason", "enough")
    file = account_folder("b") / "HALT"
    assert found.exit_code == 1 and "halted:" not in found.output
    assert "not halted by a runner: no runner for account 'b'\nwrote" in found.output
    assert "orders that are open at the exchange stay open" in found.output
    assert json.loads(file.read_text())["reason"] == "enough" and file.stat().st_mode & 0o777 == 0o600
    said = str(refused("run", SEED, "--unpromoted", "--account", "b"))
    assert said.startswith("account 'b' is halted by ") and "--clear kill_switch" in said


def test_a_runner_that_holds_the_account_but_is_silent_gets_the_halt_file(accounts: Accounts) -> None:
    accounts.hold("main")
    found = flea("halt")
    assert found.exit_code == 1 and "holds the account but does not listen" in found.output
    assert (account_folder("main") / "HALT").exists()


def test_a_runner_that_ends_while_halting_is_not_a_verified_halt(accounts: Accounts) -> None:
    runner = accounts.run(asks=50)
    answers = iter(range(3))

    def dying(request: dict[str, object]) -> dict[str, object]:
        if next(answers, None) is None:
            raise RuntimeError("the loop is gone")
        return runner(request)

    ready_folder("d")
    with lock_account(account_folder("d"), WallClock()), ControlServer(account_folder("d"), dying):
        found = flea("halt", "--account", "d")
    assert found.exit_code == 1 and (account_folder("d") / "HALT").exists()
    assert "the loop is gone; 48 open orders may be left at the exchange" in found.output


def test_the_only_running_account_need_not_be_named_and_several_must(accounts: Accounts) -> None:
    assert "no account is running, none has been here; pass --account" in str(refused("stop"))
    accounts.run("a")
    ready_folder("c")
    assert "a on sandbox" in flea("status").output
    accounts.run("b")
    assert [line.split(":")[0] for line in flea("status").output.splitlines()] == ["a", "b"]
    for words in (("halt",), ("stop",), ("resume", "--clear", "drawdown", "--by", "ann")):
        assert str(refused(*words)) == "several accounts are running: a, b; pass --account"
    assert flea("halt", "--account", "a").exit_code == 0


def test_one_silent_runner_does_not_hide_the_others(accounts: Accounts) -> None:
    accounts.hold("a")
    accounts.run("b")
    found = flea("status")
    assert found.exit_code == 1
    assert [line.split(":")[0] for line in found.output.splitlines()] == ["a", "b"]
    assert isinstance(refused("status", "--account", "a"), Unanswered)


def test_a_status_is_a_table_or_json(accounts: Accounts) -> None:
    runner = accounts.run()
    runner.status |= {"last_bar_ns": 1_735_689_600_000_000_000, "error": "", "link": "up", "reconciled": False}
    table = flea("status").output
    assert "state      trading\naccount    main on sandbox, pid" in table
    assert "last bar   2025-01-01 00:00:00 UTC, 1 bars" in table and "positions  BTCUSDT +0.5" in table
    assert "equity     100,000.00 USD, cash -" in table and "reconciled NO, -" in table and "error" not in table
    assert json.loads(flea("status", "--json").output) == runner.status


def test_no_runner_is_an_answer_with_exit_status_one(accounts: Accounts) -> None:
    found = flea("status", "--json")
    assert found.exit_code == 1
    assert json.loads(found.output) == {"state": "not running", "account": "main", "halt_file": False}


def test_resuming_needs_the_typed_phrase(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = accounts.run(asks=1)
    assert flea("halt").exit_code == 0
    words = ("resume", "--clear", "kill_switch", "--clear", "drawdown", "--by", "ann")
    nobody = (
        "nobody is there to type it, so it is not done; a person gives phrase='clear kill_switch and drawdown of main'"
    )
    assert nobody in str(refused(*words, typed="clear kill_switch and drawdown of main\n")), "a pipe is no person"
    monkeypatch.setattr(live, "at_terminal", lambda: True)
    monkeypatch.setattr(phrase, "at_terminal", lambda: True)
    assert "not confirmed, the phrase is 'clear kill_switch and drawdown of main'" in str(
        refused(*words, typed="yes\n")
    )
    assert "not confirmed" in str(refused(*words)), "nothing typed"
    assert "not confirmed" in str(refused(*words, "--phrase", "resume main"))
    assert runner.status["state"] == "halted"
    found = flea(*words, "--why", "looked", typed="clear kill_switch and drawdown of main\n")
    assert runner.asked[-2]["why"] == "looked" and runner.asked[-2]["by"] == "ann"
    assert found.exit_code == 0 and "cleared kill_switch, drawdown; main: trading seed on sandbox" in found.output
    assert flea("halt").exit_code == 0
    assert flea(*words, "--phrase", "clear kill_switch and drawdown of main").exit_code == 0
    assert "--clear daily: unknown, known are kill_switch, reducing, drawdown" in str(
        refused("resume", "--clear", "daily", "--by", "ann")
    )


def test_without_a_runner_a_resume_lifts_the_halt_file_and_nothing_else(accounts: Accounts) -> None:
    flea("halt", "--account", "main")
    words = ("resume", "--by", "ann", "--phrase", "clear kill_switch of main", "--clear")
    drawdown = ("resume", "--by", "ann", "--phrase", "clear drawdown of main", "--clear", "drawdown")
    assert isinstance(refused(*drawdown), NoRunner)
    found = flea(*words, "kill_switch")
    assert found.exit_code == 0 and "latches in the journal stay" in found.output
    said = take_clearing(account_folder("main"))
    assert said is not None and (said.by, said.reason) == ("ann", "flea halt")
    assert not (account_folder("main") / "HALT").exists()
    assert isinstance(refused(*words, "kill_switch"), NoRunner)


def test_a_stop_waits_for_the_end(accounts: Accounts) -> None:
    accounts.run()
    found = flea("stop", "--wait-s", 0.2)
    assert found.exit_code == 1 and "still runs after 0.2 s" in found.output
    assert str(refused("stop", "--account", "b")) == "no runner for account 'b'"


def test_a_run_hands_the_config_to_the_wiring(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []

    def session(config: object, promotion: object, **named: object) -> int:
        got.extend((config, promotion, named))
        return 3

    monkeypatch.setattr(flea_lab.wiring_live, "live_session", session, raising=False)
    found = flea("run", SEED, "--unpromoted", "--venue", "paper", "--account", "b")
    assert found.exit_code == 3
    assert got[1:] == [None, {"venue": "paper", "account": "b", "url": None, "consent": None, "other_code": False}]


def test_what_may_not_run_is_refused_in_one_line(accounts: Accounts) -> None:
    assert isinstance(refused("run", SEED, "--venue", "live"), ConfigError)
    assert "venue 'moon': there are sandbox, paper, live" in str(refused("run", SEED, "--venue", "moon"))
    said = str(refused("run", SEED, "--venue", "live", "--unpromoted"))
    assert "real money needs a promotion" in said
    assert "seed.toml is not promoted: flea report and flea promote it" in str(refused("run", SEED))
    assert "none.toml: no such file" in str(refused("run", "none.toml", "--unpromoted"))
    assert isinstance(refused("run", "seed"), PromotionError)


def test_a_check_names_what_is_missing_and_starts_nothing(accounts: Accounts) -> None:
    words = ("run", SEED, "--unpromoted", "--check")
    assert "no key for account 'main': flea faucet" in str(refused(*words))
    assert not account_folder("main").exists()
    store_key("main", Secret("pf_1"))
    found = flea(*words)
    assert found.exit_code == 0 and "not promoted" in found.output
    assert found.output.endswith("nothing is in the way\n") and "pf_1" not in found.output
    accounts.run()
    assert isinstance(refused(*words), WorkspaceError)

"""`flea kill` needs nothing of the runner, takes back what it never knew of, and claims only what the venue said."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flea_lab.cli import kill as command
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, VenueError, WorkspaceError
from flea_lab.live import kill as work
from flea_lab.live import kill_exchange, kill_venue
from flea_lab.live.account import account_folder, known_accounts, ready_folder
from flea_lab.live.doorway import is_clear
from flea_lab.live.keys import store_key
from flea_lab.live.kill import dialect_for, late_s, note_venue
from flea_lab.live.latch import is_latched, read_latch, remove_before, remove_halt_file, write_halt_file
from flea_lab.live.lock import lock_account
from flea_lab.secret import Secret
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.protocol import OrderState, VenueAccount
from tests.live.processes import config_file, sleep, start_runner, start_sandbox, status, until
from tests.live.test_kills import ACCOUNT, busy, claimed, get, rows, store_market

KEY = "pf_test_canary_0123456789"


class Venue:
    """A stand-in for the venue: open orders by name. `before` may change it before the n-th request of a kind."""

    def __init__(self, *names: str) -> None:
        self.open = dict.fromkeys(names, "open")
        self.asked: list[str] = []
        self.answer: Callable[[str, int], tuple[int, bytes] | None] = lambda _what, _n: None
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                venue.answered(self)

            do_DELETE = do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/trading-api"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answered(self, request: BaseHTTPRequestHandler) -> None:
        what = f"{request.command} {request.path.removeprefix('/trading-api')}"
        self.asked.append(what)
        said = self.answer(what, self.asked.count(what))
        status, body = said if said is not None else self.truth(request, what)
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def truth(self, request: BaseHTTPRequestHandler, what: str) -> tuple[int, bytes]:
        if request.headers.get("X-API-Key") != KEY:
            return 401, json.dumps({"error": "invalid_key", "message": request.headers.get("X-API-Key")}).encode()
        if what == "DELETE /orders":
            self.open.clear()
        orders = [{"client_order_id": name, "symbol": "X", "side": "buy", "size": "1"} for name in self.open]
        return 200, json.dumps({"orders": orders, "positions": [{"symbol": "X", "size": "2.5"}]}).encode()


@pytest.fixture
def venue(home: Path) -> Iterator[Venue]:
    found = Venue("a-1", "stranger")
    store_key("main", Secret(KEY))
    ready_folder("main")
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


def flea(*words: object) -> Result:
    return CliRunner().invoke(command.app, ["kill", *(str(word) for word in words)])


def test_every_order_is_taken_back_whoever_gave_it_and_looked_for_again(venue: Venue) -> None:
    found = flea("main", "--url", venue.url, "--watch-s", 0.2)
    assert found.exit_code == 0 and not venue.open, found.output
    assert found.output.splitlines()[-1] == "KILLED      account main: no order is open at the venue"
    assert "a-1" in found.output and "stranger" in found.output and "X 2.5" in found.output
    assert venue.asked[:3] == ["GET /orders?status=open", "DELETE /orders", "GET /orders?status=open"]
    assert venue.asked.count("GET /orders?status=open") > 2, "asked again after the time of late orders"
    assert KEY not in found.output


def test_the_latch_is_on_disk_before_the_venue_hears_anything(venue: Venue) -> None:
    latched: list[bool] = []
    venue.answer = lambda _what, _n: latched.append(is_latched(account_folder("main") / "HALT"))
    flea("main", "--url", venue.url, "--watch-s", 0, "--reason", "enough")
    said = read_latch(account_folder("main"))
    assert latched and all(latched) and said is not None and said.reason == "enough" and said.pid == os.getpid()


def test_an_order_that_arrives_late_is_taken_back_too(venue: Venue) -> None:
    def late(what: str, n: int) -> None:
        if what.startswith("GET /orders") and n == 3:
            venue.open["late"] = "open"

    venue.answer = late
    found = flea("main", "--url", venue.url, "--watch-s", 0.2, "--json")
    said = json.loads(found.output)
    assert found.exit_code == 0 and said["outcome"] == "verified" and said["rounds"] == 2
    assert [name for name, _ in said["found"]] == ["a-1", "stranger", "late"] and not said["left"]
    assert said["verified_s"] - said["cleared_s"] >= 0.2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((200, b'{"error": "none"}'), "open orders cannot be read"),
        ((200, b"[]"), "open orders cannot be read"),
        ((500, b"oh"), "answered 500 oh"),
    ],
)
def test_what_cannot_be_read_is_never_no_open_order(venue: Venue, said: tuple[int, bytes], why: str) -> None:
    venue.answer = lambda what, _n: said if what.startswith("GET") else None
    found = flea("main", "--url", venue.url, "--wait-s", 0.3, "--watch-s", 0)
    assert found.exit_code == 1 and why in found.output.splitlines()[-1]
    assert "NOT KILLED" in found.output and "DELETE /orders" in venue.asked, "taken back all the same"


def test_a_listing_that_was_empty_is_not_believed_before_everything_was_taken_back(venue: Venue) -> None:
    venue.open.clear()
    venue.answer = lambda what, n: (503, b"") if what.startswith("DELETE") and n < 3 else None
    found = flea("main", "--url", venue.url, "--watch-s", 0)
    assert found.exit_code == 0 and venue.asked.count("DELETE /orders") == 3


def test_a_refused_key_ends_it_at_once_and_is_not_shown(venue: Venue) -> None:
    store_key("main", Secret("pf_test_another"), replace=True)
    found = flea("main", "--url", venue.url)
    assert found.exit_code == 1 and "the key is refused" in found.output and "pf_test_another" not in found.output
    assert len(venue.asked) == 1 and is_latched(account_folder("main") / "HALT")


def test_without_a_venue_or_a_key_it_is_latched_and_said_to_be_no_more(home: Path) -> None:
    ready_folder("main")
    found = flea("main", "--url", "http://127.0.0.1:9/trading-api", "--wait-s", 0.2)
    assert found.exit_code == 1 and "NOT KILLED  account main: no key for account 'main'" in found.output
    store_key("main", Secret(KEY))
    found = flea("main", "--url", "http://127.0.0.1:9/trading-api", "--wait-s", 0.2)
    assert found.exit_code == 1 and "Connection refused" in found.output
    assert is_latched(account_folder("main") / "HALT")


def test_a_name_that_no_account_has_is_refused_and_leaves_nothing_behind(home: Path) -> None:
    for asked in (["kill", "mian"], ["monitor", "main", "mian"]):
        ready_folder("main"), ready_folder("second")
        words = [sys.executable, "-m", "flea_lab", *asked]
        found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        said = "flea: account 'mian' is not there; there are: main, second\n"
        assert (found.returncode, found.stdout, found.stderr) == (2, "", said)
    assert known_accounts() == ["main", "second"] and not is_latched(account_folder("main") / "HALT")


def test_an_account_whose_folder_is_lost_is_killed_by_its_key(venue: Venue) -> None:
    account_folder("main").rmdir()
    found = flea("main", "--url", venue.url, "--watch-s", 0)
    assert found.exit_code == 0 and not venue.open and is_latched(account_folder("main") / "HALT")


def test_where_it_cannot_be_latched_the_orders_are_taken_back_and_it_is_not_called_killed(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise WorkspaceError("HALT: cannot be written (No space left on device)")

    monkeypatch.setattr(work, "write_halt_file", full)
    found = flea("main", "--url", venue.url, "--watch-s", 0)
    assert found.exit_code == 1 and not venue.open
    assert (
        found.output.splitlines()[-1] == "NOT KILLED  account main: HALT: cannot be written (No space left on device)"
    )


def test_a_cancel_only_key_is_taken_where_there_is_one(venue: Venue) -> None:
    store_key("main", Secret("pf_test_trades"), replace=True)
    (account_folder("main").parent.parent / "keys" / "main.kill.key").write_text(KEY)
    (account_folder("main").parent.parent / "keys" / "main.kill.key").chmod(0o600)
    assert flea("main", "--url", venue.url, "--watch-s", 0).exit_code == 0


def test_it_asks_the_venue_that_the_runner_wrote_down_and_needs_no_journal(venue: Venue) -> None:
    folder = account_folder("main")
    (folder / "journal.sqlite").write_bytes(b"no database")
    dialect = load_dialect({"rest_url": venue.url, "order_validity_s": 0.05}, "a test")
    note_venue(folder, "sandbox", dialect)
    assert dialect_for(folder, None, None) == ("sandbox", dialect)
    with lock_account(folder, WallClock()):
        found = flea("main", "--watch-s", 0)
    assert found.exit_code == 0 and not venue.open and f"the runner (pid {os.getpid()})" in found.output
    (folder / "venue.json").write_text("{")
    assert dialect_for(folder, None, None)[1] == load_dialect({}, "a test")


def test_late_orders_are_watched_for_as_long_as_they_may_arrive() -> None:
    far = {"rest_url": "https://exchange.example/api", "ws_url": "wss://exchange.example/ws"}
    assert late_s(load_dialect({}, "")) == 0.5 and late_s(load_dialect(far, "")) == 10.0
    assert late_s(load_dialect({**far, "order_validity_s": 5.0}, "")) == 6.0


def test_paper_is_killed_with_its_runner_only(home: Path) -> None:
    note_venue(ready_folder("main"), "paper", load_dialect({}, ""))
    found = flea("main")
    assert found.exit_code == 0 and "KILLED" in found.output
    with lock_account(account_folder("main"), WallClock()):
        found = flea("main")
    assert found.exit_code == 1 and "paper orders live in the runner (pid" in found.output


def test_a_venue_that_it_cannot_speak_to_is_said(home: Path) -> None:
    store_key("main", Secret(KEY))
    found = flea("main", "--venue", "hyperliquid")
    assert found.exit_code == 1 and "NOT KILLED" in found.output and "orders need the account's address" in found.output
    with pytest.raises(ConfigError, match="has no path for its open orders"):
        kill_venue.cancel_only(load_dialect({"paths": {"orders": ""}}, ""), Secret(KEY))


class Signed:
    """An exchange that needs more than a header; all that a kill uses of one."""

    def __init__(self) -> None:
        self.open, self.log = ["a-1", "b-2"], list[str]()

    async def __aenter__(self) -> "Signed":
        self.log.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.log.append("closed")

    async def open_orders(self) -> list[OrderState]:
        return [
            OrderState(client_order_id=n, symbol="X", status="open", lots=3, filled_lots=0, ts_event=0)
            for n in self.open
        ]

    async def cancel_all(self) -> None:
        self.log.append("cancelled")
        if self.log.count("cancelled") == 1:
            raise VenueError("busy")
        self.open.clear()

    async def account(self) -> VenueAccount:
        return VenueAccount(ts_event=0, cash_uusd=0, equity_uusd=0, fees_uusd=0, funding_uusd=0, lots={"X": -2, "Y": 0})


def test_a_venue_that_needs_signatures_is_killed_over_its_exchange(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_key("main", Secret(KEY))
    signed, given = Signed(), list[object]()

    def open_exchange(*what: object) -> Signed:
        given.extend(what)
        return signed

    monkeypatch.setattr(kill_exchange, "open_exchange", open_exchange)
    note_venue(ready_folder("main"), "live", load_dialect({"name": "hyperliquid"}, ""), busy().instruments)
    found = flea("main", "--watch-s", 0)
    assert found.exit_code == 0 and "KILLED      account main" in found.output, found.output
    assert signed.log == ["opened", "cancelled", "cancelled", "closed"] and "X -2 lots" in found.output
    assert "b-2  X 3 lots" in found.output and "not yet     busy" in found.output
    assert given[1] == Secret(KEY) and given[2] == busy().instruments


def test_flea_kill_can_place_no_order_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; import flea_lab.cli, flea_lab.cli.kill;"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in ('numba','pandas','vectorbt','numpy','sqlite3',"
        "'aiohttp','asyncio','pyarrow') or m.startswith('flea_lab')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = [name for name in loaded if not name.startswith("flea_lab")]
    assert not heavy
    for never in ("venue.client", "venue.rest", "live.sender", "live.runner", "live.journal", "core", "execution"):
        assert not [name for name in loaded if name.startswith(f"flea_lab.{never}")], never
    for module in (work, kill_venue, command):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not {"POST", "PUT", "PATCH"} & words and "NewOrder" not in names


def test_a_runner_waits_for_nothing_that_only_a_report_needs() -> None:
    heavy = ("pandas", "pyarrow", "plotly", "matplotlib", "papermill", "vectorbt", "apprise", "rich", "ccxt", "keyring")
    code = (
        "import sys; sys.argv = ['flea', 'run'];"
        "import flea_lab.cli; flea_lab.cli._app(); import flea_lab.wiring_live;"
        f"print([name for name in {heavy!r} if name in sys.modules], 'numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[0] == "[] True"


def test_an_unreadable_latch_is_a_halt(tmp_path: Path) -> None:
    file = tmp_path / "HALT"
    assert not is_latched(file) and read_latch(tmp_path) is None
    for make in (lambda: file.symlink_to("nowhere"), file.mkdir, lambda: file.write_bytes(b"\xff")):
        make()
        said = read_latch(tmp_path)
        assert is_latched(file) and said is not None and said.reason == ""
        file.rmdir() if file.is_dir() else file.unlink()
    assert is_latched(tmp_path / ("x" * 300)), "what cannot be looked at counts as there"


def test_a_latch_that_is_written_twice_at_once_stands(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write_halt_file, args=(tmp_path, str(n), WallClock())) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["HALT"] and read_latch(tmp_path)
    assert remove_halt_file(tmp_path) and not remove_halt_file(tmp_path)


def test_a_halt_file_that_is_newer_than_the_clearing_of_an_older_one_stands(tmp_path: Path) -> None:
    clock = WallClock()
    assert remove_before(tmp_path, clock.now_ns()), "there was none"
    write_halt_file(tmp_path, "old", clock)
    asked_ns = clock.now_ns()
    assert remove_before(tmp_path, asked_ns) and not is_latched(tmp_path / "HALT")
    write_halt_file(tmp_path, "flea kill", clock)
    assert not remove_before(tmp_path, asked_ns)
    said = read_latch(tmp_path)
    assert said is not None and said.reason == "flea kill"
    (tmp_path / "HALT").write_text("touched by hand")
    assert not remove_before(tmp_path, asked_ns) and is_latched(tmp_path / "HALT")
    assert remove_before(tmp_path, clock.now_ns() + 10**9)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_line_is_a_venue_error_without_the_key(venue: Venue) -> None:
    venue.server.shutdown()
    venue.server.server_close()
    there = kill_venue.cancel_only(load_dialect({"rest_url": venue.url}, ""), Secret(KEY))
    with pytest.raises(VenueError, match="DELETE /orders: ConnectionRefusedError") as raised:
        there.cancel_all()
    assert KEY not in str(raised.value)


def stop_outside(pid: int, folder: Path) -> None:
    """SIGSTOP, not in the middle of sending an order: there it would be ended."""
    os.kill(pid, signal.SIGSTOP)
    while not is_clear(folder):
        os.kill(pid, signal.SIGCONT)
        sleep(0.001)
        os.kill(pid, signal.SIGSTOP)


def test_a_runner_that_hangs_is_killed_past_it_and_stays_halted(home: Path, tmp_path: Path) -> None:
    store_market(2_000)
    file = config_file(busy(), home)
    sandbox, url = start_sandbox(file, tmp_path / "sandbox.log", "--matching=book")
    store_key(ACCOUNT, Secret(claimed(url)))
    runner = start_runner(file, url, ACCOUNT)
    try:
        until(lambda: get(url, "/orders?status=open")["orders"], 60.0, "an order that rests")
        stop_outside(runner.pid, account_folder(ACCOUNT))
        resting = [one["client_order_id"] for one in get(url, "/orders?status=open")["orders"]]
        words = [sys.executable, "-m", "flea_lab", "kill", ACCOUNT, "--json"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        said = json.loads(done.stdout)
        assert done.returncode == 0 and said["outcome"] == "verified", done
        assert said["runner"] == f"the runner (pid {runner.pid}, its process is stopped)"
        assert {name for name, _ in said["found"]} == set(resting) and not get(url, "/orders?status=open")["orders"]
        posted = len(get(url, "/orders?status=all")["orders"])
        os.kill(runner.pid, signal.SIGCONT)
        until(lambda: status(ACCOUNT).get("halt_verified"), 60.0, "the runner halts by the file")
        assert status(ACCOUNT)["latches"] == ["kill_switch"]
        sleep(0.3)
        assert len(get(url, "/orders?status=all")["orders"]) == posted, "no order after the kill"
        assert rows("SELECT count(*) FROM entries")[0][0] > 0
    finally:
        for process in (runner, sandbox):
            process.kill()

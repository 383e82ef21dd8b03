"""Fetching from an exchange, against a stub on this machine: pages, holes, going on, funding, and plain errors."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli.data import app
from flea_lab.clock import WallClock
from flea_lab.data.dataset import Dataset
from flea_lab.data.sources import demo_fetch, exchange
from flea_lab.data.sources.demo import load_demo
from flea_lab.data.sources.demo_fetch import fetch_demo
from flea_lab.data.sources.exchange import ExchangeSource, Fetched, fetch
from flea_lab.data.store import CandleStore
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from tests.data.exchange_stub import HOUR, MINUTE, ExchangeStub

START = 1_735_689_600_000
N = 2_500
HOLE = (START + 700 * MINUTE, START + 702 * MINUTE)
KEY = Dataset("binance_um", "BTCUSDT", "1m")


class Clock(WallClock):
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def now_ns(self) -> int:
        return self.now_ms * 1_000_000


@pytest.fixture
def stub() -> Iterator[ExchangeStub]:
    pytest.importorskip("ccxt", reason="ccxt, the extra `venues`, is not installed")
    bars = {START + n * MINUTE: 100.0 + n % 50 for n in range(N)}
    for gone in range(*HOLE, MINUTE):
        del bars[gone]
    serving = ExchangeStub(bars, {START + n * 8 * HOUR: 1e-4 * (n + 1) for n in range(6)})
    yield serving
    serving.close()


@pytest.fixture
def store(home: object, monkeypatch: pytest.MonkeyPatch) -> CandleStore:
    monkeypatch.setattr(exchange, "pause", lambda _: None)
    monkeypatch.setenv("FLEA_OFFLINE", "1")  # what is on this machine may be asked all the same
    from flea_lab.workspace import workspace

    return CandleStore(workspace().ready().store)


def get(
    store: CandleStore,
    stub: ExchangeStub,
    first: int = 0,
    last: int = N,
    venue: str = "binance_um",
    symbol: str = "BTCUSDT",
) -> Fetched:
    source = ExchangeSource(venue, Clock(START + 10 * N * MINUTE), url=stub.url)
    try:
        return fetch(store, source, symbol, "1m", START + first * MINUTE, START + last * MINUTE)
    finally:
        source.close()


def test_pages_are_laid_together_and_a_hole_stays_one(store: CandleStore, stub: ExchangeStub) -> None:
    found = get(store, stub)
    assert (found.bars, found.pages, found.settlements) == (N - 2, 3, 6)
    assert found.holes == [(HOLE[0], 2)] and found.missing == 2
    frame = store.read(KEY)
    assert frame["ts"].tolist() == sorted(stub.bars)
    assert frame.iloc[7].tolist() == [START + 7 * MINUTE, 106.5, 108.0, 106.0, 107.0, 2.5, 1.25]
    funding = store.read_funding("binance_um", "BTCUSDT")
    assert funding["ts"].tolist() == sorted(stub.rates) and funding["funding_rate"].tolist()[0] == 1e-4


def test_fetching_goes_on_where_the_store_ends_and_also_before_it_begins(
    store: CandleStore, stub: ExchangeStub
) -> None:
    get(store, stub, 1_000, 1_500)
    stub.asked.clear()
    again = get(store, stub, 1_000, 1_500)
    assert again.bars == 0 and "/fapi/v1/klines" not in stub.asked
    assert get(store, stub, 0, 2_000).bars == 998 + 500
    assert get(store, stub).bars == N - 2_000
    assert store.read(KEY)["ts"].tolist() == sorted(stub.bars)


def test_an_end_in_the_middle_keeps_what_was_there(store: CandleStore, stub: ExchangeStub) -> None:
    source = ExchangeSource("binance_um", Clock(START + 10 * N * MINUTE), url=stub.url)
    seen: list[int] = []

    def stop(first: int, at: int, last: int) -> None:
        seen.append(at)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(store, source, "BTCUSDT", "1m", START, START + N * MINUTE, progress=stop)
    source.close()
    assert len(store.read(KEY)) == 2_000
    assert get(store, stub).bars == N - 2 - 2_000


def test_a_bar_that_is_not_over_is_not_taken(store: CandleStore, stub: ExchangeStub) -> None:
    source = ExchangeSource("binance_um", Clock(START + 10 * MINUTE + 59_999), url=stub.url)
    found = fetch(store, source, "BTCUSDT", "1m", START, START + N * MINUTE)
    source.close()
    assert found.bars == 10 and found.last_ms == START + 9 * MINUTE


def test_hyperliquid_by_its_base_alone(store: CandleStore, stub: ExchangeStub) -> None:
    found = get(store, stub, 0, 900, "hyperliquid", "BTC")
    assert found.dataset == Dataset("hyperliquid", "BTCUSDC", "1m") and found.bars == 898
    assert store.read(found.dataset)["close"].tolist()[:2] == [100.0, 101.0]
    assert found.settlements == 2


def test_a_busy_exchange_is_asked_again_and_a_dead_one_is_one_line(store: CandleStore, stub: ExchangeStub) -> None:
    stub.failing = [429, 503]
    assert get(store, stub, 0, 10).bars == 10
    stub.failing = [503] * 20
    with pytest.raises(VenueError, match=r"binance_um: \w+.*\(asked 5 times\); run it again to go on"):
        get(store, stub, 10, 20)
    stub.failing = []
    stub.bars = {}
    assert get(store, stub, 20, 30).bars == 0


def test_what_nobody_knows_is_named_with_what_is_near(store: CandleStore, stub: ExchangeStub) -> None:
    with pytest.raises(ConfigError, match=r"venue 'binance_umm' is unknown to ccxt .*: did you mean binance_um,"):
        get(store, stub, venue="binance_umm")
    with pytest.raises(ConfigError, match="binance_um has no symbol 'BTCUSD', did you mean BTCUSDT"):
        get(store, stub, symbol="BTCUSD")
    source = ExchangeSource("binance_um", WallClock(), url=stub.url)
    with pytest.raises(ConfigError, match="since 2025-01-01T00:00:00Z must be before until 2025-01-01T00:00:00Z"):
        fetch(store, source, "BTCUSDT", "1m", START, START)
    stub.failing = [400]
    with pytest.raises(VenueRefusal, match=r"binance_um: .*Invalid symbol\."):
        source.find("BTCUSDT")
    source.close()


def test_offline_refuses_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    with pytest.raises(ConfigError, match="FLEA_OFFLINE=1: nothing is fetched from binance_um"):
        ExchangeSource("binance_um", WallClock())
    with pytest.raises(ConfigError, match="FLEA_OFFLINE=1: nothing is fetched from binance_um"):
        ExchangeSource("binance_um", WallClock(), url="http://192.0.2.1")


def test_without_ccxt_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_OFFLINE", raising=False)
    monkeypatch.setattr(exchange.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"ccxt is not installed: pip install 'flea-lab\[venues\]'"):
        ExchangeSource("binance_um", WallClock())


def test_the_demo_runs_on_what_an_exchange_answers_and_else_on_the_synthetic_market(
    store: CandleStore, stub: ExchangeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    monkeypatch.setattr(demo_fetch, "DAYS", 1)
    clock = Clock(START + N * MINUTE)

    def fetched() -> bool:
        return fetch_demo(store, ["BTCUSDT"], "1m", clock, url=stub.url)

    stub.failing = [503] * 50
    assert load_demo(store, ["BTCUSDT"], "1d", fetched=fetched).synthetic
    stub.failing = []
    found = load_demo(store, ["BTCUSDT"], "1m", fetched=fetched)
    assert (found.synthetic, found.label, found.datasets) == (False, "Binance BTCUSDT perp 1m", (KEY,))
    assert len(store.read(KEY)) == 1_440
    monkeypatch.setattr(demo_fetch, "MOST_S", -1.0)
    assert not fetch_demo(store, ["ETHUSDT"], "1m", clock, url=stub.url)


def test_the_demo_does_not_even_try_where_it_may_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CandleStore(home / "store")
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    monkeypatch.setattr(demo_fetch, "answers", lambda _: pytest.fail("asked"))
    assert not fetch_demo(store, ["BTCUSDT"], "1m", WallClock())
    monkeypatch.delenv("FLEA_OFFLINE")
    monkeypatch.setattr(demo_fetch.importlib.util, "find_spec", lambda _: None)
    assert not fetch_demo(store, ["BTCUSDT"], "1m", WallClock())


def test_who_answers_within_the_time_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert demo_fetch.answers(server.getsockname()[:2], 60.0)
    with socket.socket() as taken:  # a port that nobody else comes to listen on meanwhile
        taken.bind(("127.0.0.1", 0))
        assert not demo_fetch.answers(taken.getsockname()[:2], 0.5)


def test_flea_data_fetch_says_what_it_did(store: CandleStore, stub: ExchangeStub) -> None:
    words = [
        "binance_um",
        "BTCUSDT",
        "1m",
        "--since",
        "2025-01-01T11:00",
        "--until",
        "2025-01-01T12:00",
        "--url",
        stub.url,
    ]
    done = CliRunner().invoke(app, ["fetch", *words])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "binance_um BTCUSDT 1m: 58 new bars in 1 pages, 0 new settlements",
        "  stored in that range: 2025-01-01T11:00:00Z to 2025-01-01T11:59:00Z",
        "  holes: 1, 2 bars missing",
        "    2025-01-01T11:40:00Z  2 bars",
    ]
    wrong = CliRunner().invoke(app, ["fetch", *words[:4], "then"])
    assert "since = 'then' is not an ISO date or time" in str(wrong.exception)
    asked = ["hyperliquid", "BTC", "1m", "--since", "2020-01-01", "--until", "2020-01-02", "--url", stub.url]
    empty = CliRunner().invoke(app, ["fetch", *asked])
    assert "nothing is stored in that range: the exchange has no bars there" in empty.output

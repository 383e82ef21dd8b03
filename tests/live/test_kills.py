"""A runner that is killed at any moment, and started again: nothing lost, nothing sent twice, no halt forgotten.

The long campaign: pytest tests/live/test_kills.py -m slow
"""

import json
import random
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flea_lab.config import RunConfig, from_dict
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.live.account import account_folder
from flea_lab.live.keys import load_key, store_key
from flea_lab.secret import Secret
from flea_lab.workspace import workspace
from tests.live.processes import Process, config_file, sleep, start_runner, start_sandbox, status, until

SYMBOLS = ("BTCUSDT", "ETHUSDT")
ACCOUNT = "killed"
QUICK = {"unknown_wait_s": 0.5, "limit_ttl_s": 180.0}


def busy(**live: Any) -> RunConfig:
    """A config that gives an order at every other bar, most of them limits that rest."""
    return from_dict(
        {
            "name": "busy",
            "symbols": list(SYMBOLS),
            "interval": "1m",
            "signals": [{"kernel": "tick_imbalance", "params": {"window": 2, "threshold": 0.0, "full_scale": 0.3}}],
            "combination": {"min_confidence": 0.0, "min_conviction": 0.02},
            "sizing": {"base_fraction": 0.2, "mode": "target", "market_above": 0.5},
            "risk": {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 1.0},
            "data": {"venue": "synthetic"},
            "live": {
                "reconcile_s": 60.0,
                "reconcile_pause_s": 0.0,
                "unknown_wait_s": 0.5,
                "limit_ttl_s": 180.0,
                **live,
            },
        }
    )


def store_market(n_bars: int) -> None:
    """Puts the synthetic market of both symbols into the store."""
    store = CandleStore(workspace().ready().store)
    for symbol in SYMBOLS:
        candles, funding, label = synthetic_market(symbol, n_bars=n_bars)
        store.write(Dataset("synthetic", symbol, "1m"), candles, Origin(source=label, synthetic=True))
        store.write_funding("synthetic", symbol, funding)


def get(url: str, path: str) -> Any:
    asked = urllib.request.Request(f"{url}{path}", headers={"X-API-Key": load_key(ACCOUNT).reveal()})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def claimed(url: str) -> str:
    """The key of a new account with play money."""
    asked = urllib.request.Request(f"{url}/faucet/claim", data=b"{}", method="POST")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        key: str = json.load(answer)["api_key"]
        return key


def rows(query: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(f"{(account_folder(ACCOUNT) / 'journal.sqlite').as_uri()}?mode=ro", uri=True)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def assert_equal(url: str, config: RunConfig) -> dict[str, int]:
    """Journal and exchange agree on every order, fill and micro-dollar; counts of what happened."""
    there = {order["client_order_id"]: order for order in get(url, "/orders?status=all")["orders"]}
    here = dict(rows("SELECT id, status FROM orders"))
    assert set(there) <= set(here), "an order without a journal row"
    assert len({order["order_id"] for order in there.values()}) == len(there)
    for name, said in here.items():
        assert said in ((there[name]["status"],) if name in there else ("rejected", "not_accepted")), name
    account = get(url, "/account")
    equal, ours = rows("SELECT equal, ours FROM reconciles ORDER BY rowid DESC LIMIT 1")[0]
    mine = json.loads(ours)
    assert equal
    for ours_name, name in (("cash_uusd", "cash"), ("fees_uusd", "fees_paid"), ("funding_uusd", "funding_paid")):
        assert mine[ours_name] == round(float(account[name]) * 1e6), name
    held = {p["symbol"]: p["size"] for p in account["positions"]}
    for symbol, lots in mine["lots"].items():
        assert lots == round(float(held.get(symbol, "0")) / float(config.instruments[symbol].lot_size)), symbol
    fills = [row for (row,) in rows("SELECT fill_id FROM fills")]
    theirs = [fill["fill_id"] for fill in get(url, "/fills?after=0&limit=5000")["fills"]]
    assert sorted(fills) == sorted(set(fills)) and set(theirs) <= set(fills)
    return {
        "orders": len(there),
        "fills": len(fills),
        "partial": sum(count > 1 for (count,) in rows("SELECT count(*) FROM fills GROUP BY client_order_id")),
        "cancelled": sum(order["status"] == "cancelled" for order in there.values()),
        "unsent": len(set(here) - set(there)),
    }


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    home.mkdir(parents=True, exist_ok=True)
    return home


def until_ready(runner: Process) -> None:
    """Returns once the runner trades, or has ended."""
    until(lambda: status(ACCOUNT).get("state") == "trading" or runner.ended is not None, 120.0, "trading")


def campaign(place: Path, kills: int, seed: int, days: float, longest_s: float) -> dict[str, Any]:
    """What a session came to that was killed `kills` times before the market was over."""
    store_market(round(days * 1440) + 400)
    config = busy()
    file = config_file(config, place)
    options = ("--matching=book", "--latency-ms=1500", f"--days={days}", "--leverage=100", "--steps=4")
    sandbox, url = start_sandbox(file, place / "sandbox.log", *options)
    dice, ready = random.Random(seed), []
    try:
        store_key(ACCOUNT, Secret(claimed(url)))
        done = 0
        while True:
            runner = start_runner(file, url, ACCOUNT)
            try:
                if done < kills and dice.random() < 0.25:
                    sleep(dice.uniform(0.8, 2.5))  # while it starts
                else:
                    until_ready(runner)
                    ready.append(runner.watch.elapsed_s())
                    if done < kills:
                        sleep(dice.uniform(0.0, longest_s))
                    else:
                        runner.wait(600)
                if runner.ended is not None:
                    assert runner.ended == 0, runner.said()
                    break
            finally:
                if runner.ended is None:
                    runner.kill()
            done += 1
        assert "the recorded market is over" in runner.said()
        return {**assert_equal(url, config), "kills": done, "ready_s": ready}
    finally:
        sandbox.kill()


def test_three_kills_change_nothing(place: Path) -> None:
    found = campaign(place, 3, seed=1, days=0.15, longest_s=0.25)
    print(found)
    assert found["kills"] >= 2 and found["orders"] > 20 and found["fills"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twenty_kills_change_nothing(place: Path, seed: int) -> None:
    found = campaign(place, 24, seed=seed, days=4.0, longest_s=0.5)
    print(found)
    assert found["kills"] >= 20 and found["partial"] > 5 and found["cancelled"] > 5

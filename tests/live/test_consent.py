"""Real money needs a person who types, now, a sentence about exactly this; and the first orders are small."""

import io
import json
import sqlite3
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.clock import WallClock
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.live import consent as module
from flea_lab.live import opening
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.consent import Consent, Terms, agreed, hand_over, require_consent, taken, terms_of
from flea_lab.live.first_run import capped, is_first, sent_before
from flea_lab.live.opening import About
from flea_lab.live.phrase import at_terminal, required
from flea_lab.venue.protocol import Capabilities
from flea_lab.wiring import live_session
from tests.backtest.tiny import config

CODE = "a1b2c3d4e5f60718"
RUN = config(risk={"max_order_usd": 5_000.0, "max_daily_loss": 0.03, "max_drawdown": 0.1})


class Clock(WallClock):
    """Stands still unless told."""

    now = 10**18

    def now_ns(self) -> int:
        return self.now

    def new_id(self) -> str:
        return "7042beef"


@pytest.fixture
def someone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "at_terminal", lambda: True)


def terms(run: RunConfig = RUN) -> Terms:
    return terms_of(run, "main", None, CODE)


SENTENCE = (
    "trade live on purpleflea-seed account main max order 5000 USD max loss 3.00% a day 10.00% in all "
    "code a1b2c3d4e5f6 7042"
)


@pytest.mark.usefixtures("someone")
def test_the_sentence_names_venue_account_limits_and_code_and_a_word_of_now() -> None:
    asked: list[str] = []

    def person(question: str) -> str:
        asked.append(question)
        return f"  {SENTENCE} \n"

    given = agreed(terms(), Clock(), person)
    assert given == Consent(terms=terms(), ts_ns=Clock.now) and SENTENCE in asked[0]
    assert "orders go to http://127.0.0.1:8712/trading-api" in asked[0]


@pytest.mark.usefixtures("someone")
@pytest.mark.parametrize("typed", ["", "yes", SENTENCE[:-4] + "7043", SENTENCE.replace("5000", "50000")])
def test_anything_else_is_no_consent(typed: str) -> None:
    with pytest.raises(ConfigError, match="not confirmed: what was typed is not the sentence; nothing was started"):
        agreed(terms(), Clock(), lambda _: typed)


@pytest.mark.usefixtures("someone")
def test_who_takes_too_long_or_does_not_answer_has_not_agreed() -> None:
    clock = Clock()

    def slow(_: str) -> str:
        clock.now += 61 * 10**9
        return SENTENCE

    with pytest.raises(ConfigError, match="not confirmed within 60 s: nothing was started"):
        agreed(terms(), clock, slow)
    for error in (EOFError, NotImplementedError):

        def gone(_: str, error: type[Exception] = error) -> str:
            raise error

        with pytest.raises(ConfigError, match="confirmed by a person, and nobody answered"):
            agreed(terms(), clock, gone)


def test_where_no_person_sits_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SENTENCE))
    assert not at_terminal()
    with pytest.raises(ConfigError, match="nobody is here to ask"):
        agreed(terms(), Clock(), lambda _: SENTENCE)
    kernel = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    with pytest.raises(ConfigError, match="nobody is here to ask"):
        agreed(terms(), Clock(), lambda _: SENTENCE)
    assert agreed(terms(), Clock(), lambda _: SENTENCE, notebook=True).terms == terms()
    monkeypatch.setattr(sys, "stdin", None)
    assert not at_terminal()


def test_consent_is_good_once_for_a_minute_and_for_nothing_else(home: Path) -> None:
    folder, clock = ready_folder("main"), Clock()
    given = Consent(terms=terms(), ts_ns=clock.now)
    file = hand_over(folder, given)
    assert file.stat().st_mode & 0o777 == 0o600
    assert taken(folder) == given and taken(folder) is None and not file.exists()
    file.write_text("{")
    assert taken(folder) is None and not file.exists()
    require_consent(given, terms(), clock)
    with pytest.raises(ConfigError, match="needs a person's typed confirmation for every start: none was given"):
        require_consent(None, terms(), clock)
    for later in (61, -1):
        clock.now = Clock.now + later * 10**9
        with pytest.raises(ConfigError, match=f"the confirmation is {later} s old, at most 60 s may be"):
            require_consent(given, terms(), clock)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_order_usd": 50_000.0}, "max_order_usd"),
        ({"url": "https://elsewhere.example"}, "url"),
        ({"code": "other"}, "code"),
        ({"live": "{}"}, "live"),
        ({"account": "b", "max_drawdown": 0.5}, "account, max_drawdown"),
    ],
)
def test_what_changed_since_is_not_what_was_agreed_to(change: dict[str, Any], named: str) -> None:
    given = Consent(terms=replace(terms(), **change), ts_ns=Clock.now)
    with pytest.raises(ConfigError, match=f"^{named} changed since it was confirmed: nothing was started"):
        require_consent(given, terms(), Clock())


def test_a_live_session_begins_for_a_promotion_with_consent_only(home: Path) -> None:
    with pytest.raises(ConfigError, match="config 'tiny' is not promoted: real money needs a promotion"):
        live_session(RUN, None, venue="live", account="main")
    with pytest.raises(ConfigError, match="needs a person's typed confirmation"):
        live_session(RUN, "tiny", venue="live", account="main")
    given = Consent(terms=terms(), ts_ns=WallClock().now_ns())
    with pytest.raises(ConfigError, match="code changed since it was confirmed"):
        live_session(RUN, "tiny", venue="live", account="main", consent=given)
    assert not (account_folder("main") / "journal.sqlite").exists()


def test_the_first_orders_are_small_until_there_were_enough(home: Path) -> None:
    run = replace(RUN, live=replace(RUN.live, first_orders=2, first_order_usd=50.0))
    used = capped(run, 10_000_000_000)
    assert used.risk.max_order_usd == 50.0 and used.sizing.base_fraction == pytest.approx(0.005)
    assert used.risk.max_drawdown == run.risk.max_drawdown and capped(run, 0).sizing.base_fraction == 0.0
    small = replace(run, sizing=replace(run.sizing, base_fraction=0.001))
    assert capped(small, 10_000_000_000).sizing.base_fraction == 0.001, "never larger than the config's own"
    folder = ready_folder("main")
    assert sent_before(folder) == 0 and is_first(run, folder)
    with sqlite3.connect(folder / "journal.sqlite") as db:
        db.execute("CREATE TABLE orders (id TEXT)")
        db.executemany("INSERT INTO orders VALUES (?)", [("o1",), ("o2",)])
    db.close()
    assert sent_before(folder) == 2 and not is_first(run, folder)
    (folder / "journal.sqlite").write_bytes(b"no database at all")
    assert is_first(run, folder), "what cannot be counted was not sent"


def test_a_live_venue_without_a_dead_mans_switch_is_taken_only_where_the_config_says_so() -> None:
    can = Capabilities(id_scope="for_ever", query_by_id=True, limit_orders=True, cancel_all=True)
    about = About(account="main", venue="live", config="c", config_id="i", promoted=True, code="", key="")

    def bot(venue: str, seconds: float) -> Any:
        live = replace(RUN.live, dead_man_s=seconds)
        return types.SimpleNamespace(
            about=replace(about, venue=venue),
            config=replace(RUN, live=live),
            exchange=types.SimpleNamespace(capabilities=can),
            dialect="elsewhere",
        )

    with pytest.raises(VenueRefusal, match=r"venue 'elsewhere' has no dead man's switch: .* dead_man_s = 0 in"):
        opening._require_capable(bot("live", 15.0))
    opening._require_capable(bot("live", 0.0))
    opening._require_capable(bot("sandbox", 15.0))


def test_a_phrase_is_typed_by_somebody_or_given_and_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("clear x of y"))
    with pytest.raises(ConfigError, match=r"clearing: nobody is there to type it, so it is not done; .*phrase='p q'"):
        required("p q", None, lambda _: "p q", "clearing")
    assert required("p q", " p q\n", lambda _: "", "clearing") == "p q"
    with pytest.raises(ConfigError, match="clearing: not confirmed, the phrase is 'p q'; nothing was changed"):
        required("p q", "p", lambda _: "p q", "clearing")


def test_terms_hold_every_live_setting() -> None:
    other = replace(RUN, live=replace(RUN.live, dead_man_s=0.0))
    assert terms(other) != terms() and json.loads(terms().live)["first_orders"] == 20

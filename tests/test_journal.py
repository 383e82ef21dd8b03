"""A journal's events, given to a fresh core, give the journal's commands."""

from flea_lab.backtest.replay import replay
from flea_lab.decision import Recorder, digest
from flea_lab.journal import MemoryJournal, play_back
from flea_lab.model.trading import Accepted, Fill, NewOrder
from flea_lab.wiring import build_core, build_exchange, prepare
from tests.parity.test_planted import market, seed_config


def test_a_journal_played_back_gives_its_own_commands() -> None:
    config = seed_config()
    found, start = prepare(config, market())
    first = int(market().close_ns[start])
    journal = MemoryJournal()
    seen = replay(market(), build_core(config, found, first), build_exchange(config), journal=journal)

    again = play_back(journal.events(), build_core(config, found, first))

    assert again == journal.commands()
    recorder = Recorder(config.symbols)
    recorder.on(again)
    assert digest(recorder.decisions(), config.symbols) == digest(seen.decisions, config.symbols)
    assert len(seen.decisions) > 100


def test_an_event_is_written_down_before_what_it_led_to() -> None:
    config = seed_config()
    found, start = prepare(config, market())
    journal = MemoryJournal()
    replay(market(), build_core(config, found, int(market().close_ns[start])), build_exchange(config), journal=journal)
    at = next(i for i, entry in enumerate(journal.entries) if isinstance(entry, NewOrder))
    name = journal.entries[at].client_order_id  # type: ignore[union-attr]
    after = [entry for entry in journal.entries[at + 1 :] if getattr(entry, "client_order_id", None) == name]
    assert [type(entry) for entry in after] == [Accepted, Fill]
    assert not any(getattr(entry, "client_order_id", None) == name for entry in journal.entries[:at])

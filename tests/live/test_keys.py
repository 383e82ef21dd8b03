"""A key is read from a file of its owner alone or the environment, and no message repeats it."""

from pathlib import Path

import pytest

from flea_lab.errors import ConfigError
from flea_lab.live.keys import key_file, load_key, store_key
from flea_lab.secret import Secret


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)


def test_a_stored_key_is_read_back_from_a_private_file(home: Path) -> None:
    file = store_key("main", Secret("pf_1"))
    assert file == home / "keys" / "main.key" and load_key("main").reveal() == "pf_1"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["main.key"]


def test_a_key_is_replaced_only_when_asked(home: Path) -> None:
    store_key("main", Secret("pf_1"))
    with pytest.raises(ConfigError, match=r"main\.key is there already"):
        store_key("main", Secret("pf_2"))
    assert load_key("main").reveal() == "pf_1"
    store_key("main", Secret("pf_2"), replace=True)
    assert load_key("main").reveal() == "pf_2"
    assert [entry.name for entry in (home / "keys").iterdir()] == ["main.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    file = store_key("main", Secret("pf_canary"))
    file.chmod(mode)
    said = rf"main\.key can be read by others \(mode {mode:04o}\): chmod 600 .*main\.key"
    with pytest.raises(ConfigError, match=said) as caught:
        load_key("main")
    assert "canary" not in str(caught.value)


def test_the_environment_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_key("main", Secret("pf_file"))
    monkeypatch.setenv("FLEA_API_KEY", " pf_env ")
    assert load_key("main").reveal() == "pf_env"


def test_no_key_says_where_one_comes_from(home: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no key for account 'paper-1': flea faucet .* or put yours in .*paper-1\.key"
    ):
        load_key("paper-1")


@pytest.mark.parametrize("text", ["", "two words", "line\nline", "caf\u00e9", "x" * 1001])
def test_what_is_no_key_is_refused_without_being_repeated(home: Path, text: str) -> None:
    file = store_key("main", Secret("pf_1"))
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no API key|one line of ASCII") as caught:
        load_key("main")
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("account", ["", "Main", "a/b", "..", "a" * 41, "a b"])
def test_an_account_name_cannot_lead_elsewhere(home: Path, account: str) -> None:
    with pytest.raises(ConfigError, match=r"account = .*: lower-case letters, digits, _ and -, 1 to 40"):
        key_file(account)

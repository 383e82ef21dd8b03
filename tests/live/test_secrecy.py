"""A key that somebody made a text of shows nowhere: output, logs, tracebacks, alerts; and logs do not grow for ever."""

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError
from flea_lab.live import alerts as alerts_module
from flea_lab.live import process as process_module
from flea_lab.live.alerts import Alerts
from flea_lab.live.keys import key_file, load_key, load_kill_key, store_key
from flea_lab.live.process import open_log
from flea_lab.live.secrecy import KEPT, Masked, mask_of
from flea_lab.secret import Secret

CANARY = "pf_canary_55aa10f3e2"

LEAKY = f"""
import asyncio, logging, resource, sys, threading, warnings
from flea_lab.live.secrecy import guard, mask_of, watch_loop
from flea_lab.secret import Secret

key = "{CANARY}"
mask = mask_of(Secret(key), None)
guard(mask)
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
print("printed", key)
print("to stderr", key, file=sys.stderr)
sys.stderr.writelines(["lines ", key, chr(10)])
logging.getLogger("deep.down").warning("logged %s", key)
logging.warning({{"a dict": key}})
logging.getLogger("aiohttp").warning("two %s %s", key)
try:
    raise ValueError(f"raised {{key}}")
except ValueError:
    logging.exception("with a traceback of %s", key)
warnings.warn(f"warned {{key}}")

def thread():
    local = key
    raise RuntimeError(f"in a thread {{local}}")

worker = threading.Thread(target=thread)
worker.start()
worker.join()

async def leaky():
    watch_loop(mask)
    async def dies():
        raise OSError(f"in a task {{key}}")
    task = asyncio.ensure_future(dies())
    await asyncio.sleep(0.01)
    del task
    import gc
    gc.collect()
    asyncio.get_running_loop().call_exception_handler({{"message": f"called {{key}}"}})

asyncio.run(leaky())
raise SystemError(f"the end {{key}}")
"""


def test_a_key_is_in_nothing_that_a_process_says() -> None:
    ran = subprocess.run([sys.executable, "-c", LEAKY], capture_output=True, text=True, timeout=60, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1 and CANARY not in said
    for part in (
        "printed ***", "to stderr ***", "lines ***", "logged ***", "{'a dict': '***'}", "two %s %s", "raised ***",
        "with a traceback of ***", "UserWarning: warned ***", "in a thread ***", "in a task ***", "called ***",
        "SystemError: the end ***",
    ):  # fmt: skip
        assert part in said, part


def test_each_part_of_a_key_of_several_is_masked() -> None:
    mask = mask_of(Secret("apikey-0123456789:secret-9876543210:pw"))
    assert mask("secret-9876543210 of apikey-0123456789, pw") == "*** of ***, pw"
    assert mask("apikey-0123456789:secret-9876543210:pw") == "***"


def test_an_output_that_grows_begins_anew_and_the_last_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "runner.log"
    with open_log(file) as log, open(log.fileno(), "w", closefd=False) as text:
        stream: Any = Masked(text, mask_of(Secret(CANARY)), largest=1_000)
        for n in range(400):
            stream.write(f"{n:04} {CANARY} {'x' * 20}\n")
        stream.flush()
    files = sorted(entry.name for entry in tmp_path.iterdir())
    assert files == ["runner.log", *(f"runner.log.{n}" for n in range(1, KEPT + 1))]
    assert file.stat().st_size < 1_200 and all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in files)
    whole = "".join((tmp_path / name).read_text() for name in reversed(files))
    numbers = [int(line.split()[0]) for line in whole.splitlines()]
    assert numbers == list(range(numbers[0], 400)), "nothing of what is kept is missing or twice"
    assert CANARY not in whole and "***" in whole


def test_a_large_log_is_put_aside_before_a_runner_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "LARGEST", 10)
    file = tmp_path / "runner.log"
    for text in (b"the first, long enough", b"the second, long enough", b"short"):
        with open_log(file) as log:
            log.write(text)
    assert file.read_bytes() == b"short"
    assert (tmp_path / "runner.log.1").read_bytes() == b"the second, long enough"
    assert (tmp_path / "runner.log.2").read_bytes() == b"the first, long enough"


def test_alerts_begin_anew_and_hold_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts_module, "LARGEST", 2_000)
    mask = mask_of(Secret(CANARY))
    with (
        open(tmp_path / "console", "w") as console,
        Alerts(tmp_path, WallClock(), console=console, mask=mask) as alerts,
    ):
        for n in range(60):
            alerts.put("critical", f"{CANARY} {'y' * 80}", key=str(n))
    files = [tmp_path / "alerts.jsonl", *(tmp_path / f"alerts.jsonl.{n}" for n in range(1, KEPT + 1))]
    rows = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    assert [int(row["key"]) for row in rows] == list(range(60 - len(rows), 60)) and len(rows) > 40
    assert all(file.stat().st_size < 2_400 for file in files)
    assert not any(CANARY in entry.read_text() for entry in tmp_path.iterdir())


class Keyring(types.ModuleType):
    """A keyring that has one key, or fails."""

    def __init__(self, found: str | None = None, error: Exception | None = None) -> None:
        super().__init__("keyring")
        self._found, self._error = found, error

    def get_password(self, service: str, account: str) -> str | None:
        assert service == "flea_lab"
        if self._error is not None:
            raise self._error
        return self._found if account == "main" else None


class NoKeyringError(Exception):
    """As keyring's own."""


@pytest.fixture
def no_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)


@pytest.mark.usefixtures("no_environment")
def test_the_keyring_is_asked_where_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", Keyring(f"{CANARY}\n"))
    assert load_key("main").reveal() == CANARY == load_kill_key("main").reveal()
    with pytest.raises(ConfigError, match="no key for account 'b'"):
        load_key("b")
    store_key("main", Secret("pf_file"))
    assert load_key("main").reveal() == "pf_file", "a file comes first: it is there at once"
    key_file("main").unlink()
    monkeypatch.setitem(sys.modules, "keyring", Keyring("two words"))
    with pytest.raises(ConfigError, match="the keyring's flea_lab main: 9 characters that are no API key"):
        load_key("main")


@pytest.mark.usefixtures("no_environment")
def test_a_keyring_that_is_not_there_or_locked_is_said_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # as where the extra is not installed
    with pytest.raises(ConfigError, match="no key for account 'main'"):
        load_key("main")
    monkeypatch.setitem(sys.modules, "keyring", Keyring(error=NoKeyringError("none")))
    with pytest.raises(ConfigError, match="no key for account 'main'"):
        load_key("main")
    monkeypatch.setitem(sys.modules, "keyring", Keyring(error=RuntimeError(CANARY)))
    with pytest.raises(ConfigError, match=r"the keyring does not answer \(RuntimeError\): unlock it") as raised:
        load_key("main")
    assert CANARY not in str(raised.value)

"""`flea sandbox` and `flea faucet` as a person types them."""

import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli import app, main
from flea_lab.live.keys import key_file, load_key

CONFIG = """
symbols = ["BTCUSDT"]
interval = "1m"
signals = [{ kernel = "rsi_reversion" }]
data = { venue = "synthetic" }
"""


def fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Runs `main` as the console script does; asserts exit status 2 and returns the one line on stderr."""
    monkeypatch.setattr(sys, "argv", ["flea", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("flea: ") and "\n" not in said
    return said


@pytest.fixture
def config(home: Path) -> str:
    """A configuration on two synthetic days, stored."""
    made = CliRunner().invoke(app, ["data", "synth", "--symbol", "BTCUSDT", "--bars", "2880"])
    assert made.exit_code == 0, made.output
    file = home / "one.toml"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture
def playing(config: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A sandbox in a process of its own, and its first line."""
    words = [sys.executable, "-m", "flea_lab", "sandbox", config, "--port", "0", "--days", "0.5"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None and process.stderr is not None
    try:
        assert select.select([process.stdout], [], [], 60)[0], "the sandbox said nothing"
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_sandbox_says_where_it_is_and_what_it_plays_and_ends_quietly(
    playing: tuple["subprocess.Popen[str]", str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, line = playing
    found = re.fullmatch(
        r"sandbox  (http://127\.0\.0\.1:\d+/trading-api)  "
        r"plays 720 bars of BTCUSDT 1m from 2025-01-02T12:00:00Z to 2025-01-02T23:59:00Z\n",
        line,
    )
    assert found, line
    claimed = CliRunner().invoke(app, ["faucet", "--url", found[1], "--account", "demo"])
    assert claimed.exit_code == 0, claimed.output
    file, key = key_file("demo"), load_key("demo").reveal()
    assert claimed.output == f"account  demo-1\ncredit   100000.000000 USD of play money\nkey      {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "is there already: --replace" in fails(capsys, monkeypatch, "faucet", "--url", found[1], "--account", "demo")
    assert load_key("demo").reveal() == key
    again = CliRunner().invoke(app, ["faucet", "--url", found[1], "--account", "demo", "--replace"])
    assert "demo-2" in again.output and load_key("demo").reveal() != key
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "sandbox  stopped, its accounts are gone\n", "")


def test_a_taken_port_is_one_line(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} on 127.0.0.1 is in use" in fails(
            capsys, monkeypatch, "sandbox", config, "--port", port, "--days", "0.1"
        )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--pace", "fast"), "pace = 'fast': must be acked or a number from 1 to 1000"),
        (("--pace", "0"), "pace = 0.0: expected `float` >= 1.0"),
        (("--matching", "best"), "matching = 'best': must be one of 'next_open', 'book'"),
        (("--start", "2026-01-01"), "no bar opens from 2026-01-01T00:00:00 on for 1 days"),
        (("--latency-ms", "5"), "latency_ms (5) needs matching 'book'"),
    ],
)
def test_a_sandbox_that_cannot_be_is_one_line(
    config: str,
    words: tuple[str, ...],
    error: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert error in fails(capsys, monkeypatch, "sandbox", config, *words)


@pytest.mark.usefixtures("home")
def test_a_faucet_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/trading-api"
        assert f"no faucet at {url}: " in fails(capsys, monkeypatch, "faucet", "--url", url)
    assert "no faucet at nowhere" in fails(capsys, monkeypatch, "faucet", "--url", "nowhere")

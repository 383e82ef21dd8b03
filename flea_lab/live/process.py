"""Processes of their own: detached from the notebook that starts them, with a small environment and a log file."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

import flea_lab
from flea_lab.clock import Stopwatch, WallClock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import private_folder
from flea_lab.live.secrecy import LARGEST, make_room
from flea_lab.workspace import workspace, write_whole

if TYPE_CHECKING:
    from flea_lab.config import RunConfig

# What a runner may know of where it was started. A key is not among them: it is read from its file.
PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME",
    "FLEA_DATA_DIR", "FLEA_OFFLINE", "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES",
)  # fmt: skip

POLL_S = 0.05
SERVING = "sandbox  http://127.0.0.1:"


def minimal_environment() -> dict[str, str]:
    """The environment of a detached process: this workspace, this package, and what is listed in `PASSED_ON`."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    package = str(Path(flea_lab.__file__).resolve().parents[1])  # the same code there as here
    before = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = os.pathsep.join([package, *(entry for entry in before if entry != package)])
    return {**kept, "FLEA_HOME": str(workspace().root), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def start_detached(
    words: Sequence[str], log: IO[bytes], folder: Path, *, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """The process of `python WORDS...`, in a session of its own: no interrupt or exit of this one reaches it.

    It works in `folder`, reads nothing, writes to `log`, makes files for its owner only and inherits no descriptor.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=True,
        cwd=folder,
        umask=0o077,
        env=dict(minimal_environment() if environment is None else environment),
    )
    # Takes note of its end as soon as it comes, so that no dead process looks alive.
    threading.Thread(target=process.wait, name=f"end of {process.pid}", daemon=True).start()
    return process


def open_log(file: Path) -> IO[bytes]:
    """`file`, open for appending, readable by its owner only; one that is too large begins anew, the last are kept."""
    try:
        if file.exists() and file.stat().st_size > LARGEST:
            make_room(file)
            file.rename(f"{file}.1")
        return open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        raise WorkspaceError(f"log {file}: cannot be opened ({error.strerror})") from None


def last_line(log: Path, start: int = 0) -> str:
    """The last line in `log` after byte `start` that is not empty."""
    try:
        with log.open("rb") as opened:
            opened.seek(max(start, log.stat().st_size - 64 * 1024))
            lines = [line.strip() for line in opened.read().decode(errors="replace").splitlines()]
    except OSError as error:
        return f"its log {log} cannot be read ({error.strerror})"
    return next((line for line in reversed(lines) if line), "it said nothing")


def config_file(config: "RunConfig | Path | str", folder: Path, name: str) -> Path:
    """The absolute path of a config: its file as it stands, or the config written to `folder/name`."""
    if isinstance(config, str | Path):
        file = Path(config).expanduser().absolute()
        if not file.is_file():
            raise ConfigError(f"config {config}: no such file")
        return file
    from flea_lab.runs import to_toml

    file = folder / name
    try:
        write_whole(file, to_toml(config.to_dict()).encode(), mode=0o600)
    except OSError as error:
        raise WorkspaceError(f"config {file}: cannot be written ({error.strerror})") from None
    return file


class SandboxProcess:
    """A sandbox exchange on this machine. `url` is the base of its REST; it ends with `stop` or with a `with` block."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self._process = process
        self.url = url
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it: asked for first, after 5 s by force."""
        end(self._process)

    def __enter__(self) -> "SandboxProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"SandboxProcess({self.url}, {'alive' if self.alive else 'ended'}, pid {self.pid})"


def end(process: "subprocess.Popen[bytes]", wait_s: float = 5.0) -> None:
    """Sees to the end of `process`: SIGTERM, and after `wait_s` SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()


def start_sandbox(
    config: "RunConfig | Path | str",
    *,
    port: int = 0,
    pace: str | float = "acked",
    days: float | None = None,
    options: Mapping[str, object] | None = None,
    wait_s: float = 120.0,
) -> SandboxProcess:
    """A sandbox exchange that plays the market of `config` from the store, once it listens.

    `pace` is "acked" (the market waits for its client) or how many times faster than recorded; `options` are further
    options of `flea sandbox` by name, such as `{"matching": "book"}`. `WorkspaceError` says why it did not start.
    """
    workspace().ready()
    folder = private_folder(workspace().root / "sandbox")
    name = WallClock().new_id()
    file, log = config_file(config, folder, f"{name}.toml"), folder / f"{name}.log"
    chosen = {"port": port, "pace": pace, "days": days, **(options or {})}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in chosen.items() if value is not None]
    with open_log(log) as opened:
        process = start_detached(["-m", "flea_lab", "sandbox", str(file), *flags], opened, folder)
    try:
        return SandboxProcess(process, _address(process, log, wait_s), log)
    except BaseException:
        end(process)
        raise


def _address(process: "subprocess.Popen[bytes]", log: Path, wait_s: float) -> str:
    watch, pause = Stopwatch(), threading.Event()
    while watch.elapsed_s() < wait_s:
        ended = process.poll() is not None
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if line.startswith(SERVING) and line.endswith("\n"):
                return line.split()[1]
        if ended:
            raise WorkspaceError(f"the sandbox did not start: {last_line(log)} (log {log})")
        pause.wait(POLL_S)
    raise WorkspaceError(f"the sandbox did not say its address within {wait_s:g} s: {last_line(log)} (log {log})")

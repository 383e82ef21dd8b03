"""Where a researcher's own files live: `FLEA_HOME`, by default `.flea/` in the working folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from flea_lab.errors import WorkspaceError

FOLDERS = ("store", "runs", "promoted", "signals", "tapes", "journals")


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace. Nothing is created until `ready` is called."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def promoted(self) -> Path:
        return self.root / "promoted"

    @property
    def signals(self) -> Path:
        return self.root / "signals"

    @property
    def tapes(self) -> Path:
        return self.root / "tapes"

    def ready(self) -> "Workspace":
        """This workspace with its folders made, writable by their owner only; `WorkspaceError` where that fails."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for name in FOLDERS:
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"workspace {self.root} cannot be made: {error.strerror} (set FLEA_HOME)") from None
        if not os.access(self.root, os.W_OK):
            raise WorkspaceError(f"workspace {self.root} is not writable (set FLEA_HOME)")
        return self


def workspace() -> Workspace:
    """The workspace that the environment names; its path is absolute. `WorkspaceError` where a file has its place."""
    root = Path(os.environ.get("FLEA_HOME") or ".flea").expanduser().absolute()
    if root.is_file():
        raise WorkspaceError(f"workspace {root} is a file, not a folder (set FLEA_HOME)")
    return Workspace(root)


def write_whole(file: Path, content: bytes, *, mode: int = 0o666) -> None:
    """`file` with `content`, whole or not at all: written beside it, flushed, then renamed over it.

    An `OSError` leaves what was there. The caller has the folder to itself, so the name beside it is nobody else's.
    `mode` is what a new file may be used for, less what the umask forbids.
    """
    temp = file.with_name(f"{file.name}.part")
    try:
        with open(temp, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temp, file)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise

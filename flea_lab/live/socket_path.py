"""Where a control socket lies, and who may be at its other end."""

import hashlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

from flea_lab.errors import WorkspaceError
from flea_lab.workspace import write_whole

LONGEST = 100  # bytes; AF_UNIX ends at 108, on some systems at 104


def socket_path(folder: Path) -> Path:
    """The path of the socket for the account in `folder`: short, in a folder of this user alone, 0700.

    Below XDG_RUNTIME_DIR where there is one, else below the system's folder for temporary files.
    """
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    tried = []
    for place in _places():
        path = place / f"{name}.sock"
        if len(os.fsencode(path)) > LONGEST:
            tried.append(f"{place} is too long")
            continue
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                tried.append(f"{place} belongs to another user")
                continue
            if found.st_mode & 0o077:
                place.chmod(0o700)
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
            continue
        return path
    raise WorkspaceError(f"no folder for a control socket: {'; '.join(tried)} (set XDG_RUNTIME_DIR to a short folder)")


def _places() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    own = [Path(runtime) / "flea"] if runtime and Path(runtime).is_absolute() else []
    return [*own, Path(tempfile.gettempdir()) / f"flea-{os.geteuid()}"]


def peer_is_ours(sock: socket.socket) -> bool:
    """Whether the process at the other end is of this user, or root's; the folder's mode decides where none can say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", said)
    return uid in (os.geteuid(), 0)


def write_private(file: Path, text: str) -> None:
    """`file` with `text`, whole, readable by its owner only; `WorkspaceError` where that fails."""
    try:
        write_whole(file, text.encode(), mode=0o600)
    except OSError as error:
        raise WorkspaceError(f"{file}: cannot be written ({error.strerror})") from None

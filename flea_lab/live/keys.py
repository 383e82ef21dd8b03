"""API keys: one file an account in `FLEA_HOME/keys/`, 0600 in a 0700 folder, the system's keyring, or the environment.

Only a runner's process and `flea kill` read them.
"""

import importlib
import os
from pathlib import Path

from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import check_account, private_folder
from flea_lab.secret import Secret
from flea_lab.workspace import workspace

VARIABLE = "FLEA_API_KEY"
SERVICE = "flea_lab"
PRIVATE = 0o600


def key_file(account: str) -> Path:
    """Where the key of `account` is kept, whether it is there or not."""
    return workspace().root / "keys" / f"{check_account(account)}.key"


def load_kill_key(account: str) -> Secret:
    """The key that may only cancel, `keys/ACCOUNT.kill.key`, where there is one, else the key of `account`."""
    file = key_file(account).with_suffix(".kill.key")
    return secret_in_file(file, _missing(account)) if file.exists() else load_key(account)


def load_key(account: str) -> Secret:
    """The key of `account`: what FLEA_API_KEY holds, else its file, else what the system's keyring has for it.

    `ConfigError` where there is none, where it is no key, or where others than its owner can read the file; never
    with the key in it.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Secret(sound_secret(named, VARIABLE))
    file = key_file(account)
    if not file.exists():
        kept = secret_in_keyring(account)
        if kept is not None:
            return kept
    return secret_in_file(file, _missing(account))


def _missing(account: str) -> str:
    return (
        f"no key for account {account!r}: flea faucet --account {account} gets one from a sandbox, "
        f"or put yours in {key_file(account)} (chmod 600)"
    )


def secret_in_keyring(name: str) -> Secret | None:
    """What the keyring has for `name` under the service `flea_lab`; None where it has none, or there is no keyring."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None  # the extra `keys` is not installed
    try:
        found = keyring.get_password(SERVICE, name)
    except Exception as error:  # whatever a backend raises: said without its words, which may hold anything
        if type(error).__name__ == "NoKeyringError":
            return None
        raise ConfigError(f"the keyring does not answer ({type(error).__name__}): unlock it, or use a file") from None
    return None if found is None else Secret(sound_secret(found.strip(), f"the keyring's {SERVICE} {name}"))


def secret_in_file(file: Path, missing: str) -> Secret:
    """What `file` holds, one line that its owner alone may read; `ConfigError`, which says `missing` where it is not
    there."""
    try:
        with open(file, encoding="ascii") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & 0o077:
                raise ConfigError(f"key {file} can be read by others (mode {mode & 0o777:04o}): chmod 600 {file}")
            text = opened.read(4096)
    except FileNotFoundError:
        raise ConfigError(missing) from None
    except UnicodeDecodeError:
        raise ConfigError(f"key {file}: must be one line of ASCII") from None
    except OSError as error:
        raise ConfigError(f"key {file}: cannot be read ({error.strerror})") from None
    return Secret(sound_secret(text.strip(), f"key {file}"))


def store_key(account: str, key: Secret, *, replace: bool = False) -> Path:
    """The file that now holds `key`, 0600 in a 0700 folder, whole or not at all; one that is there needs `replace`."""
    file = key_file(account)
    text = sound_secret(key.reveal(), f"the key of account {account!r}")
    workspace().ready()
    private_folder(file.parent)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="ascii") as out:
            out.write(f"{text}\n")
            out.flush()
            os.fsync(out.fileno())
        if replace:
            os.replace(part, file)
        else:
            os.link(part, file)  # fails where there is one, unlike a rename
    except FileExistsError:
        raise ConfigError(f"key {file} is there already: replace it only if its account is no longer needed") from None
    except OSError as error:
        raise WorkspaceError(f"key {file}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)
    return file


def sound_secret(text: str, place: str) -> str:
    """`text` where it can stand in a header; it is not repeated where it cannot."""
    if not text or not text.isascii() or not text.isprintable() or " " in text or len(text) > 1000:
        raise ConfigError(f"{place}: {len(text)} characters that are no API key; expected one word of 1 to 1000, ASCII")
    return text

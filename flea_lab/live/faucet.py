"""A funded key from a sandbox's faucet: kept for the runner in a private file, never shown."""

import asyncio
import threading
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct

from flea_lab.errors import ConfigError, VenueError
from flea_lab.live.keys import key_file, store_key
from flea_lab.secret import Secret

TIMEOUT_S = 10.0
MAX_ANSWER = 65_536


class Claimed(Struct, frozen=True, kw_only=True):
    """What the faucet opened: the account's name at the venue, its credit in USD, and where its key is kept."""

    account_id: str
    credited: str
    file: Path


def claim_key(url: str, account: str = "main", *, replace: bool = False) -> Claimed:
    """A new account of play money at the sandbox whose REST base is `url`; its key is kept under `account`.

    `ConfigError` where a key is there already and `replace` is not given; `VenueError` where there is no faucet. Also
    from a notebook, whose own loop is running: the question is asked in a thread of its own.
    """
    file = key_file(account)
    if file.exists() and not replace:
        raise ConfigError(f"key {file} is there already: --replace claims a new account in its place")
    answered: list[dict[str, str | int]] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            answered.append(asyncio.run(_claim(url, account)))
        except Exception as error:  # carried over to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=ask, name="faucet")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    [claimed] = answered
    held = store_key(account, Secret(str(claimed["api_key"])), replace=replace)
    return Claimed(account_id=str(claimed["account_id"]), credited=str(claimed["credited"]), file=held)


async def _claim(url: str, account: str) -> dict[str, str | int]:
    """The faucet's answer; `VenueError` where there is none or it is no answer. It holds a key: never printed."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{url.rstrip('/')}/faucet/claim", json={"agent_id": account}) as answer,
        ):
            status, body = answer.status, await answer.content.read(MAX_ANSWER)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise VenueError(f"no faucet at {url}: {why} (is `flea sandbox CONFIG` running?)") from None
    try:
        claimed = msgspec.json.decode(body, type=dict[str, str | int])
    except msgspec.DecodeError:
        claimed = {}
    if status != 201 or not {"api_key", "account_id", "credited"} <= set(claimed):
        said = claimed.get("message", f"status {status} and no key")
        raise VenueError(f"the faucet at {url} refused: {said}")
    return claimed

"""One way out to a person: Telegram, Discord or a JSON webhook, spoken to by apprise. Its address is a secret.

Rules. An address comes from the environment, a file of its owner's alone, or the system's keyring, never from a config;
it is shown nowhere. Only what was tried is spoken to: `tgram://`, `discord://` (or the webhook's own https address),
`json://` and `jsons://`. Certificates are checked, redirects not followed. With FLEA_OFFLINE=1 only this machine is
spoken to.
"""

import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from flea_lab.errors import ConfigError
from flea_lab.live.keys import secret_in_file, secret_in_keyring, sound_secret
from flea_lab.secret import Secret
from flea_lab.venue.reach import require_reach
from flea_lab.workspace import workspace

VARIABLE = "FLEA_ALERT_"
SPEAKS = {
    "tgram": ("telegram", "NotifyTelegram"),
    "discord": ("discord", "NotifyDiscord"),
    "https": ("discord", "NotifyDiscord"),
    "json": ("custom_json", "NotifyJSON"),
    "jsons": ("custom_json", "NotifyJSON"),
}
"""apprise's plugins, each loaded by itself: to be asked which of its hundred it would take, it loads them all."""

SCHEMES = tuple(scheme for scheme in SPEAKS if scheme != "https")
DISCORD = re.compile(r"^https://(discord|discordapp)\.com/api/webhooks/")
PARTS = re.compile(r"[^A-Za-z0-9_.-]+")
LEAST = 8
"""Letters of a part of an address that is masked by itself, such as a token."""


class NotSent(Exception):
    """A channel did not take a message; says why, without its address."""


class Notifier(Protocol):
    """Hands a message over, or raises `NotSent`. Called in a thread; may block for as long as it likes."""

    def prepare(self) -> object:
        """Makes ready what a first message would have to wait for; `ConfigError` where it never can be sent."""

    def send(self, title: str, body: str) -> None:
        """Sends it now."""


def channel_file(name: str) -> Path:
    """Where the address of channel `name` is kept, whether it is there or not."""
    return workspace().root / "keys" / f"alert-{name}.url"


def load_address(name: str) -> Secret:
    """The address of channel `name`: what FLEA_ALERT_NAME holds, else its file, else what the system's keyring has.

    `ConfigError` where there is none, others can read it, or it is none that is spoken to; never with it in it.
    """
    variable = VARIABLE + name.upper().replace("-", "_")
    held = os.environ.get(variable, "").strip()
    file = channel_file(name)
    if held:
        found = Secret(sound_secret(held, variable))
    else:
        kept = None if file.exists() else secret_in_keyring(f"alert-{name}")
        missing = f"no address for alert channel {name!r}: put it in {file} (chmod 600) or in {variable}"
        found = kept or secret_in_file(file, missing)
    text = found.reveal()
    if urlsplit(text).scheme not in SCHEMES and not DISCORD.match(text):
        raise ConfigError(f"alert channel {name!r}: its address begins with none of {'://, '.join(SCHEMES)}://")
    return found


def parts_of(address: Secret) -> list[Secret]:
    """What must not be shown of `address`: itself, and every part of it that is long enough for a token."""
    text = address.reveal()
    scheme, _, rest = text.partition("://")
    secret = rest if scheme in ("tgram", "discord") else rest.partition("/")[2]  # there the host is no token
    found = [part for part in PARTS.split(secret) if len(part) >= LEAST and part != "webhooks"]
    return [address, *(Secret(part) for part in sorted(found, key=len, reverse=True))]


class AppriseNotifier:
    """Speaks to the address of channel `name` with apprise, which is loaded with the first message or `prepare`."""

    def __init__(self, name: str, address: Secret, limit_s: float) -> None:
        self._name, self._address, self._limit_s = name, address, limit_s
        self._plugin: Any = None

    def prepare(self) -> Any:
        """apprise's plugin for the address; `ConfigError` where apprise is not there or does not understand it."""
        if self._plugin is None:
            text = self._address.reveal()
            module, kind = SPEAKS[urlsplit(text).scheme]
            try:
                found = getattr(importlib.import_module(f"apprise.plugins.{module}"), kind)
            except ImportError:
                raise ConfigError(
                    f"alert channel {self._name!r} needs apprise: pip install 'flea-lab[alerts]'"
                ) from None
            logging.getLogger("apprise").setLevel(logging.CRITICAL)  # what fails is told here, in our words
            read = found.parse_native_url(text) if DISCORD.match(text) else found.parse_url(text)
            try:
                plugin = found(**read)
            except TypeError:  # apprise's word for parts that are missing or malformed; None has none either
                raise ConfigError(f"alert channel {self._name!r}: apprise does not understand its address") from None
            plugin.socket_connect_timeout = plugin.socket_read_timeout = self._limit_s / 2
            plugin.redirects = False
            require_reach([address_of(plugin)], f"alert channel {self._name!r}")
            self._plugin = plugin
        return self._plugin

    def send(self, title: str, body: str) -> None:
        """Sends it; `NotSent` where it was not taken."""
        try:
            plugin = self.prepare()
        except ConfigError as error:
            raise NotSent(str(error)) from None
        if not plugin.notify(title=title, body=body, body_format="text"):
            raise NotSent("its service took no message, or could not be reached")


def address_of(plugin: Any) -> str:
    """The address that a plugin connects to, without the path that holds its token."""
    if plugin.__class__.__name__ == "NotifyJSON":
        return f"http://{plugin.host}"
    return str(plugin.notify_url)

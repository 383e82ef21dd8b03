"""Which addresses may be spoken to: with FLEA_OFFLINE=1 none but this machine's. Pure, but for that variable."""

import ipaddress
import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from flea_lab.errors import ConfigError

VARIABLE = "FLEA_OFFLINE"


def on_loopback(url: str) -> bool:
    """Whether `url` is an address of this machine.

    >>> on_loopback("ws://127.0.0.1:8712/ws"), on_loopback("https://127.0.0.1.exchange.example")
    (True, False)
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_reach(urls: Iterable[str], who: str) -> None:
    """`ConfigError` where FLEA_OFFLINE=1 forbids one of the addresses that `who` would connect to."""
    if os.environ.get(VARIABLE) != "1":
        return
    for url in urls:
        if not on_loopback(url):
            host = urlsplit(url).hostname or url
            raise ConfigError(f"{VARIABLE}=1 forbids the connection of {who} to {host}: nothing was sent")

"""Leave to trade with real money: a sentence that a person types now, about exactly this, for one start.

Rules. The sentence names the venue, the account, the largest order, the largest loss and the code, and ends with a word
that was made up for it, so that none can be kept in a file, a pipe or a notebook's cell. It is valid for one start
within `VALID_S`, of the config and the limits that it names, and asked for only where a person sits. A notebook hands
it to the runner's process in a file of its owner's, which that process takes away before it looks at it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError
from flea_lab.live.phrase import at_terminal
from flea_lab.live.socket_path import write_private

if TYPE_CHECKING:
    from flea_lab.config import RunConfig

LIVE = "live"
"""The venue that is wherever a config's dialect leads, with real money."""

CONSENT = "CONSENT"
VALID_S = 60.0

Ask = Callable[[str], str]
"""Shows a question to a person, and returns what they typed."""


class Terms(Struct, frozen=True, kw_only=True):
    """What a person agrees to; equal where nothing of it has changed."""

    venue: str
    url: str
    account: str
    max_order_usd: float
    max_daily_loss: float
    max_drawdown: float
    config_id: str
    live: str
    code: str

    def sentence(self, word: str) -> str:
        """What is typed. `word` is the one made up for it."""
        return (
            f"trade live on {self.venue} account {self.account} max order {self.max_order_usd:g} USD "
            f"max loss {self.max_daily_loss:.2%} a day {self.max_drawdown:.2%} in all code {self.code[:12]} {word}"
        )


class Consent(Struct, frozen=True, kw_only=True):
    """That a person agreed to `terms`, and when (ns UTC)."""

    terms: Terms
    ts_ns: int


def terms_of(config: "RunConfig", account: str, url: str | None, code: str) -> Terms:
    """What a live session of `config` on `account` would be; `code` is the digest of the code that would trade."""
    from flea_lab.venue.dialects import load_dialect

    dialect = load_dialect(config.live.dialect, f"config {config.name!r}, [live.dialect]")
    return Terms(
        venue=dialect.name,
        url=url or dialect.rest_url,
        account=account,
        max_order_usd=config.risk.max_order_usd,
        max_daily_loss=config.risk.max_daily_loss,
        max_drawdown=config.risk.max_drawdown,
        config_id=config.id,
        live=msgspec.json.encode(config.live).decode(),
        code=code,
    )


def agreed(terms: Terms, clock: Clock, ask: Ask = input, *, notebook: bool = False) -> Consent:
    """That the person here has typed the sentence about `terms`; `ConfigError` where nobody is here, or they did not.

    `notebook` lets the kernel ask, which it can only where somebody looks at the page.
    """
    if not (at_terminal() or (notebook and in_kernel())):
        raise ConfigError("trading live is confirmed by a person at a terminal or in a notebook: nobody is here to ask")
    sentence, began = terms.sentence(clock.new_id()[:4]), clock.now_ns()
    try:
        typed = ask(f"real money: orders go to {terms.url}. Within {VALID_S:g} s type\n  {sentence}\n")
    except (EOFError, NotImplementedError):  # a kernel that nobody looks at raises the latter
        raise ConfigError("trading live is confirmed by a person, and nobody answered") from None
    now = clock.now_ns()
    if not 0 <= now - began <= VALID_S * 1e9:
        raise ConfigError(f"not confirmed within {VALID_S:g} s: nothing was started")
    if " ".join(typed.split()) != sentence:
        raise ConfigError("not confirmed: what was typed is not the sentence; nothing was started")
    return Consent(terms=terms, ts_ns=now)


def in_kernel() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def hand_over(folder: Path, consent: Consent) -> Path:
    """The file that hands `consent` to the runner of the account in `folder`."""
    write_private(folder / CONSENT, msgspec.json.encode(consent).decode() + "\n")
    return folder / CONSENT


def taken(folder: Path) -> Consent | None:
    """The consent that was handed over, once: its file is gone by now. None where there is none that can be read."""
    file = folder / CONSENT
    try:
        raw = file.read_bytes()
        file.unlink()
        return msgspec.json.decode(raw, type=Consent)
    except (OSError, ValueError, RecursionError):
        return None


def require_consent(consent: Consent | None, terms: Terms, clock: Clock) -> None:
    """Refuses to trade live where nobody agreed to just these terms within `VALID_S`."""
    if consent is None:
        raise ConfigError("trading live needs a person's typed confirmation for every start: none was given")
    age_s = (clock.now_ns() - consent.ts_ns) / 1e9
    if not 0 <= age_s <= VALID_S:
        raise ConfigError(f"the confirmation is {age_s:.0f} s old, at most {VALID_S:g} s may be: nothing was started")
    if consent.terms != terms:
        names = [name for name in Terms.__struct_fields__ if getattr(consent.terms, name) != getattr(terms, name)]
        raise ConfigError(f"{', '.join(names)} changed since it was confirmed: nothing was started")

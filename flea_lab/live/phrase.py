"""What a person types before anything may add risk: sentences that name what is decided, which no habit types."""

import sys
from collections.abc import Callable, Sequence

from flea_lab.errors import ConfigError

Typed = Callable[[str], str]
"""Shows a question to the person at the terminal; what they type."""


def clearing_phrase(account: str, latches: Sequence[str]) -> str:
    """What a person types to clear `latches` of `account`.

    >>> clearing_phrase("main", ["kill_switch", "drawdown"])
    'clear kill_switch and drawdown of main'
    """
    return f"clear {' and '.join(latches)} of {account}"


def order_phrase(account: str, side: str, usd: float, symbol: str) -> str:
    """What a person types to give an order by hand on `account`.

    >>> order_phrase("main", "buy", 2500.0, "BTCUSDT")
    'buy 2500.00 USD of BTCUSDT on main'
    """
    return f"{side} {usd:.2f} USD of {symbol} on {account}"


def at_terminal() -> bool:
    """Whether a person can be asked: neither a job of cron nor a notebook that papermill runs has one."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def required(phrase: str, given: str | None, typed: Typed, what: str) -> str:
    """`phrase`, which `given` is, or the person at the terminal types; `ConfigError` where neither does."""
    if given is None and not at_terminal():
        raise ConfigError(f"{what}: nobody is there to type it, so it is not done; a person gives phrase={phrase!r}")
    if (typed(f"type '{phrase}' to confirm") if given is None else given).strip() != phrase:
        raise ConfigError(f"{what}: not confirmed, the phrase is {phrase!r}; nothing was changed")
    return phrase

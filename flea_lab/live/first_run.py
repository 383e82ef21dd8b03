"""The first orders with real money are small: a cap on what an account sends until it has sent some.

Rules. The cap is looked at once, when a session starts, and holds for all of it: what has become allowed since needs
another start, and a person's confirmation of that. Sizes are shrunk to it, and the guard of the order size refuses
what is larger all the same. What was sent before and cannot be counted was not sent.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from flea_lab.config import RunConfig
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import JOURNAL
from flea_lab.live.store import open_read_only
from flea_lab.money import USD

CAPPED = "capped"
"""What the limits of a first session are called in its journal."""


def sent_before(folder: Path) -> int:
    """How many orders the account in `folder` has had so far; 0 where nobody can tell."""
    try:
        with closing(open_read_only(folder / JOURNAL)) as db:
            return int(db.execute("SELECT count(*) FROM orders").fetchone()[0])
    except (WorkspaceError, sqlite3.Error):
        return 0


def is_first(config: RunConfig, folder: Path) -> bool:
    """Whether the account in `folder` has sent fewer orders than the config's `live.first_orders`."""
    return sent_before(folder) < config.live.first_orders


def capped(config: RunConfig, cash_uusd: int) -> RunConfig:
    """`config` with no order larger than its `live.first_order_usd`, for an account of `cash_uusd` micro-dollars."""
    most_usd = config.live.first_order_usd
    share = min(config.sizing.base_fraction, most_usd / (cash_uusd / USD)) if cash_uusd > 0 else 0.0
    return replace(
        config,
        risk=replace(config.risk, max_order_usd=min(config.risk.max_order_usd, most_usd)),
        sizing=replace(config.sizing, base_fraction=share),
    )

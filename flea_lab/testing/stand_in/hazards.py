"""What can go wrong at the published server, by name, and which of it does at a request: seeded, counted. Pure."""

from collections import Counter
from typing import Annotated

import numpy as np
from msgspec import Meta, field

from flea_lab.settings import Settings

Share = Annotated[float, Meta(ge=0.0, le=1.0, description="share of the requests")]

POSTS: dict[str, str] = {
    "limited": "a bare 429, nothing done",
    "definite": "400 in words that prove that nothing was done",
    "invalid_json": "400 invalid_json, nothing done",
    "venue_429": "the exchange's 429 as 400 trade_failed, nothing done",
    "unfilled": "400 trade_failed, not filled (may have been placed as resting), nothing done",
    "before_500": "500 internal_error, nothing done",
    "before_502": "an HTML page, nothing done",
    "before_lost": "the connection ends, nothing done",
    "late": "the connection ends, and it is carried out later",
    "after_400": "carried out, then 400 trade_failed: is not valid JSON; no row",
    "after_invalid": "carried out, then 400 invalid_json; no row",
    "after_502": "carried out, then an HTML page; no row",
    "after_lost": "carried out, then the connection ends",
    "after_broken": "carried out, then half an answer of 200",
    "no_id": "carried out, answered without the exchange's id",
    "partial": "carried out in half, answered like a whole one",
}
"""Of requests that open or close."""

STALL = "stall"
"""One more, which takes as long as the client's patience: carried out, and not answered at all."""

GETS: dict[str, str] = {
    "outage_400": "400 invalid_json for a question",
    "outage_503": "503 for a question",
    "database": "positions from the server's own rows",
    "null_row": "positions without the row that would close them",
}

INFOS: dict[str, str] = {
    "429": "the exchange's 429, body null",
    "502": "the exchange's HTML page",
    "stale": "the answer before the last",
}

AFTER = frozenset(name for name in POSTS if name.startswith("after_")) | {"no_id", "partial"}
"""Those in which the order is carried out at once."""


class Hazards(Settings, frozen=True, kw_only=True):
    """How often each thing goes wrong, as shares of the requests of its kind, by name; and what always does.

    `tick_rule`: prices are not rounded to the exchange's grid, as in the published code, so that nearly no order is
    taken. `builder_fee`: the account never approved the builder's fee. `limits`: 30 openings and closes a minute.
    """

    seed: int = 0
    posts: dict[str, Share] = field(default_factory=dict)
    gets: dict[str, Share] = field(default_factory=dict)
    infos: dict[str, Share] = field(default_factory=dict)
    tick_rule: bool = False
    builder_fee: bool = False
    limits: bool = True


def every(share: float, seed: int) -> Hazards:
    """Every hazard of a request, all equally often: together `share` of the requests of each kind."""
    return Hazards(
        seed=seed,
        posts=dict.fromkeys(POSTS, share / len(POSTS)),
        gets=dict.fromkeys(GETS, share / len(GETS)),
        infos=dict.fromkeys(INFOS, share / len(INFOS)),
    )


class Dice:
    """Draws what goes wrong, the same of the same seed; `counts` what did."""

    def __init__(self, hazards: Hazards) -> None:
        self.hazards = hazards
        self.counts: Counter[str] = Counter()
        self.quiet = False
        """Whether everything goes well from now on."""
        kinds = (hazards.posts, hazards.gets, hazards.infos)  # each its own: a question more changes no request
        self._kinds = [(shares, np.random.default_rng([hazards.seed, n])) for n, shares in enumerate(kinds)]

    def post(self) -> str:
        """What goes wrong with a request that opens or closes; "" for nothing."""
        return self._drawn(0)

    def get(self) -> str:
        """What goes wrong with a question."""
        return self._drawn(1)

    def info(self, what: str) -> str:  # noqa: ARG002
        """What goes wrong with a question to the exchange."""
        return self._drawn(2)

    def _drawn(self, kind: int) -> str:
        shares, draws = self._kinds[kind]
        if self.quiet or not shares:
            return ""
        draw = float(draws.random())
        for name, share in shares.items():
            if draw < share:
                self.counts[name] += 1
                return name
            draw -= share
        return ""

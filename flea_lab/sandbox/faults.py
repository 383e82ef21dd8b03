"""Faults of a venue on a schedule (pure): which may happen, when each is due, how often each has happened.

Rules. A kind counts the occasions on which it could happen (upgrades, subscriptions, frames of its channels, requests)
over all connections, and its rule picks among them: by chance from the seed, every n-th, the n-th, or the first after
so many seconds of venue time. The same settings and the same occasions give the same faults. Accounts, matching and
what REST says of the past are never touched: only what leaves the sandbox is.
"""

from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta, structs

from flea_lab.settings import Settings

Nth = Annotated[int, Meta(ge=1, le=1_000_000_000, description="an occasion, counted from 1")]
After = Annotated[float, Meta(ge=0.0, le=1e9, description="seconds of venue time since playing began")]
Chance = Annotated[float, Meta(ge=0.0, le=1.0, description="a share of the occasions")]
Amount = Annotated[float, Meta(gt=-1e6, lt=1e6, description="how much, in the kind's own unit")]

UPGRADE = ("upgrade_401", "upgrade_403", "upgrade_429", "upgrade_503")
SUBSCRIBE = ("unacknowledged", "half_acknowledged")
LINK = ("close_1000", "close_1001", "reset", "silence", "deaf")
PUSH = ("gap", "duplicate", "out_of_order", "time_regress", "clock_skew", "time_seconds")
CANDLE = ("partial_resent", "missing_minute", "late_correction", "complete_omitted", "late_close")
BOOK = ("book_crossed", "book_empty", "book_zero", "book_deep", "book_unsorted", "book_strings")
FLOW = ("frozen",)
PRICE = ("price_spike", "price_zero", "price_negative", "price_nan")
TRADES = ("burst",)
REST = ("rest_429", "rest_429_bare", "rest_500", "rest_502", "rest_503", "rest_outage")
KINDS = (*UPGRADE, *SUBSCRIBE, *LINK, *PUSH, *CANDLE, *BOOK, *FLOW, *PRICE, *TRADES, *REST)

AMOUNT = {"time_regress": 5.0, "clock_skew": 5.0, "price_spike": 10.0, "burst": 20_000.0}
"""Seconds back, seconds ahead, times the price, trades, where a rule does not say."""

LASTS = {"clock_skew": 50, "time_seconds": 50, "frozen": 30}
"""Frames that a lasting fault lasts, where a rule does not say."""


class FaultRule(Settings, frozen=True, kw_only=True):
    """When one kind happens: exactly one of `probability`, `every`, `at` (n-th occasions) and `at_s`.

    `most` limits how often. `amount` and `lasts` (frames) belong to the kinds that have a size or a length.
    """

    probability: Chance | None = None
    every: Nth | None = None
    at: tuple[Nth, ...] = ()
    at_s: tuple[After, ...] = ()
    most: Nth | None = None
    amount: Amount | None = None
    lasts: Nth | None = None

    def __post_init__(self) -> None:
        said = [self.probability is not None, self.every is not None, bool(self.at), bool(self.at_s)]
        if sum(said) != 1:
            raise ValueError("a fault needs exactly one of probability, every, at, at_s")


class FaultRules(Settings, frozen=True, kw_only=True):
    """A rule for each kind that shall happen."""

    upgrade_401: FaultRule | None = None
    upgrade_403: FaultRule | None = None
    upgrade_429: FaultRule | None = None
    upgrade_503: FaultRule | None = None
    unacknowledged: FaultRule | None = None
    half_acknowledged: FaultRule | None = None
    close_1000: FaultRule | None = None
    close_1001: FaultRule | None = None
    reset: FaultRule | None = None
    silence: FaultRule | None = None
    deaf: FaultRule | None = None
    gap: FaultRule | None = None
    duplicate: FaultRule | None = None
    out_of_order: FaultRule | None = None
    time_regress: FaultRule | None = None
    clock_skew: FaultRule | None = None
    time_seconds: FaultRule | None = None
    partial_resent: FaultRule | None = None
    missing_minute: FaultRule | None = None
    late_correction: FaultRule | None = None
    complete_omitted: FaultRule | None = None
    late_close: FaultRule | None = None
    book_crossed: FaultRule | None = None
    book_empty: FaultRule | None = None
    book_zero: FaultRule | None = None
    book_deep: FaultRule | None = None
    book_unsorted: FaultRule | None = None
    book_strings: FaultRule | None = None
    frozen: FaultRule | None = None
    price_spike: FaultRule | None = None
    price_zero: FaultRule | None = None
    price_negative: FaultRule | None = None
    price_nan: FaultRule | None = None
    burst: FaultRule | None = None
    rest_429: FaultRule | None = None
    rest_429_bare: FaultRule | None = None
    rest_500: FaultRule | None = None
    rest_502: FaultRule | None = None
    rest_503: FaultRule | None = None
    rest_outage: FaultRule | None = None


class FaultSettings(Settings, frozen=True, kw_only=True):
    """The faults of one sandbox, by kind; `seed` decides all that is left to chance."""

    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1
    faults: FaultRules = FaultRules()


class RestFault(NamedTuple):
    """What a request is answered with instead of being carried out."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] = {}  # noqa: RUF012  (never changed)


class FaultPlan:
    """The schedule of one sandbox. `counts` says how often each kind has happened, in the order of `KINDS`."""

    def __init__(self, settings: FaultSettings) -> None:
        given = structs.asdict(settings.faults)
        self.rules: dict[str, FaultRule] = {kind: given[kind] for kind in KINDS if given[kind] is not None}
        self.counts = dict.fromkeys(self.rules, 0)
        self.seed = settings.seed
        self._seen, self._owed = dict.fromkeys(self.rules, 0), dict.fromkeys(self.rules, 0)
        self._times = {kind: sorted(rule.at_s) for kind, rule in self.rules.items()}
        self._chance = {kind: np.random.default_rng([settings.seed, KINDS.index(kind)]) for kind in self.rules}

    def __bool__(self) -> bool:
        return bool(self.rules)

    def due(self, kind: str, at_s: float, *, free: bool = True) -> bool:
        """Whether `kind` happens on this occasion, at `at_s` seconds of venue time; it is counted then.

        What is due on an occasion that is not `free` happens on the next one.
        """
        rule = self.rules.get(kind)
        if rule is None:
            return False
        seen = self._seen[kind] = self._seen[kind] + 1
        if rule.probability is not None:
            due = bool(self._chance[kind].random() < rule.probability)
        elif rule.every is not None:
            due = seen % rule.every == 0
        elif rule.at:
            due = seen in rule.at
        else:
            times = self._times[kind]
            due = bool(times) and times[0] <= at_s
            if due:
                del times[0]
        self._owed[kind] += due
        if not (free and self._owed[kind]) or (rule.most is not None and self.counts[kind] >= rule.most):
            return False
        self._owed[kind] -= 1
        self.counts[kind] += 1
        return True

    def first(self, kinds: tuple[str, ...], at_s: float) -> str:
        """The one of `kinds` that happens on this occasion, "" for none."""
        found = ""
        for kind in kinds:
            if kind in self.rules and self.due(kind, at_s, free=not found):
                found = kind
        return found

    def amount(self, kind: str) -> float:
        """How much of `kind`, in its own unit."""
        found = self.rules[kind].amount
        return AMOUNT[kind] if found is None else found

    def lasts(self, kind: str) -> int:
        """How many frames `kind` lasts."""
        return self.rules[kind].lasts or LASTS[kind]

    def rest(self, at_s: float) -> RestFault | None:
        """What this request is answered with instead; None where it is carried out."""
        kind = self.first(REST, at_s)
        return _REST[kind] if kind else None

    def upgrade(self, at_s: float) -> int:
        """The status that this upgrade is refused with, 0 where it is not."""
        kind = self.first(UPGRADE, at_s)
        return int(kind.removeprefix("upgrade_")) if kind else 0

    def text(self) -> str:
        """What has happened, for a person.

        >>> FaultPlan(FaultSettings(faults=FaultRules(gap=FaultRule(every=2), reset=FaultRule(at=(1,))))).text()
        'reset 0, gap 0'
        """
        return ", ".join(f"{kind} {count}" for kind, count in self.counts.items())


_LIMITED = b'{"error":"rate_limited","message":"Too many requests. Limit: 30 per 60s"}'
_EXCEEDED = b'{"error":"rate_limit_exceeded","message":"rate limit","limit":100,"window":"60s","retry_after_seconds":1}'
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
_REST = {
    "rest_429": RestFault(
        429,
        _EXCEEDED,
        headers={
            "Retry-After": "1",
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "0",
        },
    ),
    "rest_429_bare": RestFault(429, _LIMITED),
    "rest_500": RestFault(500, b'{"error":"internal_error"}'),
    "rest_502": RestFault(502, _HTML, "text/html"),
    "rest_503": RestFault(503, b'{"error":"orderbook_error","message":"upstream"}'),
    "rest_outage": RestFault(400, b'{"error":"invalid_json","message":"Unexpected token < in JSON at position 0"}'),
}

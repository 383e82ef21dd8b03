"""What a campaign of kills came to: its counts and times, and what a person reads of them."""

import os
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

GOAL_S = {"forked": 3.0, "cold": 3.0, "breach": 0.05, "gone": 10.0}
"""99th percentiles that are asked for, and the most that a halt may take under faults."""


@dataclass
class Tally:
    """What a campaign came to."""

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    halts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    gave_up: Counter[str] = field(default_factory=Counter)
    ready_s: dict[str, list[float]] = field(default_factory=lambda: {"forked": [], "cold": []})
    parts_s: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {"forked": [], "cold": []})
    durable_s: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    gone_later_s: list[float] = field(default_factory=list)
    breach_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    orders = fills = sessions = compared = restarts = 0


def table(tally: Tally) -> str:
    """What a person reads at the end."""

    def count(word: str) -> int:
        return sum(word in line for line in tally.broken)

    lines = [
        ("kills", f"{tally.kills.total()} ({', '.join(f'{n} {how}' for how, n in tally.kills.items())})"),
        ("killed", ", ".join(f"{n} at {moment}" for moment, n in sorted(tally.moments.items()))),
        ("halts", ", ".join(f"{n} by {way}" for way, n in sorted(tally.halts.items())) or "none"),
        ("faults", f"{tally.faults.total()}: {', '.join(f'{kind} {n}' for kind, n in sorted(tally.faults.items()))}"),
        ("starts given up", f"{tally.gave_up.total()}: {dict(tally.gave_up)}"),
        ("sessions", str(tally.sessions)),
        ("equal to the micro-dollar", f"{tally.compared} comparisons, in {tally.restarts} lives that were killed"),
        ("orders, fills", f"{tally.orders}, {tally.fills}"),
        ("duplicates", str(count("duplicate"))),
        ("orphans", str(count("orphan"))),
        ("forgotten halts", str(count("forgotten"))),
        ("unequal accounts", str(count("unequal"))),
        ("anything else", str(len(tally.broken) - sum(map(count, ("duplicate", "orphan", "forgotten", "unequal"))))),
    ]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    lines.append(("machine", f"{os.cpu_count()} cores, load {load}"))
    return "\n".join(
        [
            *(f"{name:<28}{said}" for name, said in lines),
            *(f"slow start: {one}" for one in tally.slow),
            *parts(tally),
            *tally.broken,
        ]
    )


def parts(tally: Tally) -> list[str]:
    """Where the time of the starts went: each part's median and 99th percentile, in seconds."""
    rows = []
    for how, starts in tally.parts_s.items():
        for name in dict.fromkeys(name for start in starts for name in start):
            found = [start.get(name, 0.0) for start in starts]
            p50, p99 = np.percentile(found, [50, 99])
            rows.append(f"{f'{how}: {name}':<28}p50 {p50:.3f} s, p99 {p99:.3f} s, most {max(found):.3f} s")
    return rows


def figures(tally: Tally) -> tuple[list[str], list[str]]:
    """The last lines, and which goals are missed."""
    asked = [
        ("forked: restart to ready", tally.ready_s["forked"], 99, GOAL_S["forked"]),
        ("cold: restart to ready", tally.ready_s["cold"], 99, GOAL_S["cold"]),
        ("breach to durable halt", tally.breach_s, 99, GOAL_S["breach"]),
        ("halt to durable", tally.durable_s, 99, 0.0),
        ("halt to last order gone", tally.gone_s, 100, GOAL_S["gone"]),
        ("the same, killed meanwhile", tally.gone_later_s, 100, 0.0),
    ]
    lines, missed = [], []
    for name, seconds, at, goal in asked:
        if not seconds:
            continue
        p50, p90, p99, most = np.percentile(seconds, [50, 90, 99, 100])
        said = f"p50 {p50:.3f}  p90 {p90:.3f}  p99 {p99:.3f}  most {most:.3f} s, of {len(seconds)}"
        if goal and not float(np.percentile(seconds, at)) <= goal:
            missed.append(f"missed: {name}: {'p99' if at == 99 else 'most'} is to be {goal:g} s at most")
        lines.append(f"{name:<28}{said}")
    return lines, missed

"""What the sections of every report are made of: badges, tiles, notes, digests, settings and guards, in HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from flea_lab import runs
from flea_lab.config import RunConfig
from flea_lab.report.wording import UNDEFINED, minute, number, plural, size, table, tag, text, usd


def badge(label: str, kind: str, title: str) -> str:
    """A badge: `kind` is good, warn or plain."""
    sign = {"good": "✓", "warn": "!", "plain": ""}[kind]
    mark = tag("span", sign, "flea-mark", **{"aria-hidden": "true"}) if sign else ""
    return tag("span", mark + text(label), f"flea-badge flea-{kind}", title=title)


def hidden_state(lines: Sequence[str]) -> str:
    """A badge and, folded away, what no second execution would know, line by line; nothing where there is nothing."""
    if not lines:
        return ""
    said = tag("details", tag("summary", "why") + tag("ul", "".join(tag("li", text(line)) for line in lines)))
    return tag("div", badge("hidden state", "warn", "; ".join(lines)) + said, "flea-badges")


def code_badge(code: runs.CodeState) -> tuple[str, str, str]:
    """Label, kind and title of the badge that says which code ran."""
    if code.dirty is None:
        return "code unversioned", "warn", "git does not know the code that ran"
    commit = commit_of(code)[:10]
    if code.dirty:
        return f"code changed since {commit}", "warn", "flea_lab or notebooks differ from the last commit"
    return f"code {commit}", "good", "the commit that ran, unchanged"


def commit_of(code: runs.CodeState) -> str:
    """The commit, in words where there is none."""
    return code.commit or "no commit"


def tile(label: str, value: str, below: str) -> str:
    """A number with what it is above and what it compares with below."""
    parts = (("flea-label", label), ("flea-value", value), ("flea-below", below))
    return tag("div", "".join(tag("div", part, css) for css, part in parts), "flea-tile")


def note(content: str) -> str:
    """A line below what it explains; HTML already."""
    return tag("p", content, "flea-note")


def digests(rows: list[tuple[str, str]]) -> str:
    """A table of names and digests."""
    return table(("of", "SHA-256"), [(text(a), tag("code", text(b))) for a, b in rows], left=2, css="flea-keys")


def flattened(values: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested plain values as (dotted path, value); a list of scalars is one value, None is "not set"."""
    if isinstance(values, dict):
        return [row for key, value in values.items() for row in flattened(value, f"{path}.{key}" if path else str(key))]
    if isinstance(values, list) and any(isinstance(one, dict) for one in values):
        return [row for n, one in enumerate(values) for row in flattened(one, f"{path}.{n}")]
    if isinstance(values, list):
        return [(path, ", ".join(str(one) for one in values))]
    return [(path, "not set" if values is None else str(values))]


def spaced(name: str) -> str:
    """A name of ours as words: ``order size``, ``VPIN``."""
    return text("VPIN" if name == "vpin" else name.replace("_", " "))


def unbroken(words: str) -> str:
    """Words that stay on one line."""
    return tag("span", text(words), "flea-unbroken")


def made(share: float) -> str:
    """A share gained or lost, as words."""
    if not abs(share) >= 0.0005:
        return "broke even" if share == share else "has no result"
    return f"{'made' if share > 0 else 'lost'} {size(share)}"


def length(days: float) -> str:
    """A time in days as words."""
    if days >= 3:
        return f"{days:.0f} days"
    if 24 * days >= 3:
        return f"{24 * days:.0f} hours"
    return plural(1_440 * days, "minute") if 1_440 * days >= 3 else plural(86_400 * days, "second")


def settings(config: RunConfig) -> str:
    """Every setting of `config`, defaults written out, in groups."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, value in flattened(config.to_dict()):
        group, _, name = path.rpartition(".")
        groups.setdefault(group.removesuffix(".params"), []).append((tag("code", text(name)), text(value)))
    shown = [
        tag("div", tag("h3", text(_group(group, config))) + table(("setting", "value"), rows, left=2), "flea-group")
        for group, rows in groups.items()
    ]
    return tag("div", "".join(shown), "flea-groups")


def guards(found: Sequence[Mapping[str, Any]], counts: Mapping[str, int], first: Mapping[str, int], asked: int) -> str:
    """Each guard with its limit, its input, what it refused and when `first`, ms UTC; below it other checks.

    `found` is from `risk.gate.guards`, `counts` by check, `asked` how many intents there were.
    """
    rows = []
    for guard in found:
        name = guard["guard"]
        state = "applied" if guard["applied"] else f"<strong>not applied</strong>: {text(guard['reason'])}"
        limit = usd(guard["limit"]) if name == "order_size" else number(guard["limit"]) if name == "vpin" else None
        rows.append(
            (
                spaced(name),
                limit or size(guard["limit"]),
                f"{counts.get(name, 0):,}",
                minute(first[name]) if name in first else UNDEFINED,
                state,
                text(guard["input"]),
            )
        )
    shown = table(("guard", "limit", "refused", "first at", "", "input"), rows, css="flea-guards")
    guarded = {guard["guard"] for guard in found}
    others = ", ".join(f"{spaced(name)} {n:,}" for name, n in counts.items() if name not in guarded)
    more = f" Other checks: {others}." if others else ""
    return shown + note(f"{sum(counts.values()):,} of {plural(asked, 'intent')} refused.{more}")


def _group(path: str, config: RunConfig) -> str:
    """What a group of settings is called: the run itself, a section, or a signal by its kernel."""
    steps = path.split(".")
    if steps[0] == "signals" and len(steps) > 1:
        return f"signal {config.signals[int(steps[1])].kernel}"
    return path.replace(".", " ") or "run"

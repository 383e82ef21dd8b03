"""Validated settings: frozen structs whose types carry unit and range, loaded through one door.

msgspec checks ranges only when it converts, never in a constructor, so `load_settings` is the only way in
for values that came from a person.
"""

import difflib
import re
from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from flea_lab.errors import ConfigError

Fraction = Annotated[float, Meta(ge=0.0, le=1.0, description="a share of 1")]
Bars = Annotated[int, Meta(ge=1, le=5_000, description="bars")]
Bps = Annotated[float, Meta(ge=0.0, le=1_000.0, description="basis points")]
Usd = Annotated[float, Meta(gt=0.0, le=1e9, description="USD")]
Weight = Annotated[float, Meta(gt=0.0, le=100.0, description="relative weight")]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every settings struct: frozen, keyword only, a field nobody knows is an error."""


S = TypeVar("S")

_PATH = re.compile(r" - at (`key` in )?`\$(.*)`$")


def load_settings(values: Any, kind: type[S], place: str) -> S:
    """`values` (plain dicts, lists and scalars) as a validated `kind`.

    Refuses unknown fields (with the nearest known name), wrong types and values out of range with a `ConfigError`
    of the form ``fast = 0: expected `int` >= 1 (in demo.toml)``.
    """
    try:
        return msgspec.convert(values, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), values, kind, place)) from None


def _explain(text: str, values: Any, kind: Any, place: str) -> str:
    match = _PATH.search(text)
    path = _named(values, kind, match.group(2).lstrip(".") if match else "")
    reason = _PATH.sub("", text)
    reason = reason[0].lower() + reason[1:]
    if match and match.group(1):
        return f"{path}: the name {_bad_key(values, kind, path)!r}: {reason} (in {place})"
    unknown = re.search(r"unknown field `(.+?)`", reason)
    if unknown:
        name = unknown.group(1)
        where = f"{path}.{name}" if path else name
        return f"{where}: unknown field{_nearest(name, _fields_at(kind, path))} (in {place})"
    missing = re.search(r"missing required field `(.+?)`", reason)
    if missing:
        where = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return f"{where}: required but missing (in {place})"
    found = _value_at(values, path)
    if reason.startswith("invalid enum value"):
        reason = f"must be {_choices(kind, path)}"
    if isinstance(found, Mapping):
        return f"{path + ': ' if path else ''}{reason} (in {place})"
    return f"{path or 'value'} = {found!r}: {reason} (in {place})"


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else f", known are {', '.join(sorted(known))}"


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"[.\[\]]+", path) if step]


def _named(values: Any, kind: Any, path: str) -> str:
    """`path` with the keys of mappings, which msgspec leaves out: of each the first whose value is at fault."""
    while "[...]" in path:
        head, _, tail = path.partition("[...]")
        mapping = _value_at(values, head)
        if not isinstance(mapping, Mapping):
            return path
        inside = _type_at(kind, f"{head}.*")
        path = next((f"{head}.{key}{tail}" for key, value in mapping.items() if not _fits(value, inside)), head)
    return path


def _bad_key(values: Any, kind: Any, path: str) -> str:
    allowed = get_args(_type_at(kind, path))[0]
    return next((str(key) for key in _value_at(values, path) if not _fits(key, allowed)), "")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _value_at(values: Any, path: str) -> Any:
    for step in _steps(path):
        if isinstance(values, Mapping):
            values = values.get(step)
        elif isinstance(values, list) and step.isdigit():
            values = values[int(step)]
        else:
            return values
    return values


def _fields_at(kind: Any, path: str) -> list[str]:
    kind = _type_at(kind, path)
    return [f.encode_name for f in msgspec.structs.fields(kind)] if _is_struct(kind) else []


def _choices(kind: Any, path: str) -> str:
    """The values that stand by name, of a union with a number after that."""
    allowed = _type_at(kind, path)
    members = (allowed,) if get_origin(allowed) is Literal else get_args(allowed)
    named = [repr(value) for one in members if get_origin(one) is Literal for value in get_args(one)]
    other = any(get_origin(one) is not Literal and one is not NoneType for one in members)
    return f"a number or {', '.join(named)}" if other else f"one of {', '.join(named)}"


def _type_at(kind: Any, path: str) -> Any:
    for step in _steps(path):
        if _is_struct(kind):
            kind = next(f.type for f in msgspec.structs.fields(kind) if f.encode_name == step)
        else:  # of a list or tuple what it holds, of a mapping its values
            kind = get_args(kind)[get_origin(kind) in (dict, Mapping)]
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)

"""The page of settings says what the structs say: every setting with its type, range, unit and default."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from flea_lab.backtest.sweep import load_grid, plan
from flea_lab.config import RunConfig, from_dict
from flea_lab.model.market import INTERVAL_MS
from flea_lab.runs import to_toml
from flea_lab.signal.registry import builtin_kernels
from flea_lab.venue.dialects import Dialect, load_dialect
from tests.laws.source import ROOT

PAGE = ROOT / "docs" / "configuration.md"
DIALECTS = ROOT / "docs" / "dialects.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
PLURAL = re.compile(r"\b(name|number|text)\b")
SYMBOL, NAME = "SYMBOL", "NAME"


def value_of(kind: inspect.Type) -> str:
    """Type, range and unit in the words of the page."""
    unit = ""
    if isinstance(kind, inspect.Metadata):
        unit = f", {(kind.extra_json_schema or {}).get('description')}"
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return " or ".join(value_of(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    if isinstance(kind, inspect.LiteralType):
        known = list(INTERVAL_MS)
        values = sorted(kind.values, key=lambda value: known.index(value) if value in known else 0)
        return " or ".join(f'`"{value}"`' for value in values)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        one = value_of(kind.item_type)
        return "list of " + (one if one.startswith("`") else PLURAL.sub(r"\1s", one, count=1))
    if isinstance(kind, inspect.DictType):
        inside = "" if isinstance(kind.value_type, inspect.AnyType) else f", each a {value_of(kind.value_type)}"
        return f"table{inside}"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        name = "whole number" if isinstance(kind, inspect.IntType) else "number"
        low = f" from {kind.ge:,g}" if kind.ge is not None else f" above {kind.gt:,g}" if kind.gt is not None else ""
        high = f" to {kind.le:,.0f}" if kind.le is not None else ""
        return f"{name}{low}{high}{unit}"
    if isinstance(kind, inspect.StrType) and kind.pattern:
        return "name"
    named = {inspect.StrType: "text", inspect.BoolType: "`true` or `false`", inspect.DecimalType: "decimal"}
    return named[type(kind)]


def default_of(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value == {}:
        return "none"
    return f"`{to_toml({'x': str(value) if isinstance(value, Decimal) else value}).removeprefix('x = ').strip()}`"


def settings(kind: inspect.Type, path: str = "") -> dict[str, tuple[str, str]]:
    """Value and default by dotted path of every leaf below a settings struct."""
    found: dict[str, tuple[str, str]] = {}
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        here, below = f"{path}{field.encode_name}", field.type
        if isinstance(below, inspect.VarTupleType) and isinstance(below.item_type, inspect.StructType):
            found |= settings(below.item_type, f"{here}.")
        elif isinstance(below, inspect.DictType) and isinstance(below.value_type, inspect.StructType):
            found |= settings(below.value_type, f"{here}.{NAME if field.encode_name == 'channels' else SYMBOL}.")
        elif isinstance(below, inspect.StructType):
            found |= settings(below, f"{here}.")
        else:
            found[here] = value_of(below), default_of(field)
    return found


def every_setting() -> dict[str, tuple[str, str]]:
    found = settings(inspect.type_info(RunConfig))
    for name, kernel in sorted(builtin_kernels().items()):
        if kernel.is_alpha:
            found |= settings(inspect.type_info(kernel.params), f"{name}.")
    return found


def stated(text: str) -> dict[str, tuple[str, str]]:
    return {name: (value.strip(), default.strip()) for name, value, default, _ in ROW.findall(text)}


def test_the_page_states_every_setting_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert stated(text) == every_setting()
    assert len(ROW.findall(text)) == len(stated(text)), "a setting is stated twice"


def test_a_stale_or_missing_row_would_be_found() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert stated(text.replace("`0.75`", "`0.7`")) != every_setting()
    assert stated(re.sub(r"\| `costs\.fee_bps`.*\n", "", text)) != every_setting()


def every_dialect_setting() -> dict[str, tuple[str, str]]:
    return settings(inspect.type_info(Dialect), "live.dialect.")


def test_the_page_of_dialects_states_every_setting_as_it_is_and_its_example_can_be_loaded() -> None:
    text = DIALECTS.read_text(encoding="utf-8")
    assert stated(text) == every_dialect_setting()
    assert len(ROW.findall(text)) == len(stated(text)), "a setting is stated twice"
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert load_dialect(tomllib.loads(example)["live"]["dialect"], "the page").limits.per_minute == 120


def test_a_stale_or_missing_row_of_a_dialect_would_be_found() -> None:
    text = DIALECTS.read_text(encoding="utf-8")
    assert stated(text.replace("`1200`", "`1300`")) != every_dialect_setting()
    assert stated(re.sub(r"\| `live\.dialect\.limits\.share`.*\n", "", text)) != every_dialect_setting()


def test_the_examples_of_the_page_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_HOME", str(tmp_path))
    first, grid = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[:2]
    config = from_dict(tomllib.loads(first), "the page")
    assert len(plan(config, load_grid(tomllib.loads(grid), "the page")).configs) == 12

"""Plain values as TOML, which the standard library only reads."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


def to_toml(values: Mapping[str, Any]) -> str:
    """Plain values (as `RunConfig.to_dict` gives them) as TOML; None is left out, which is how TOML says it.

    >>> to_toml({"name": "a", "risk": {"limit": 0.5}})
    'name = "a"\\n\\n[risk]\\nlimit = 0.5\\n'
    """
    return "\n".join(_toml_lines(values, "")).lstrip("\n") + "\n"


def _toml_lines(values: Mapping[str, Any], path: str) -> Iterator[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lists = {key: value for key, value in values.items() if _is_table_list(value)}
    for key, value in values.items():
        if value is not None and key not in tables and key not in lists:
            yield f"{_key(key)} = {_toml_value(value)}"
    for key, rows in lists.items():
        for row in rows:
            yield from ("", f"[[{path}{_key(key)}]]", *_toml_lines(row, f"{path}{_key(key)}."))
    for key, table in tables.items():
        yield from ("", f"[{path}{_key(key)}]", *_toml_lines(table, f"{path}{_key(key)}."))


def _is_table_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    return json.dumps(value)  # JSON's strings, numbers and booleans are TOML's

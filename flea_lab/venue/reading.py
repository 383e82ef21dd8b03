"""What somebody else's JSON holds, or one line on why it cannot be believed: where, which field, which value."""

import re
from typing import Any, TypeVar

import msgspec

from flea_lab.errors import VenueError

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""All that reading foreign JSON can raise."""

T = TypeVar("T")

_AT = re.compile(r" - at `\$\.?(.*)`$")


class FrameError(VenueError):
    """A frame or body that cannot be believed; `critical` where what was lost may not be missed."""

    def __init__(self, text: str, critical: bool = False) -> None:
        super().__init__(text)
        self.critical = critical


def read_body(raw: bytes, name: str, kind: type[T], where: str) -> T:
    """What the body holds under `name` (empty: the whole), checked against `kind`; `FrameError` where it does not."""
    try:
        found = msgspec.json.decode(raw)
        if name and (not isinstance(found, dict) or name not in found):
            raise FrameError(f"{where}: the answer holds no {name!r}: {shown(found)}")
        return msgspec.convert(found[name] if name else found, kind, strict=False)
    except FrameError:
        raise
    except UNREADABLE as error:
        fault = explained(error, raw, where, name)
    raise FrameError(fault)


def shown(value: Any) -> str:
    """`value` short enough for one line of an error.

    >>> shown("<html>\\n" + "x" * 100)
    "'<html>\\\\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    text = value if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def explained(error: Exception, raw: bytes, where: str, below: str = "") -> str:
    """One line on why `raw` could not be read: the field, its value and the rule it breaks."""
    match = _AT.search(str(error))
    path = match.group(1) if match else ""
    reason = _AT.sub("", str(error)).replace("`", "")
    try:
        found = msgspec.json.decode(raw)
    except UNREADABLE:
        at = f"{path} " if path else ""
        return f"{where}: {at}cannot be read ({shown(reason)}): {shown(bytes(raw).decode('utf-8', 'replace'))}"
    path = f"{below}{path}" if path.startswith("[") or not path or not below else f"{below}.{path}"
    for step in re.split(r"[.\[\]]+", path):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
    return f"{where}: {path or 'data'} = {shown(found)}: {reason[:1].lower()}{reason[1:]}"


def question(kind: str, **given: Any) -> bytes:
    """The body of a question to `/info`.

    >>> question("l2Book", coin="BTC")
    b'{"type":"l2Book","coin":"BTC"}'
    """
    return msgspec.json.encode({"type": kind, **given})

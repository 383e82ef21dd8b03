"""A value that must never be shown: a key that only the code which sends it can read."""

import hashlib
import hmac
from typing import Any, NoReturn

from flea_lab.errors import ConfigError

MASK = "***"


class Secret:
    """Masked wherever Python could print or store it; `reveal` is the only way to the value.

    >>> str(Secret("pf_live_1")), f"{Secret('pf_live_1'):>5}"
    ('***', '***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()) or " " in value:
            raise ConfigError("a key must be a text of printable ASCII characters without spaces; the one given is not")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        value: str = object.__getattribute__(self, "_value")
        return value

    def fingerprint(self) -> str:
        """The first 12 hex digits of its SHA-256: tells one key from another, and nothing else."""
        return hashlib.sha256(self.reveal().encode()).hexdigest()[:12]

    def masked_in(self, text: str) -> str:
        """`text` with every occurrence of the value masked: a venue may send a key back in its complaint."""
        return text.replace(self.reveal(), MASK)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not stored")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not stored")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not stored")

"""What a parameter may be, read from its type: the law tries both ends, a widget makes a slider of it."""

import math
from typing import Any

import msgspec
from msgspec import Struct

from flea_lab.errors import KernelError
from flea_lab.settings import Settings


class Range(Struct, frozen=True, kw_only=True):
    """One parameter: a number from `low` to `high`, both allowed, or one of `choices` (then both are NaN)."""

    name: str
    default: Any
    low: float = math.nan
    high: float = math.nan
    whole: bool = False
    unit: str = ""
    choices: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values at the ends; every choice of a choice."""
        return self.choices or ((int(self.low), int(self.high)) if self.whole else (self.low, self.high))

    def __str__(self) -> str:
        if self.choices:
            return " or ".join(map(repr, self.choices))
        return f"{self.low:,.6g} to {self.high:,.6g}{', ' if self.unit else ''}{self.unit}"


def ranges(params: type[Settings]) -> tuple[Range, ...]:
    """Every parameter in the order of the settings. `KernelError` names one that is not held on both sides."""
    known = msgspec.inspect.type_info(params)
    assert isinstance(known, msgspec.inspect.StructType)
    return tuple(_range(params, field) for field in known.fields)


def _range(params: type[Settings], field: msgspec.inspect.Field) -> Range:
    kind, unit, place = field.type, "", f"parameter {field.name} of {params.__name__}"
    if isinstance(kind, msgspec.inspect.Metadata):
        unit = str((kind.extra_json_schema or {}).get("description", ""))
        kind = kind.type
    if field.default is msgspec.NODEFAULT:
        raise KernelError(f"{place} has no default value")
    if isinstance(kind, msgspec.inspect.BoolType):
        return Range(name=field.name, default=field.default, choices=(False, True))
    if isinstance(kind, msgspec.inspect.LiteralType):
        return Range(name=field.name, default=field.default, choices=tuple(kind.values))
    if not isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        raise KernelError(f"{place} must be a number, a bool or a Literal")
    whole = isinstance(kind, msgspec.inspect.IntType)
    low, high = _low(kind, whole), _high(kind, whole)
    if low is None or high is None:
        end = "lower" if low is None else "upper"
        raise KernelError(f"{place} has no {end} limit, use Bars, Fraction or Annotated[float, Meta(ge=0.0, le=10.0)]")
    return Range(name=field.name, default=field.default, low=low, high=high, whole=whole, unit=unit)


def _low(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType, whole: bool) -> float | None:
    if kind.ge is not None:
        return kind.ge
    if kind.gt is not None:
        return kind.gt + 1 if whole else math.nextafter(kind.gt, math.inf)
    return None


def _high(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType, whole: bool) -> float | None:
    if kind.le is not None:
        return kind.le
    if kind.lt is not None:
        return kind.lt - 1 if whole else math.nextafter(kind.lt, -math.inf)
    return None

"""States as a step writes them: `State(n)` leaves the rest at its start value, and a whole number is a float."""

import inspect
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic


def with_start_values(step: Callable[..., Any], state: type[Any]) -> Callable[..., Any]:
    """`step` with every call of `state` in it completed by the start values of the fields that are not given.

    Numba alone would make a shorter tuple of it, and refuse two calls that differ in a 0 and a 0.0.
    """
    if not isinstance(step, FunctionType):
        return step
    make = _constructor(state)
    names = {name: make for name, value in step.__globals__.items() if value is state}
    cells = tuple(CellType(make) if _holds(cell, state) else cell for cell in step.__closure__ or ())
    return FunctionType(step.__code__, {**step.__globals__, **names}, step.__name__, step.__defaults__, cells)


def _holds(cell: CellType, value: object) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:  # the cell is filled after the decorator has run
        return False


def _constructor(state: type[Any]) -> Any:
    shape = inspect.signature(state)
    starts: dict[str, float] = state._field_defaults
    whole = types.NamedUniTuple(types.float64, len(starts), state)

    def make(typing_context: Any, *args: Any, **named: Any) -> Any:
        try:
            given = shape.bind(*args, **named).arguments
        except TypeError as error:
            raise TypingError(f"{state.__name__}({', '.join(starts)}): {error}") from None
        for name, kind in given.items():
            if not isinstance(kind, types.Number | types.Boolean | types.Omitted):
                raise TypingError(f"{state.__name__}: {name} must be a number, not {kind}")

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            made = [
                context.get_constant(types.float64, starts[name]) if isinstance(kind, types.Omitted) else value
                for name, kind, value in zip(starts, signature.args, values, strict=True)
            ]
            return context.make_tuple(builder, whole, made)

        return whole(*(types.float64 if name in given else types.Omitted(starts[name]) for name in starts)), generate

    first = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    make.__signature__ = inspect.Signature([first, *shape.parameters.values()])  # type: ignore[attr-defined]
    make.__name__ = state.__name__
    return intrinsic(make)

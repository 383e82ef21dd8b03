"""Eight floats at a time, for compiled code: one instruction where the processor is wide enough, several where not.

Every operation is the scalar one on each lane, in IEEE arithmetic without contraction: the bits do not depend on the
width of the machine. `Lanes` and masks live in compiled functions only.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 8
LINE = 64
"""Bytes of a line of the cache, eight floats: what lies in one is read and written in half the time."""

_DOUBLE, _BIT = ir.DoubleType(), ir.IntType(1)
_EIGHT, _BITS = ir.VectorType(_DOUBLE, WIDTH), ir.VectorType(_BIT, WIDTH)
_PLACE = ir.VectorType(ir.IntType(32), WIDTH)


def in_lines(shape: tuple[int, ...], value: float) -> Any:
    """An array of floats, each `value`, that begins where a line of the cache does."""
    size = math.prod(shape)
    room = np.full(size + WIDTH, value)
    begin = -room.ctypes.data % LINE // room.itemsize
    return room[begin : begin + size].reshape(shape)


class _Lanes(types.Type):
    """Eight floats."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class _Mask(types.Type):
    """Eight truths."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


LANES, MASK = _Lanes(), _Mask()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]  # numba carries no types
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _EIGHT)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]  # numba carries no types
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _BITS)


def _binary(operation: Any, kind: Any, result: Any, emit: Callable[[Any, Any, Any], Any]) -> None:
    @type_callable(operation)
    def typed(context: Any) -> Callable[[Any, Any], Any]:  # noqa: ARG001 (numba's interface)
        return lambda a, b: result if (a, b) == (kind, kind) else None

    @lower_builtin(operation, type(kind), type(kind))
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's interface)
        return emit(builder, *arguments)


_binary(operator.add, LANES, LANES, lambda at, a, b: at.fadd(a, b))
_binary(operator.sub, LANES, LANES, lambda at, a, b: at.fsub(a, b))
_binary(operator.mul, LANES, LANES, lambda at, a, b: at.fmul(a, b))
_binary(operator.truediv, LANES, LANES, lambda at, a, b: at.fdiv(a, b))
_binary(operator.lt, LANES, MASK, lambda at, a, b: at.fcmp_ordered("<", a, b))
_binary(operator.le, LANES, MASK, lambda at, a, b: at.fcmp_ordered("<=", a, b))
_binary(operator.gt, LANES, MASK, lambda at, a, b: at.fcmp_ordered(">", a, b))
_binary(operator.ge, LANES, MASK, lambda at, a, b: at.fcmp_ordered(">=", a, b))
_binary(operator.eq, LANES, MASK, lambda at, a, b: at.fcmp_ordered("==", a, b))
_binary(operator.and_, MASK, MASK, lambda at, a, b: at.and_(a, b))
_binary(operator.or_, MASK, MASK, lambda at, a, b: at.or_(a, b))


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    source = context.make_array(kind)(context, builder, array)
    return builder.bitcast(builder.gep(source.data, [at]), _EIGHT.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """Eight floats of a C-contiguous `array` from flat position `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *arguments), align=8)

    return LANES(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, at: Any, lanes: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """Writes eight floats to a C-contiguous `array` from flat position `at`: all of them, the caller has the room."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), generate


@intrinsic
def splat(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """`value` in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return _splat(builder, arguments[0])

    return LANES(types.float64), generate


@intrinsic
def from_lane(typing_context: Any, first: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """True in the lanes from `first` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        bits = ir.IntType(WIDTH)
        below = builder.shl(ir.Constant(bits, -1), builder.trunc(arguments[0], bits))
        return builder.bitcast(below, _BITS)

    return MASK(types.int64), generate


def _splat(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(_EIGHT, ir.Undefined), ir.Constant(_PLACE, [0] * WIDTH))


def _named(builder: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(_EIGHT, [_EIGHT]), name)


@intrinsic
def absolute(typing_context: Any, lanes: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """Without the sign."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.call(_named(builder, "llvm.fabs.v8f64"), arguments)

    return LANES(LANES), generate


@intrinsic
def rounded(typing_context: Any, lanes: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The nearest whole number, from halfway the even one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.call(_named(builder, "llvm.rint.v8f64"), arguments)

    return LANES(LANES), generate


@intrinsic
def floored(typing_context: Any, lanes: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The whole number at or below."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.call(_named(builder, "llvm.floor.v8f64"), arguments)

    return LANES(LANES), generate


def _estimates() -> bool:
    """Whether the processor that is compiled for has an estimate of an inverse, and adds a product in one rounding."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:
        return False
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512f") and features.get("fma"))


def _refined(builder: Any, lanes: Any) -> Any:
    bits, one = ir.IntType(WIDTH), ir.Constant(_EIGHT, [1.0] * WIDTH)
    kind = ir.FunctionType(_EIGHT, [_EIGHT, _EIGHT, bits])
    estimate = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.rcp14.pd.512")
    kind = ir.FunctionType(_EIGHT, [_EIGHT] * 3)
    fused = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v8f64")
    found = builder.call(estimate, [lanes, ir.Constant(_EIGHT, [0.0] * WIDTH), ir.Constant(bits, -1)])
    minus = builder.fneg(lanes)
    for _ in range(3):
        found = builder.call(fused, [found, builder.call(fused, [minus, found, one]), found])
    return found


@intrinsic
def inverse(typing_context: Any, lanes: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """1 / `lanes`, each a whole number from 1 to 2**52: the bits of the division, in less time where there is an
    estimate to begin from.

    From 14 bits two steps of Newton's lead to less than one unit in the last place, from where a third, its residual
    exact, rounds as the division does, but for a mantissa all of ones (P. Markstein, IBM J. Res. Dev. 34, 1990), which
    takes 53 bits.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        if _estimates():
            return _refined(builder, arguments[0])
        return builder.fdiv(ir.Constant(_EIGHT, [1.0] * WIDTH), arguments[0])

    return LANES(LANES), generate


@intrinsic
def lower(typing_context: Any, a: Any, b: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The smaller in every lane; `b` where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return LANES(LANES, LANES), generate


@intrinsic
def higher(typing_context: Any, a: Any, b: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The larger in every lane; `b` where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return LANES(LANES, LANES), generate


@intrinsic
def chosen(typing_context: Any, mask: Any, a: Any, b: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """`a` where `mask` is true, else `b`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.select(*arguments)

    return LANES(MASK, LANES, LANES), generate


@intrinsic
def later(typing_context: Any, before: Any, now: Any, count: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """`now` moved up by `count` lanes (a constant), its first lanes the last of `before`."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    moved = count.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        places = [WIDTH - moved + lane for lane in range(WIDTH)]
        return builder.shuffle_vector(arguments[0], arguments[1], ir.Constant(_PLACE, places))

    return LANES(LANES, LANES, count), generate


@intrinsic
def lane(typing_context: Any, lanes: Any, at: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The float in lane `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.extract_element(*arguments)

    return types.float64(LANES, types.intp), generate


@intrinsic
def bits(typing_context: Any, mask: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The mask as a whole number, lane 0 its lowest bit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.zext(builder.bitcast(arguments[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(MASK), generate


@intrinsic
def lowest_bit(typing_context: Any, number: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """The place of the lowest bit of a whole number; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.cttz(arguments[0], ir.Constant(_BIT, 0))

    return types.int64(types.int64), generate


@intrinsic
def count_bits(typing_context: Any, number: Any) -> Any:  # noqa: ARG001 (numba's interface)
    """How many bits of a whole number are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 (numba's)
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate

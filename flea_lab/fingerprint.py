"""What a function computes, as a digest: its code, what it closes over and the globals that it names, all the way down.

Two functions with one fingerprint compile to the same machine code. What cannot be told in full has none: a value of an
unknown kind, a module that is neither Python's nor numpy's. The sources of this package that decide are told by their
place, because the folder of the machine code is named by what they hold.
"""

import builtins
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

KNOWN = {*sys.stdlib_module_names, "numpy", "numba"}
"""Packages whose content is told by their version: Python's, and those that the folder is named by."""

ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), np.generic)


class _UntoldError(Exception):
    """A value of a kind that cannot be told in full."""


def fingerprint(function: Callable[..., Any], ours: Callable[[Path], bool]) -> str:
    """Hex digest, or "" where there is none; `ours` says whether a source file is among those told by their place."""
    digest = hashlib.sha256()
    try:
        for word in _told(function, ours, {}):
            digest.update(word.encode("utf-8", "surrogatepass") + b"\0")
    except _UntoldError:
        return ""
    return digest.hexdigest()


def _told(value: Any, ours: Callable[[Path], bool], seen: dict[int, Any]) -> Iterator[str]:
    if isinstance(value, ATOMS):
        yield f"{type(value).__name__} {value!r}"
        return
    if id(value) in seen:
        yield f"again {[*seen].index(id(value))}"
        return
    seen[id(value)] = value  # held, so that no other value can have its address
    if isinstance(value, Dispatcher):
        yield f"compiled {value.targetoptions} {value.locals}"
        yield from _function(value.py_func, ours, seen)
    elif isinstance(value, _Intrinsic):
        yield "intrinsic"
        yield from _function(value._defn, ours, seen)
    elif isinstance(value, FunctionType):
        yield from _function(value, ours, seen)
    elif isinstance(value, CodeType):
        yield from _code(value, ours, seen)
    elif isinstance(value, type):
        yield from _class(value, ours, seen)
    elif isinstance(value, tuple | list):
        yield f"{type(value).__qualname__} {len(value)}"
        for each in value:
            yield from _told(each, ours, seen)
    elif isinstance(value, dict):
        yield f"dict {len(value)}"
        for key, each in value.items():
            yield from _told(key, ours, seen)
            yield from _told(each, ours, seen)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"array {value.dtype.str} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"
    elif isinstance(value, types.Type):
        yield f"numba {value!r}"
        if hasattr(value, "instance_class"):
            yield from _told(value.instance_class, ours, seen)
    elif isinstance(value, inspect.Signature):
        yield f"signature {value}"
    else:
        yield _named(value)


def _named(value: Any) -> str:
    """A module or a builtin of a known package, by its name."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if isinstance(value, np.ufunc):
        home = "numpy"
    if isinstance(value, ModuleType | BuiltinFunctionType | np.ufunc) and (home or "").split(".")[0] in KNOWN:
        return f"{home} {value.__name__}"
    raise _UntoldError(repr(value))


def _class(value: type, ours: Callable[[Path], bool], seen: dict[int, Any]) -> Iterator[str]:
    """A named tuple by its fields and start values, another class by its name where that says all."""
    yield f"class {value.__module__} {value.__qualname__}"
    if issubclass(value, tuple) and hasattr(value, "_fields"):
        yield f"fields {value._fields}"
        yield from _told(dict(getattr(value, "_field_defaults", {})), ours, seen)
    elif value.__module__.split(".")[0] not in KNOWN:
        raise _UntoldError(repr(value))


def _function(function: FunctionType, ours: Callable[[Path], bool], seen: dict[int, Any]) -> Iterator[str]:
    yield f"function {function.__module__} {function.__code__.co_qualname}"
    yield from _code(function.__code__, ours, seen)
    yield from _told(function.__defaults__, ours, seen)
    yield from _told(function.__kwdefaults__, ours, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"cell {name}"
        yield from _told(cell.cell_contents, ours, seen)
    if ours(Path(function.__code__.co_filename)):
        return
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield f"global {name}"
            yield from _told(function.__globals__[name], ours, seen)
        elif hasattr(builtins, name):
            yield f"builtin {name}"


def _names(code: CodeType) -> list[str]:
    """Names of globals and attributes in `code` and in the functions within it."""
    inner = [name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each)]
    return sorted({*code.co_names, *inner})


def _code(code: CodeType, ours: Callable[[Path], bool], seen: dict[int, Any]) -> Iterator[str]:
    yield f"code {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {code.co_cellvars}"
    yield f"arguments {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}"
    for each in code.co_consts:
        if isinstance(each, frozenset):
            raise _UntoldError(repr(each))  # its order is not told by its content
        yield from _told(each, ours, seen)

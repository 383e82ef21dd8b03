"""The one way to compile: scalar arithmetic that sweep, replay and live share, to the bit.

No fast-math: an inlined function and a called one give the same bits. Machine code is kept in a 0700 folder named by a
hash of every source that decides and of the compiler's versions, because numba's own cache keeps running an old
function after an edit in another file.
"""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import CompileResult
from numba.core.environment import lookup_environment
from numba.core.registry import CPUDispatcher
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic
from numba.np import arrayobj

from flea_lab.fingerprint import fingerprint
from flea_lab.inlined import InlinedContext, Inlining

F = TypeVar("F", bound=Callable[..., Any])

UNUSED_S = 90 * 86_400
"""After how many seconds without use machine code of other sources goes, when code of new sources comes."""

_DECIDING = (
    *("compiled.py", "fingerprint.py", "inlined.py", "lanes.py", "money.py", "ledger.py"),
    *("model", "signal", "strategy", "risk", "execution", "sandbox", "backtest"),
)


def source_hash() -> str:
    """Hex digest over the sources that decide, the compiler's versions and the processor."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for name in _DECIDING:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(package)).encode())
            digest.update(file.read_bytes())
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(version(name).encode())
    digest.update(f"{platform.python_version()} {platform.machine()}".encode())
    return digest.hexdigest()


def _cache_folder() -> str:
    """The 0700 folder for this source hash, or "" where none can be made (then every process compiles afresh). One that
    is new takes the place of those that nobody has used for `UNUSED_S`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flea_lab" / "compiled"
    folder = base / source_hash()[:16]
    try:
        base.mkdir(parents=True, exist_ok=True)
        base.chmod(0o700)
        new = not folder.is_dir()
        folder.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)  # used now
        if new:
            _prune(base, folder.stat().st_mtime - UNUSED_S)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


def _prune(base: Path, before_s: float) -> None:
    """Removes the machine code of sources that were last used before `before_s`, in seconds since the epoch."""
    for old in base.iterdir():
        if re.fullmatch("[0-9a-f]{16}", old.name) and old.lstat().st_mtime < before_s:
            shutil.rmtree(old, ignore_errors=True)  # another process may be doing the same


_FOLDER = _cache_folder()


_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


class _Compiled(CPUDispatcher):  # type: ignore[misc]  # numba carries no types
    """A function as Python calls it. What compiled code calls is `within`: inlined there, without what a call from
    Python needs, both of which took most of the time of compiling when every function had both."""

    def __init__(self, py_func: Any, locals: Any = None, targetoptions: Any = None, **more: Any) -> None:
        super().__init__(py_func, locals, targetoptions or _OPTIONS, **more)
        inline = {**_OPTIONS, "forceinline": True, "no_cpython_wrapper": True}
        self.within = CPUDispatcher(py_func, locals, inline, pipeline_class=Inlining)
        self._afresh = True

    @property
    def is_compiling(self) -> bool:
        return bool(self._compiling_counter) or bool(self.within._compiling_counter)

    def keep(self, key: str) -> None:
        """Keeps its machine code under `key`. The code's own name holds the key: of two functions of one name that
        different processes compiled, one would else be taken for the other."""
        self._afresh = False
        try:
            self._cache = _Kept(self.py_func, key)
        except RuntimeError:  # a function without a file, which numba finds no place for
            return
        self.py_func.__qualname__ += f"_{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def compile(self, sig: Any) -> Any:
        if self._afresh and _FOLDER:
            self._afresh = False
            key = fingerprint(self.py_func, _decides)
            if key:
                self.keep(key)
        return super().compile(sig)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        return self.within.get_call_template(args, kws)

    def get_overload(self, sig: Any) -> Any:
        return self.within.get_overload(sig)

    def add_overload(self, cres: Any) -> None:
        library = cres.library
        for value in library._final_module.global_variables:  # of what it has inlined
            env = lookup_environment(value.name) if value.name.startswith("_ZN08NumbaEnv") else None
            if env is not None and not value.is_declaration:
                library.codegen.set_env(value.name, env)
        super().add_overload(cres)


def compiled(function: F) -> F:
    """`function` as machine code without the interpreter lock, kept across processes.

    Division by zero gives inf or NaN, never an exception: every comparison on the result must refuse NaN.
    """
    found: Any = _Compiled(function)
    found._afresh = False
    if _FOLDER:
        found._cache, found.within._cache = _Kept(function), _KeptInlined(function, "within")
    return found


def compiled_afresh(function: F) -> F:
    """`compiled` for a function that closes over others; kept across processes where its fingerprint says all that it
    closes over, else compiled in each."""
    return _Compiled(function)


def compiled_as(key: str) -> Callable[[F], F]:
    """`compiled_afresh`, kept across processes under `key`, which must name all that a function closes over, and whose
    sources must be among those that the folder is named by; "" leaves it to its fingerprint."""

    def made(function: F) -> F:
        found: Any = compiled_afresh(function)
        if key and _FOLDER:
            found.keep(key)
        return found

    return made


def _decides(path: Path) -> bool:
    """Whether a source is among those that the folder is named by."""
    try:
        return path.relative_to(Path(__file__).parent).parts[0] in _DECIDING
    except ValueError:
        return False


class _Kept(FunctionCache):  # type: ignore[misc]
    """Machine code in files of its own for each key: two processes that keep different ones can never mix them up."""

    def __init__(self, function: Any, key: str = "") -> None:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = _FOLDER
        try:
            super().__init__(function)
        finally:
            numba.config.CACHE_DIR = before
        self._kept = key
        if key:
            base = f"{self._impl.filename_base}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
            self._cache_file = IndexDataCacheFile(self._cache_path, base, self._impl.locator.get_source_stamp())

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return sig, codegen.magic_tuple(), self._kept


class _KeptInlined(_Kept):
    """The same of what is only inlined."""

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        data = self._cache_file.load(self._index_key(sig, target_context.codegen()))
        return None if data is None else CompileResult._rebuild(InlinedContext(target_context), *data)


def direct(function: Any, *arguments: Any) -> Callable[..., Any]:
    """`function`, compiled, as it is called with arguments of exactly the kinds of these: without the search for their
    types, which costs half of a small call. Arrays must be as contiguous as these are; that is not looked at again."""
    found: Callable[..., Any] = function.compile(tuple(numba.typeof(argument) for argument in arguments))
    return found


@intrinsic
def borrow(typing_context: Any, array: Any, at: Any, size: Any) -> Any:
    """`size` elements of a C-contiguous `array` from flat position `at`, as a 1-d view; for compiled code only.

    The view holds no reference: it costs nothing to make, and must not outlive the call that the array came in with.
    """
    view = types.Array(array.dtype, 1, "C")
    signature = view(array, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        out = context.make_array(view)(context, builder)
        width = context.get_abi_sizeof(context.get_data_type(array.dtype))
        item = context.get_constant(types.intp, width)
        arrayobj.populate_array(
            out,
            data=builder.gep(source.data, [arguments[1]]),
            shape=[arguments[2]],
            strides=[item],
            itemsize=item,
            meminfo=None,
            parent=None,
        )
        return out._getvalue()

    return signature, generate


@intrinsic
def fetch(typing_context: Any, array: Any, at: Any) -> Any:
    """Tells the processor that element `at` of a C-contiguous `array`, by flat position, will be read soon: what lies
    far from what was read before takes as long to come as a hundred instructions. Nothing else follows from it."""
    signature = types.void(array, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        told = [ir.Constant(number, each) for each in (0, 3, 1)]  # to read, soon and more than once, data
        where = builder.bitcast(builder.gep(source.data, [arguments[1]]), place)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [where, *told])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def unowned(typing_context: Any, array: Any) -> Any:
    """`array` without its reference, for compiled code only: counting references costs more than most steps.

    Whoever called the compiled function holds the array; the view must not outlive that call.
    """
    signature = array(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        make = context.make_array(signature.args[0])
        source, out = make(context, builder, arguments[0]), make(context, builder)
        for name in ("data", "shape", "strides", "itemsize", "nitems"):
            setattr(out, name, getattr(source, name))
        out.meminfo = out.meminfo.type(None)
        out.parent = out.parent.type(None)
        return out._getvalue()

    return signature, generate


@intrinsic
def known(typing_context: Any, array: Any, axis: Any, size: Any) -> Any:
    """`array` with its length along `axis` known to the compiler as `size`, both constants; for compiled code only.

    Loops over a constant length unroll and offsets into the array fold away. Whoever calls sees to it that it is true.
    """
    if not (isinstance(axis, types.IntegerLiteral) and isinstance(size, types.IntegerLiteral)):
        return None
    length, at = size.literal_value, axis.literal_value
    signature = array(array, axis, size)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out = context.make_array(signature.args[0])(context, builder, arguments[0])
        out.shape = builder.insert_value(out.shape, context.get_constant(types.intp, length), at)
        return out._getvalue()

    return signature, generate


@intrinsic
def quotient(typing_context: Any, a: Any, b: Any) -> Any:
    """`a // b` where `a` is not negative and `b` above 0, which is not looked at: a third of the instructions of `//`;
    for compiled code only."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.udiv(*arguments)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def own_row(typing_context: Any, array: Any, size: Any) -> Any:
    """The first `size` elements (a constant) of a C-contiguous `array`, copied to a table `(1, size)` of the caller's.

    It may be kept in registers; for compiled code only, and it must not outlive the caller."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    count, view = size.literal_value, types.Array(array.dtype, 2, "C")
    signature = view(array, size)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        kind = context.get_data_type(array.dtype)
        place = cgutils.alloca_once(builder, ir.ArrayType(kind, count))
        first = builder.bitcast(place, kind.as_pointer())
        for i in range(count):
            at = context.get_constant(types.intp, i)
            builder.store(builder.load(builder.gep(source.data, [at])), builder.gep(first, [at]))
        width = context.get_abi_sizeof(kind)
        strides = [context.get_constant(types.intp, stride) for stride in (width * count, width)]
        out = context.make_array(view)(context, builder)
        arrayobj.populate_array(
            out,
            data=first,
            shape=[context.get_constant(types.intp, length) for length in (1, count)],
            strides=strides,
            itemsize=strides[1],
            meminfo=None,
            parent=None,
        )
        return out._getvalue()

    return signature, generate


@intrinsic
def copy_row(typing_context: Any, source: Any, target: Any, size: Any) -> Any:
    """Copies the first `size` elements (a constant) of one C-contiguous array to another of its kind, one by one: a
    table of `own_row` stays in registers."""
    if not isinstance(size, types.IntegerLiteral) or source.dtype != target.dtype:
        return None
    count, signature = size.literal_value, types.void(source, target, size)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = zip(signature.args, arguments, strict=True)
        read, written = (context.make_array(kind)(context, builder, value).data for kind, value in [*kinds][:2])
        for i in range(count):
            at = context.get_constant(types.intp, i)
            builder.store(builder.load(builder.gep(read, [at])), builder.gep(written, [at]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def read_floats(typing_context: Any, array: Any, at: Any, size: Any) -> Any:
    """`size` floats (a constant) of a C-contiguous `array` from flat position `at` as a tuple, one load each."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    count = size.literal_value
    signature = UniTuple(array.dtype, count)(array, types.intp, size)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        first = builder.gep(source.data, [arguments[1]])
        places = [builder.gep(first, [context.get_constant(types.intp, i)]) for i in range(count)]
        return context.make_tuple(builder, signature.return_type, [builder.load(place) for place in places])

    return signature, generate


@intrinsic
def write_floats(typing_context: Any, array: Any, at: Any, values: Any) -> Any:
    """Writes a tuple of floats to a C-contiguous `array` from flat position `at`, one store each."""
    signature = types.void(array, types.intp, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out = context.make_array(signature.args[0])(context, builder, arguments[0])
        first = builder.gep(out.data, [arguments[1]])
        for i in range(len(signature.args[2])):
            place = builder.gep(first, [context.get_constant(types.intp, i)])
            builder.store(builder.extract_value(arguments[2], i), place)
        return context.get_dummy_value()

    return signature, generate

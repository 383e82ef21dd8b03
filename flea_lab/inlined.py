"""Functions that compiled code calls and Python does not, as numba's compiler is told to treat them."""

from typing import Any

from llvmlite.binding import parse_bitcode  # type: ignore[import-untyped]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class Inlined(JITCodeLibrary):  # type: ignore[misc]  # numba carries no types
    """A function's code as others inline it. It is never run by itself: no machine code is made of it, and it is made
    fast where it is inlined."""

    codegen = property(lambda self: self)

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: whoever inlines it sets it."""

    def _optimize_final_module(self) -> None:
        """Nothing: see above."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self) -> Any:
        return self.serialize_using_bitcode()


class Inlining(Compiler):  # type: ignore[misc]  # numba carries no types
    """Compiles into an `Inlined`."""

    def compile_extra(self, func: Any) -> Any:
        self.state.library = Inlined(self.state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)


class InlinedContext:
    """A target of numba's that makes an `Inlined` of what was kept."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def codegen(self) -> Any:
        return self

    def unserialize_library(self, kept: tuple[str, str, bytes]) -> Inlined:
        name, _, code = kept
        library = Inlined(self._context.codegen(), name)
        library._final_module = parse_bitcode(code)
        library._finalize_final_module()
        return library

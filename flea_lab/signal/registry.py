"""Which kernels there are: the package's own, found by walking it, and the workspace's, imported by content hash."""

import functools
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from msgspec.structs import replace

import flea_lab.signal as package
from flea_lab.errors import ConfigError, KernelError
from flea_lab.signal.kernel import Kernel

MODULES = "flea_workspace_"
"""How the names of workspace modules begin in `sys.modules`; the file's stem and content hash follow."""


@functools.cache
def builtin_kernels() -> dict[str, Kernel]:
    """The kernels of the package by name."""
    found: dict[str, Kernel] = {}
    for module in pkgutil.iter_modules(package.__path__):
        found.update(kernels_in(importlib.import_module(f"{package.__name__}.{module.name}")))
    return found


def workspace_kernels(folder: Path) -> dict[str, Kernel]:
    """The kernels that a person wrote, one module each in `folder`. `KernelError` names a file that cannot be used."""
    found: dict[str, Kernel] = {}
    for path in sorted(folder.glob("*.py")) if folder.is_dir() else []:
        if path.name.startswith("test_"):
            continue
        found[path.stem] = load_kernel(path)
    return found


def load_kernel(path: Path) -> Kernel:
    """The kernel in module `path`, named like the file.

    The module is imported under its content hash: an edited file is a new module, and an old kernel stays what it was.
    """
    module = _import(path)
    found = kernels_in(module)
    if path.stem not in found:
        names = ", ".join(found) or "none"
        raise KernelError(f"signal {path.name}: must define a kernel named {path.stem!r}, found {names}")
    return found[path.stem]


def known_kernels(folder: Path | None) -> dict[str, Kernel]:
    """Every kernel a config may name; a workspace kernel may not take a built-in's name."""
    kernels = dict(builtin_kernels())
    for name, kernel in workspace_kernels(folder).items() if folder else ():
        if name in kernels:
            raise KernelError(f"signal {name!r} in {folder} has the name of a built-in signal, rename it")
        kernels[name] = kernel
    return kernels


def find_kernel(name: str, folder: Path | None, place: str) -> Kernel:
    """The kernel called `name`, or a `ConfigError` that lists what there is. Loads one workspace module at most."""
    kernels = builtin_kernels()
    if name in kernels:
        return kernels[name]
    path = folder / f"{name}.py" if folder and name.isidentifier() else None
    if path and path.is_file():
        return load_kernel(path)
    own = sorted(p.stem for p in folder.glob("*.py") if not p.name.startswith("test_")) if folder else []
    raise ConfigError(f"kernel {name!r} is unknown, known are {', '.join([*sorted(kernels), *own])} (in {place})")


@functools.cache
def kernels_in(module: ModuleType) -> dict[str, Kernel]:
    """The kernels that `module` itself declares, each with the hash of its source."""
    found = {}
    for value in vars(module).values():
        if isinstance(value, Kernel) and value.params.__module__ == module.__name__:
            found[value.name] = replace(value, source=content_hash(Path(str(module.__file__))))
    return found


def content_hash(path: Path) -> str:
    """SHA-256 of a source file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _import(path: Path) -> ModuleType:
    # no dot: numba imports the module again by its name, and a parent package would have to exist
    name = f"{MODULES}{path.stem}_{content_hash(path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _FromText(name, str(path))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path), is_package=False))
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except KernelError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise KernelError(f"signal {path.name}: {type(error).__name__}: {error}") from error
    return module


class _FromText(SourceFileLoader):
    """Always from the text: Python's bytecode is found by size and second, and an edit may keep both."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  (the loader's interface)
        return self.source_to_code(self.get_data(self.path), self.path)

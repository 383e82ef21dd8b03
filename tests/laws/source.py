"""The package as the laws read it: its modules, parsed, and what each of them imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "flea_lab"


@dataclass(frozen=True)
class Module:
    """One Python file of the package."""

    path: Path
    name: str  # dotted, e.g. "flea_lab.risk.gate"; a package's __init__ has the package's name
    is_package: bool
    tree: ast.Module

    @property
    def inner(self) -> str:
        """Path inside the package, e.g. "risk/gate.py"."""
        parts = self.name.split(".")[1:]
        return "/".join(parts) + ("/__init__.py" if self.is_package and parts else "" if not parts else ".py")

    @property
    def component(self) -> str:
        """First name below the package: "risk" for flea_lab.risk.gate, "" for flea_lab itself."""
        return [*self.name.split("."), ""][1]


@dataclass(frozen=True)
class Import:
    """One imported name, as written at one line."""

    target: str  # absolute dotted name, e.g. "flea_lab.model.market" or "time"
    line: int
    in_function: bool


def modules(root: Path) -> list[Module]:
    """Every module of the package under `root`, in a fixed order."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(path, name, is_package, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def imports(module: Module) -> Iterator[Import]:
    """Everything the module imports, wherever it stands: at the top, in a function, for types only, or by string."""
    inside = {
        id(node)
        for function in ast.walk(module.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if node is not function
    }
    for node in ast.walk(module.tree):
        for target in _targets(node, module):
            yield Import(target, node.lineno, id(node) in inside)  # type: ignore[attr-defined]


def _targets(node: ast.AST, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        origin = _origin(node, module)
        return [f"{origin}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and called(node).split(".")[-1] in ("import_module", "__import__"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def _origin(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    stem = package[: len(package) - node.level + 1]
    return ".".join(stem + ([node.module] if node.module else []))


def called(call: ast.Call) -> str:
    """The dotted name that is called, e.g. "np.random.default_rng"; "" where it is not a plain name."""
    return dotted(call.func)


def dotted(node: ast.AST) -> str:
    """`a.b.c` as text; a part that is not a name becomes "?"."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def matches(target: str, names: tuple[str, ...] | frozenset[str]) -> bool:
    """Whether a dotted name is one of `names` or lies below one of them."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def plant(root: Path, files: dict[str, str]) -> Path:
    """A small tree with these files, to show that a law can fail."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root

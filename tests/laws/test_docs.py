"""What the documents, the Makefile, CI and the command line say of each other is true."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.laws.source import ROOT, plant

# Put together here so that this file does not name what it looks for.
FOLDERS = "|".join(("work", "tmp", "root", "home", "opt", "Users"))
MACHINE_PATH = re.compile(rf"(?<![\w.])/(?:{FOLDERS})/\w")
OUTSIDE = "../" + "shared"
LOCK_LINE = re.compile(r"[a-z0-9-]+==[\w.+!-]+( ; [\w .'<>=!()_-]+)?")


def committed(root: Path) -> list[Path]:
    """The files that git knows, or all files where this is not a git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    paths = [root / name for name in names if name] or [path for top in _tops(root) for path in (top, *top.rglob("*"))]
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]


def _tops(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") or path.name == ".ci")


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def documents(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def blocks(text: str) -> list[str]:
    """The lines of the shell blocks of a document, comments cut off."""
    fenced = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.split(" #")[0].strip() for block in fenced for line in block.splitlines() if line.strip()]


def targets(root: Path) -> set[str]:
    return set(re.findall(r"^([a-z]+):", text_of(root / "Makefile"), re.MULTILINE))


def unknown_targets(root: Path) -> list[str]:
    text = "\n".join(text_of(path) for path in documents(root))
    return sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) - targets(root))


def dead_links(root: Path) -> list[str]:
    found = []
    for path in documents(root):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(path)):
            if "://" not in target and not (path.parent / target).exists():
                found.append(f"{path.relative_to(root).as_posix()}: {target}")
    return found


def machine_paths(root: Path) -> list[str]:
    found = []
    for path in committed(root):
        place = path.relative_to(root).as_posix()
        text = text_of(path)
        found += [f"{place}: {match}" for match in MACHINE_PATH.findall(text)]
        if OUTSIDE in text and place != ".ci/run":
            found.append(f"{place}: {OUTSIDE}")
    return found


def unfit_lock_lines(lock: str) -> list[str]:
    return [line for line in lock.splitlines() if not LOCK_LINE.fullmatch(line)]


def unknown_commands(lines: list[str], app: Any) -> list[str]:
    """The `flea` lines that the command line does not know: a command, or an option of it."""
    found = []
    for line in lines:
        words = shlex.split(line)
        if words[:1] != ["flea"]:
            continue
        command, rest = app, words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for parameter in command.params for name in parameter.opts}
        wrong = [word for word in rest if word.startswith("--") and word.split("=")[0] not in options]
        does_nothing = getattr(command, "commands", None) and not command.invoke_without_command
        if does_nothing or wrong:
            found.append(line)
    return found


def leaves(command: Any, name: str = "flea") -> list[str]:
    below = getattr(command, "commands", None)
    if not below:
        return [name]
    own = [name] if command.invoke_without_command else []
    return own + [leaf for word, child in below.items() if not child.hidden for leaf in leaves(child, f"{name} {word}")]


def command_line() -> Any:
    import typer.main

    from flea_lab.cli import app

    return typer.main.get_command(app)


def test_every_make_target_in_the_documents_exists() -> None:
    assert unknown_targets(ROOT) == []
    assert {"demo", "test", "lab", "lint", "bench", "clean", "help"} <= targets(ROOT)


def test_every_link_in_the_documents_leads_somewhere() -> None:
    assert dead_links(ROOT) == []


def test_every_flea_command_in_the_documents_exists() -> None:
    lines = [line for path in documents(ROOT) for line in blocks(text_of(path))]
    assert unknown_commands(lines, command_line()) == []


def test_the_readme_names_every_command() -> None:
    readme = "\n".join(blocks(text_of(ROOT / "README.md")))
    assert [leaf for leaf in leaves(command_line()) if not re.search(rf"^{leaf}\b", readme, re.MULTILINE)] == []


def test_continuous_integration_runs_what_the_readme_says() -> None:
    assert "make test" in blocks(text_of(ROOT / "README.md"))
    assert re.search(r"^make test\b", text_of(ROOT / ".ci" / "run"), re.MULTILINE)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_demo_target_runs_the_demo_command() -> None:
    assert "\tmake demo" not in text_of(ROOT / "Makefile")
    assert re.search(r"^demo:.*\n\t\$\(BIN\)/flea demo$", text_of(ROOT / "Makefile"), re.MULTILINE)


def test_no_committed_file_names_a_path_of_one_machine() -> None:
    assert machine_paths(ROOT) == []


def test_the_lock_pins_versions_and_names_no_index() -> None:
    assert unfit_lock_lines(text_of(ROOT / "requirements.lock")) == []


def test_the_lock_pins_everything_that_pyproject_asks_for() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    pins: dict[str, list[str]] = {}
    for line in text_of(ROOT / "requirements.lock").splitlines():
        name, _, version = line.split(" ;")[0].partition("==")
        pins.setdefault(name, []).append(version)
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["dev"] + extras["venues"] + extras["alerts"]:
        wanted = Requirement(text)
        found = pins.get(canonicalize_name(wanted.name), [])
        assert found, f"{wanted.name} is not in the lock"
        assert all(wanted.specifier.contains(version) for version in found), f"{text}: the lock has {found}"


def test_a_false_document_is_found(tmp_path: Path) -> None:
    readme = "`make coffee` and [x](docs/none.md)\n```sh\nmake demo  # yes\nflea demo\n```\n"
    root = plant(tmp_path, {"README.md": readme, "Makefile": "demo: .venv\n", "docs/a.md": "[y](../README.md)"})
    assert unknown_targets(root) == ["coffee"]
    assert dead_links(root) == ["README.md: docs/none.md"]
    assert blocks(readme) == ["make demo", "flea demo"]


@pytest.mark.parametrize("path", ["/" + "tmp/a.csv", "/" + "home/me", f"{OUTSIDE}/data"])
def test_a_machine_path_is_found(tmp_path: Path, path: str) -> None:
    assert len(machine_paths(plant(tmp_path, {"docs/a.md": f"see '{path}'\n"}))) == 1
    assert machine_paths(plant(tmp_path, {"docs/a.md": "data/tmp/x and work/y, https://host/home/z\n"})) == []


@pytest.mark.parametrize(
    "line",
    ["--index-url https://host/simple", "pandas>=3", "pandas @ file:///x", "pandas==3.0 --hash=sha256:00", "-e ."],
)
def test_an_unfit_lock_line_is_found(line: str) -> None:
    assert unfit_lock_lines(f"numpy==2.4.6 ; python_full_version < '3.12'\n{line}\n") == [line]


def test_an_unknown_command_or_option_is_found() -> None:
    import typer
    import typer.main

    def report(config: str, out: str = "x") -> str:
        return config + out

    app, data = typer.Typer(), typer.Typer()
    app.add_typer(data, name="data")
    app.command("report")(report)
    data.command("list")(lambda: None)
    lines = ["flea report C --out x", "flea data list", "flea data", "flea data lost", "flea sell", "flea report --inn"]
    tree = typer.main.get_command(app)
    assert unknown_commands(lines, tree) == ["flea data", "flea data lost", "flea sell", "flea report --inn"]
    assert leaves(tree) == ["flea report", "flea data list"]

"""environment.yml asks for what pyproject.toml asks for: parsed and compared, no conda needed."""

import re
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.laws.source import ROOT, plant

# conda-forge has no vectorbt-rust, and its vectorbt is too old for pandas 3; its playwright goes by another name; it
# has no ccxt
BY_PIP = {"vectorbt", "playwright", "ccxt", "picows"}
EXTRAS = ("dev", "venues", "alerts", "cluster", "search")
CONDA_ONLY = {"python", "pip"}
OPTIONAL = {"ccxt", "apprise", "dask", "distributed", "optuna"}
"""Of extras, which a machine may do without."""


def wanted(root: Path) -> dict[str, Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [text for name in EXTRAS for text in project["optional-dependencies"][name]]
    found = [Requirement(text) for text in project["dependencies"] + extra]
    python = Requirement(f"python{project['requires-python']}")
    return {canonicalize_name(requirement.name): requirement for requirement in [python, *found]}


def violations(root: Path) -> list[str]:
    document = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    entries = document["dependencies"]
    conda = dict(_split(entry) for entry in entries if isinstance(entry, str))
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    by_pip = {canonicalize_name(r.name): r for r in (Requirement(line) for line in pip if not line.startswith("-"))}
    want = wanted(root)
    found = []
    if document["channels"] != ["conda-forge", "nodefaults"]:
        found.append(f"channels are {document['channels']}")
    if "-e ." not in pip:
        found.append("pip does not install the package itself")
    for name, requirement in want.items():
        here = by_pip if name in BY_PIP else conda
        if name not in here:
            found.append(f"{name} is missing")
        elif name in BY_PIP and str(by_pip[name]) != str(requirement):
            found.append(f"{name} is {by_pip[name]}, pyproject says {requirement}")
        elif name not in BY_PIP and conda[name] != requirement.specifier:
            found.append(f"{name} is {conda[name]}, pyproject says {requirement.specifier}")
    unknown = (conda.keys() | by_pip.keys()) - want.keys() - CONDA_ONLY
    found += [f"{name} is not in pyproject" for name in sorted(unknown)]
    found += [f"{name} must come from pip" for name in sorted(conda.keys() & BY_PIP)]
    return found


def _split(entry: str) -> tuple[str, SpecifierSet]:
    match = re.fullmatch(r"([A-Za-z0-9_.\-]+)\s*(.*)", entry.strip())
    assert match, entry
    return canonicalize_name(match[1]), SpecifierSet(match[2])


def test_environment_yml_says_what_pyproject_says() -> None:
    assert violations(ROOT) == []


def test_what_is_installed_is_what_was_asked_for() -> None:
    there = {canonicalize_name(found.name) for found in distributions()}
    missing = [
        f"{name} {version(name)}, pyproject says {requirement.specifier}"
        for name, requirement in wanted(ROOT).items()
        if (name not in OPTIONAL or name in there)
        and name != "python"
        and not requirement.specifier.contains(version(name), prereleases=True)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("pandas>=3.0.3,<4", "pandas>=2,<4", "pandas is <4,>=2, pyproject says <4,>=3.0.3"),
        ("  - plotly>=7.1,<8\n", "", "plotly is missing"),
        ("  - pip\n", "  - pip\n  - polars\n", "polars is not in pyproject"),
        ("python>=3.11,<3.14", "python>=3.10", "python is >=3.10, pyproject says <3.14,>=3.11"),
        ("vectorbt[rust]>=1.2,<1.3", "vectorbt>=1.2,<1.3", "vectorbt is vectorbt<1.3,>=1.2, pyproject says"),
        ("nodefaults", "defaults", "channels are ['conda-forge', 'defaults']"),
    ],
)
def test_a_difference_is_found(tmp_path: Path, old: str, new: str, fault: str) -> None:
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert old in environment
    files = {
        "environment.yml": environment.replace(old, new),
        "pyproject.toml": (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    }
    [found] = violations(plant(tmp_path, files))
    assert fault in found

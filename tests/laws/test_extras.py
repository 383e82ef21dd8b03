"""What a machine may do without is imported in one place each, and only where it is asked for."""

from pathlib import Path

import pytest

from tests.laws.source import ROOT, imports, matches, modules, plant

ALONE = {"dask": "backtest/cluster.py", "distributed": "backtest/cluster.py", "optuna": "research/search.py"}


def violations(root: Path) -> list[str]:
    found = []
    for module in modules(root):
        for item in imports(module):
            for name, place in ALONE.items():
                if matches(item.target, (name,)) and not (module.inner == place and item.in_function):
                    found.append(f"{module.inner}:{item.line}: imports {name}, which is for functions of {place}")
    return found


def test_dask_and_optuna_are_imported_in_one_place_each() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("backtest/sweep.py", "def f():\n    from distributed import Client\n"),
        ("backtest/cluster.py", "import dask.array\n"),
        ("research/walkforward.py", "def f():\n    import optuna.samplers\n"),
    ],
)
def test_an_import_elsewhere_or_on_top_is_found(tmp_path: Path, path: str, text: str) -> None:
    [found] = violations(plant(tmp_path, {f"flea_lab/{path}": text}))
    assert found.startswith(path)


def test_the_law_sees_where_they_are_imported() -> None:
    seen = {name for m in modules(ROOT) for i in imports(m) for name in ALONE if matches(i.target, (name,))}
    assert {"distributed", "optuna"} <= seen

"""A bug planted into the sweep's engine: its source with some words replaced, in modules of their own.

Only the engine gets them: the sweep's columns, guards, accounts and metrics are executed again from the changed text,
with all that is built on the module that was changed, and put back afterwards. Replay and fold keep the code that they
had, and so stay the truth. What is executed again is interpreted, not compiled: the bits are the same, which
`interpreted_engine` lets be shown, and nothing of a bug reaches the compile cache.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tests.parity.interpreted import interpreting

ENGINE = (
    "flea_lab.signal.part_fills",
    "flea_lab.signal.part_columns",
    "flea_lab.signal.turns",
    "flea_lab.signal.columns",
    "flea_lab.backtest.metrics",
    "flea_lab.backtest.rules",
    "flea_lab.backtest.batch",
    "flea_lab.backtest.guard",
    "flea_lab.backtest.quiet",
    "flea_lab.backtest.steady",
    "flea_lab.backtest.latched",
    "flea_lab.backtest.account",
    "flea_lab.backtest.cells",
    "flea_lab.backtest.alone",
)
"""The sweep's engine, each module after those that it is built on."""

WITH = {"flea_lab.backtest.latched": "flea_lab.backtest.quiet"}
"""A module that calls another's functions of eight floats, which are interpreted where the caller is."""


class Bug(NamedTuple):
    """What somebody thought, and what they wrote in `module`: each old text, which stands there `count` times, anew."""

    module: str
    thought: str
    changes: tuple[tuple[str, str], ...]
    count: int = 1

    def applied(self) -> str:
        """The changed source. `AssertionError` where the source has become another."""
        text = source(self.module)
        for old, new in self.changes:
            found = text.count(old)
            told = f"{self.module} has {old!r} {found} times, not {self.count}"
            assert found == self.count, f"the planted bug no longer applies: {told}"
            text = text.replace(old, new)
        return text


class Engine(NamedTuple):
    """What a sweep is folded with."""

    batch_of: Callable[..., Any]
    fold_batch: Callable[..., Any]
    fold_one: Callable[..., Any]
    cells: ModuleType
    alone: ModuleType


def source(module: str) -> str:
    """The text of a module."""
    return Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")


def engine() -> Engine:
    """The engine as it stands in `sys.modules`."""
    names = ("batch", "cells", "alone")
    batch, cells, alone = (importlib.import_module(f"flea_lab.backtest.{name}") for name in names)
    return Engine(batch.batch_of, cells.fold_batch, cells.fold_one, cells, alone)


@contextmanager
def planted(bug: Bug) -> Iterator[Engine]:
    """The engine with `bug`."""
    texts = {name: source(name) for name in (WITH.get(bug.module),) if name} | {bug.module: bug.applied()}
    for name in ENGINE[ENGINE.index(bug.module) + 1 :]:
        text = source(name)
        if any(f"from {changed} import" in text for changed in texts):
            texts[name] = text
    with executed(texts):
        yield engine()


@contextmanager
def interpreted_engine() -> Iterator[Engine]:
    """The engine as it is, interpreted."""
    with executed({name: source(name) for name in ENGINE}):
        yield engine()


@contextmanager
def executed(texts: dict[str, str]) -> Iterator[None]:
    """Modules by name executed anew from these texts, in this order, and put back afterwards."""
    before = {name: sys.modules[name] for name in texts}
    try:
        with interpreting():
            for name, text in texts.items():
                _execute(name, text)
        with np.errstate(all="ignore"):
            yield
    finally:
        for name, module in before.items():
            _place(name, module)


def _execute(name: str, text: str) -> None:
    module = ModuleType(name)
    module.__file__ = sys.modules[name].__file__
    _place(name, module)
    exec(compile(text, f"<planted {name}>", "exec"), module.__dict__)


def _place(name: str, module: ModuleType) -> None:
    package, _, leaf = name.rpartition(".")
    sys.modules[name] = module
    setattr(sys.modules[package], leaf, module)

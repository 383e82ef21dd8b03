"""Ids of many cells at once: the id of a config is a hash of its text, of which a grid changes a few words."""

import hashlib
import json
import re
from typing import Any

import numpy as np

from flea_lab.backtest.grid import current
from flea_lab.backtest.group import SIGNALS, Group, Parameters, Sections, resolved
from flea_lab.backtest.market import Ints
from flea_lab.config import RunConfig

UNHASHED = ("name", "data", "deployment", "live", "alerts")
LEFT_OUT = ("tolerance", "slicing", "risk.orders")
"""Sections that a config's text has only where they are not their default: their cells are hashed one by one."""

MARK = "@@axis {} of the grid@@"


class Text:
    """The text that the ids of a plan's cells are hashes of, in pieces: between them stand the words of the axes."""

    def __init__(self, config: RunConfig, paths: list[str]) -> None:
        values = config.decision_dict()
        for a, path in enumerate(paths):
            steps = resolved(config, path)
            if steps[0] in UNHASHED:
                continue
            at: Any = values
            for step in steps[:-1]:
                at = at[int(step)] if isinstance(at, list) else at[step]
            at[steps[-1]] = MARK.format(a)
        found = re.split(r'"@@axis (\d+) of the grid@@"', json.dumps(values, sort_keys=True, separators=(",", ":")))
        self.order = [int(a) for a in found[1::2]]
        self._head, self._pieces = hashlib.sha256(found[0].encode()), found[2::2]

    def ids(self, words: dict[int, list[str]], n: int) -> list[str]:
        """The ids of `n` cells, where axis `a` has the texts `words[a]`."""
        columns = [[f"{word}{piece}" for word in words[a]] for a, piece in zip(self.order, self._pieces, strict=True)]
        return [self._id("".join(row)) for row in zip(*columns, strict=True)] if columns else [self._id("")] * n

    def _id(self, tail: str) -> str:
        digest = self._head.copy()
        digest.update(tail.encode())
        return digest.hexdigest()


def in_pieces(config: RunConfig, paths: list[str]) -> bool:
    """Whether every axis is a word of the config's text that nothing else hangs on."""
    steps = [".".join(resolved(config, path)) for path in paths]
    whole = any(isinstance(current(config, path), (dict, list)) for path in paths)
    signals = any(step.startswith(SIGNALS) and step.split(".")[2:3] not in (["params"], ["weight"]) for step in steps)
    left_out = any(f"{path}.".startswith(f"{section}.") for path in paths for section in LEFT_OUT)
    return not (whole or signals or left_out) and len(set(steps)) == len(steps)


def words_of(group: Group, numbers: Ints, config: RunConfig) -> dict[int, list[str]]:
    """By axis, the text that the config has for each of these combinations of a group."""
    if isinstance(group, Parameters):
        return _parameter_words(group, numbers)
    assert isinstance(group, Sections)
    found: dict[int, list[str]] = {a: [] for a in group.axes}
    for number in numbers.tolist():
        values = group.build(number).to_dict()
        for a, path in zip(group.axes, group.paths, strict=True):
            at: Any = values
            for step in resolved(config, path):
                at = at[int(step)] if isinstance(at, list) else at[step]
            found[a].append(json.dumps(at))
    return found


def _parameter_words(group: Parameters, numbers: Ints) -> dict[int, list[str]]:
    """A parameter's text hangs on its own value alone: it is asked of one combination for each."""
    found, codes = {}, group.codes(numbers)
    for at, (a, path) in enumerate(zip(group.axes, group.paths, strict=True)):
        _, first, which = np.unique(codes[:, at], return_index=True, return_inverse=True)
        words = [json.dumps(getattr(params, path.split(".")[-1])) for params in group.loads(numbers[first])]
        found[a] = [words[i] for i in which.reshape(-1).tolist()]
    return found

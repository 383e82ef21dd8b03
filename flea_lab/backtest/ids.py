"""Ids of many cells at once: the id of a config is a hash of its text, of which a grid changes a few words."""

import hashlib
import json
import re
from typing import Any

from flea_lab.backtest.grid import current
from flea_lab.backtest.group import SIGNALS, Group, Parameters, Sections, resolved
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
        self.pieces, self.order = found[::2], [int(a) for a in found[1::2]]

    def id(self, words: dict[int, str]) -> str:
        """The id where axis `a` has the text `words[a]`."""
        text = [self.pieces[0]]
        for a, piece in zip(self.order, self.pieces[1:], strict=True):
            text += words[a], piece
        return hashlib.sha256("".join(text).encode()).hexdigest()


def in_pieces(config: RunConfig, paths: list[str]) -> bool:
    """Whether every axis is a word of the config's text that nothing else hangs on."""
    steps = [".".join(resolved(config, path)) for path in paths]
    whole = any(isinstance(current(config, path), (dict, list)) for path in paths)
    signals = any(step.startswith(SIGNALS) and step.split(".")[2:3] not in (["params"], ["weight"]) for step in steps)
    left_out = any(f"{path}.".startswith(f"{section}.") for path in paths for section in LEFT_OUT)
    return not (whole or signals or left_out) and len(set(steps)) == len(steps)


def words_of(group: Group, number: int, config: RunConfig) -> dict[int, str]:
    """By axis, the text that the config has for one combination of a group."""
    found = {}
    if isinstance(group, Parameters):
        params = group.load(number)
        for a, path in zip(group.axes, group.paths, strict=True):
            found[a] = json.dumps(getattr(params, path.split(".")[-1]))
    elif isinstance(group, Sections):
        values = group.build(number).to_dict()
        for a, path in zip(group.axes, group.paths, strict=True):
            at: Any = values
            for step in resolved(config, path):
                at = at[int(step)] if isinstance(at, list) else at[step]
            found[a] = json.dumps(at)
    return found

"""The cells of a sweep: which points can be, told by number and built when they are asked for.

Memory is a bit of knowledge a point and what the distinct values of each group of settings come to; a config, a reason
or a batch is made of them where it is needed. What can be and why not is exactly what the config says of each point.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar, overload

import numpy as np

from flea_lab.backtest.batch import Batch, batch_of
from flea_lab.backtest.cell import book_of, require_held, rules_of, vpin_start
from flea_lab.backtest.cells import fold_batch
from flea_lab.backtest.features import features_needed
from flea_lab.backtest.grid import Grid, Space, check_axes, listed
from flea_lab.backtest.group import BLOCK, Mixed, Parameters, Sections, groups_of, refusal
from flea_lab.backtest.ids import Text, in_pieces, words_of
from flea_lab.backtest.market import Ints, Market, require_inputs, require_market
from flea_lab.backtest.metrics import METRICS
from flea_lab.config import Alphas, RunConfig, alphas, with_values
from flea_lab.errors import ConfigError
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import warmup
from flea_lab.signal.kernel import Floats

T = TypeVar("T")


class Lazy(Sequence[T], Generic[T]):
    """A sequence whose items are made when they are asked for, and not kept."""

    def __init__(self, size: int, make: Callable[[int], T]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self._make(i) for i in range(*at.indices(self._size))]
        if not -self._size <= at < self._size:
            raise IndexError(f"item {at} of {self._size}")
        return self._make(at % self._size)


class Plan:
    """The cells of a space around a config, in its order, and the points that are refused.

    `n` counts the cells, `warmup` is their longest: bars up to and including the first on which every one can be ready.
    """

    def __init__(self, config: RunConfig, space: Space) -> None:
        self.config, self.space = config, space
        self.alphas: Alphas = alphas(config)
        self.groups = groups_of(config, space, self.alphas.kernels)
        self._can, self.warmup = self._look()
        self._upto = np.concatenate([[0], np.cumsum([self._can[at : at + BLOCK].sum() for at in self._blocks()])])
        self.n = int(self._upto[-1])
        self._winners: dict[tuple[Any, ...], int] = {}
        self._reason_of = lru_cache(4096)(lambda group, number: self.groups[group].reason(number))

    @property
    def mixed(self) -> bool:
        """Whether cells may differ in more than parameters, rules and weights, such as in their kernels."""
        return any(isinstance(group, Mixed) for group in self.groups)

    @property
    def states(self) -> list[tuple[int, int]]:
        """Of every alpha, how many distinct parameters there are at most, and the floats of its largest state."""
        found = [(1, k.n_state + k.memory(p)) for k, p, _ in zip(*self.alphas, strict=True)]
        for group in self.groups:
            if isinstance(group, Parameters):
                found[group.alpha] = group.size, group.floats
        return [(self.n, floats) for _, floats in found] if self.mixed else found

    @cached_property
    def points(self) -> Lazy[dict[str, Any]]:
        """The values of every cell by path."""
        return Lazy(self.n, lambda i: self.space.point(int(self.numbers(i, i + 1)[0])))

    @cached_property
    def configs(self) -> "Configs":
        """The config of every cell."""
        return Configs(self)

    @cached_property
    def refused(self) -> Lazy[dict[str, Any]]:
        """The points that cannot be, each with the reason."""
        upto = np.minimum(np.arange(len(self._upto)) * BLOCK, self.space.n) - self._upto

        def make(i: int) -> dict[str, Any]:
            number = int(self._positions(~self._can, upto, i, i + 1)[0])
            return {**self.space.point(number), "reason": self._reason(number)}

        return Lazy(self.space.n - self.n, make)

    def numbers(self, first: int, last: int) -> Ints:
        """The numbers, in the space, of the points of cells `first` to `last`, which is not among them."""
        return self._positions(self._can, self._upto, first, last)

    def codes(self, first: int, last: int) -> Ints:
        """Where cells `first` to `last` stand on the axes of the space, shape `(last - first, n_axes)`."""
        return self.space.codes(self.numbers(first, last))

    def batch(self, first: int, last: int) -> Batch:
        """Cells `first` to `last` as a fold reads them."""
        points = self.numbers(first, last)
        codes, config, n = self.space.codes(points), self.config, last - first
        rules = np.repeat(rules_of(config)[None], n, axis=0)
        weights = np.repeat(self.alphas.weights[None], n, axis=0)
        params: list[tuple[Settings, ...]] = [(found,) for found in self.alphas.params]
        which = np.zeros((n, len(params)), np.int64)
        vpins, vpin_which = [vpin_start(config)], np.zeros(n, np.int64)
        for group in self.groups:
            numbers, at = np.unique(group.numbers(points, codes), return_inverse=True)
            if isinstance(group, Parameters):
                params[group.alpha] = tuple(group.loads(numbers))
                which[:, group.alpha] = at
            elif isinstance(group, Sections):
                own_rules, own_weights = group.rows(numbers)
                rule_at, weight_at = group.touched
                rules[:, rule_at] = own_rules[at][:, rule_at]
                weights[:, weight_at] = own_weights[at][:, weight_at]
                if group.touches("risk.vpin"):
                    vpins, vpin_which = [group.vpin(int(number)) for number in numbers], at
        return Batch(
            self.alphas.kernels, rules, weights, tuple(params), which, tuple(vpins), vpin_which, book_of(config)
        )

    def ids(self, first: int, last: int) -> list[str]:
        """The ids of the configs of cells `first` to `last`."""
        paths = list(self.space.axes)
        if not in_pieces(self.config, paths):
            return [config.id for config in self.configs[first:last]]
        points = self.numbers(first, last)
        codes = self.space.codes(points)
        columns: dict[int, list[str]] = {}
        for group in self.groups:
            numbers, at = np.unique(group.numbers(points, codes), return_inverse=True)
            words = words_of(group, numbers, self.config)
            columns |= {a: [told[i] for i in at.tolist()] for a, told in words.items()}
        return Text(self.config, paths).ids(columns, last - first)

    def fold(self, first: int, last: int, market: Market, start: int) -> Floats:
        """Metrics of cells `first` to `last`, shape `(last - first, len(METRICS))`; one thread."""
        if not self.mixed:
            return fold_batch(self.batch(first, last), market, start)
        return fold_mixed(self.configs[first:last], market, start)

    def require(self, market: Market) -> None:
        """Refuses a market that some cell cannot trade, and a cell that the fold does not hold."""
        whole = [group for group in self.groups if isinstance(group, Sections) and group.whole]
        for group in whole:
            if group.touches("risk.orders"):
                for config in group.kept.values():
                    require_held(config)
        if not any(group.touches("risk.orders") for group in whole):
            require_held(self.config)
        require([config for group in whole for config in group.kept.values()] or [self.config], market)

    def _blocks(self) -> range:
        return range(0, self.space.n, BLOCK)

    def _look(self) -> tuple[Any, int]:
        """Which points can be, and the longest warm-up among them."""
        can, longest = np.empty(self.space.n, bool), 1
        own = {a: warmup((k,), (p,)) for a, (k, p, _) in enumerate(zip(*self.alphas, strict=True))}
        for at in self._blocks():
            points = np.arange(at, min(at + BLOCK, self.space.n))
            codes = self.space.codes(points)
            numbers = [group.numbers(points, codes) for group in self.groups]
            good = np.ones(len(points), bool)
            for group, each in zip(self.groups, numbers, strict=True):
                good &= group.can[each]
            can[points] = good
            for group, each in zip(self.groups, numbers, strict=True):
                if isinstance(group, Parameters):
                    own.pop(group.alpha, None)
                    longest = max(longest, int(group.warmups[each[good]].max(initial=1)))
        if self.mixed:
            kept = [group.kept.values() for group in self.groups if isinstance(group, Sections)]
            return can, max((alphas(config).warmup for configs in kept for config in configs), default=1)
        return can, max(longest, *own.values()) if own else longest

    def _positions(self, which: Any, upto: Ints, first: int, last: int) -> Ints:
        """Where, in the space, the points `first` to `last` of those that `which` marks stand."""
        low = int(np.searchsorted(upto, first, side="right")) - 1
        high = int(np.searchsorted(upto, last, side="left"))
        found = np.flatnonzero(which[low * BLOCK : max(high, low + 1) * BLOCK]) + low * BLOCK
        return found[first - upto[low] : last - upto[low]]

    def _reason(self, number: int) -> str:
        """Why a point cannot be. Which of several faults is told depends on what they are, not on their values."""
        points = np.array([number])
        codes = self.space.codes(points)
        faults = []
        for g, group in enumerate(self.groups):
            at = int(group.numbers(points, codes)[0])
            if not group.can[at]:
                faults.append((g, self._reason_of(g, at)))
        if len(faults) == 1:
            return faults[0][1]
        key = tuple((g, re.sub(r"[\d.]+", "#", reason)) for g, reason in faults)
        if key not in self._winners:
            told = refusal(self.config, self.space.point(number))
            same = [i for i, (_, reason) in enumerate(faults) if reason == told]
            if not same:
                return told
            self._winners[key] = same[0]
        return faults[self._winners[key]][1]


class Configs(Lazy[RunConfig]):
    """The configs of a plan's cells; `plan` is where they come from."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.n, lambda i: with_values(plan.config, plan.points[i], "grid cell"))
        self.plan = plan


def plan(config: RunConfig, grid: Grid) -> Plan:
    """The cells of a grid, and the points that are refused.

    A path that no config has is an error of the grid itself and raises; a value out of range, or one that does not go
    with the others, refuses its point.
    """
    return plan_space(config, Space({name: list(values) for name, values in grid.items()}))


def plan_points(config: RunConfig, points: Sequence[dict[str, Any]]) -> Plan:
    """The cells of these points, which all name the same settings; as `plan`."""
    return plan_space(config, listed(points))


def plan_space(config: RunConfig, space: Space) -> Plan:
    """The cells of a space; `ConfigError` where none can be."""
    check_axes(config, list(space.axes))
    found = Plan(config, space)
    if not found.n:
        raise ConfigError(f"no cell of the grid can be: {found.refused[0]['reason']}")
    return found


def require(configs: Sequence[RunConfig], market: Market) -> int:
    """The longest warm-up of these configs; refuses a market that one of them cannot trade."""
    longest, seen = 1, set()
    for config in configs:
        require_market(config, market)
        asked = [[alpha.kernel, alpha.params] for alpha in config.signals]
        key = json.dumps([config.risk.vpin.source, asked], sort_keys=True)
        if key not in seen:
            seen.add(key)
            found = alphas(config)
            features_needed(config, found)
            require_inputs(market, found, config.risk.vpin)
            longest = max(longest, found.warmup)
    return longest


def fold_mixed(configs: Sequence[RunConfig], market: Market, start: int) -> Floats:
    """Metrics of every config, shape `(n_cells, len(METRICS))`; one thread, nothing recorded.

    Refuses a config that trades other symbols than the market holds: the compiled fold trusts their number.
    """
    out = np.empty((len(configs), len(METRICS)))
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, config in enumerate(configs):
        require_market(config, market)
        alike.setdefault(tuple(alpha.kernel for alpha in config.signals), []).append(i)
    for rows in alike.values():
        out[rows] = fold_batch(batch_of([configs[i] for i in rows]), market, start)
    return out

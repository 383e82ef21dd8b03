"""For tests: a step with a state of its own and no memory, over parts of every kind, some of them a kernel's own."""

from math import nan
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, Floats, kernel

Width = Annotated[float, Meta(gt=0.0, le=100.0, description="percent of the close")]


@parts.windowed(params=("power",), sources=("price", "volume"))
def weighted(x: Any, p: Any) -> float:
    """Mean price, weighted by volume to the power of `power`."""
    value = weight = 0.0
    for i in range(x.price.shape[0]):
        w = (1.0 + x.volume[i]) ** p.power
        value += w * x.price[i]
        weight += w
    return value / weight


class Run(NamedTuple):
    """Bars in a row that went one way: below 0 down."""

    value: float = 0.0


@parts.part(Run)
def run_length(s: Run, x: Any, p: Any, memory: Floats) -> Run:
    """How many changes in a row had one sign."""
    if x.value > 0.0:
        return Run(max(s.value, 0.0) + 1.0)
    if x.value < 0.0:
        return Run(min(s.value, 0.0) - 1.0)
    return s


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 12
    bars: Bars = 3
    width: Width = 0.05


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan
    held: float = 0.0


@kernel(
    Params,
    State,
    parts={
        "fair": weighted("close", "volume", window="window", power=0.5),
        "move": parts.change("close"),
        "run": run_length("move"),
        "longest": parts.highest("run", window="window"),
        "before": parts.lag("fair", window="bars"),
        "rich": parts.of(lambda x, p: (x.close / x.fair - 1.0) * 100.0 / p.width, "close", "fair", width="width"),
    },
)
def turning(state: State, bar: Bar, p: Params, memory: Floats, x: Any) -> State:
    """Against what is rich until it has come back, unless a run of `bars` says otherwise."""
    held = state.held
    if abs(x.run) >= p.bars and x.longest > 0.0:
        held = 1.0 if x.run > 0.0 and x.fair > x.before else 0.0
    elif x.rich > 1.0:
        held = -1.0
    elif x.rich < -1.0:
        held = 1.0
    elif held * x.rich > 0.0:
        held = 0.0
    return State(held, 0.0 if held == 0.0 else min(1.0, 0.5 + 0.1 * abs(x.rich)), held)

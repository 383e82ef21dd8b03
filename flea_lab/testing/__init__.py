"""The laws that what is plugged in here must pass: `check_kernel` for a signal, `check_venue` for an exchange.

A kernel that passes may be swept, reported and traded without a second look at its plumbing, because it

1. *declares*: every parameter has a default and both limits; warm-up and memory follow from the parameters;
2. *keeps to its memory*: it neither writes nor reads beyond the floats that it asked for;
3. *repeats itself*: the same bars give the same bits, and two streams side by side share nothing;
4. *is blind to the future*: whatever comes later, what it said stays said;
5. *is one step*: the fold over an array equals the stream bar by bar, in every state field;
6. *is one column*: what a sweep computes of it, in blocks and over holes, is what the stream says;
7. *resumes*: state and memory saved after any bar and restored go on as if nothing had happened;
8. *reads its inputs only*: a bar field that it did not declare changes nothing;
9. *warms up as it says*: outputs are NaN on exactly the first `warmup - 1` bars (a NaN prefix where warm-up depends on
   the data), and all of them together;
10. *stays in range*: direction in [-1, 1], confidence in [0, 1], and no confidence in direction 0; a feature is finite;
11. *bears its limits*: with parameters at the ends of their ranges it still obeys 9 and 10, or its settings refuse
   them;
12. *agrees* with an independent reference, where one is given.

All comparisons are of bits (any NaN equals any NaN), except with the reference.
"""

from dataclasses import dataclass

import numpy as np

from flea_lab.settings import Settings
from flea_lab.signal.kernel import Floats, Kernel
from flea_lab.signal.registry import known_kernels
from flea_lab.testing.bench import Bench
from flea_lab.testing.case import Case, checked, declared, warmup_of
from flea_lab.testing.deck import Deck, check_venue
from flea_lab.testing.laws import JUDGED, LAWS, MOST_BARS, Reference, agrees, bears_limits
from flea_lab.testing.market import N_BARS, law_bars
from flea_lab.workspace import workspace

__all__ = ["LAWS", "Bench", "Deck", "KernelReport", "check_kernel", "check_venue", "law_bars", "subjects"]


@dataclass(frozen=True)
class KernelReport:
    """What `check_kernel` has seen hold: the laws, on how many bars, with which parameters and how many limits."""

    kernel: Kernel
    params: Settings
    n_bars: int
    warmup: int | None
    laws: tuple[str, ...]
    opinions: int
    """Bars on which an alpha had an opinion, or a feature a value."""
    limits_tried: int
    limits_refused: int


def subjects() -> dict[str, Kernel]:
    """Every kernel that a config can name, the workspace's included: the law finds its subjects itself."""
    return known_kernels(workspace().signals)


def check_kernel(
    kernel: Kernel,
    params: Settings | None = None,
    bars: Floats | None = None,
    reference: Reference | None = None,
    tolerance: float = 1e-12,
) -> KernelReport:
    """A report if `kernel` keeps every law, else a `KernelError` that names the law, the bar and the values.

    `bars` has shape `(n_bars, N_FIELDS)` in the order of `Bar` with every declared input finite; by default `law_bars`.
    The `reference(bars, params)` gives state fields by name, shape `(n_bars,)` each; `tolerance` is absolute.
    """
    known = declared(kernel)
    params = known if params is None else params
    warmup = warmup_of(kernel, params)
    if bars is None:
        bars = law_bars(min(max(N_BARS, 2 * (warmup or 0)), MOST_BARS))
    case = Case(kernel, params, checked(kernel, bars))
    for law in JUDGED:
        law(case)
    tried, refused = bears_limits(kernel)
    if reference is not None:
        agrees(case, reference, tolerance)
    laws = tuple(LAWS if reference is not None else LAWS[:-1])
    spoken = int(np.nansum(case.outputs[:, -1] > 0.0 if kernel.is_alpha else ~np.isnan(case.outputs[:, 0])))
    return KernelReport(kernel, params, len(bars), warmup, laws, spoken, tried, refused)

"""Small candle frames that a reader can check by hand."""

from collections.abc import Callable

import pandas as pd
import pytest

START = 1_735_689_600_000  # 2025-01-01T00:00:00Z, on every grid


def bars(count: int = 4, step: int = 60_000, start: int = START, **columns: list[float]) -> pd.DataFrame:
    """`count` sound bars; a keyword replaces a column."""
    close = [100.0 + (at % 7) for at in range(count)]
    values = {
        "ts": [start + at * step for at in range(count)],
        "open": [price - 0.5 for price in close],
        "high": [price + 1.0 for price in close],
        "low": [price - 1.0 for price in close],
        "close": close,
        "volume": [10.0 + at for at in range(count)],
    }
    return pd.DataFrame(values | columns)


@pytest.fixture
def make_bars() -> Callable[..., pd.DataFrame]:
    return bars

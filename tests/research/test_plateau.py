"""A plateau is judged by what lies around a cell, never by the cell alone."""

import math

import numpy as np
import pandas as pd
import pytest

from flea_lab.errors import ConfigError
from flea_lab.research.plateau import plateau, widest

GRID = {"a": [1, 2, 3, 4, 5], "b": [10, 20, 30, 40, 50]}


def table(values: np.ndarray) -> pd.DataFrame:
    cells = [(a, b, values[i, j]) for i, a in enumerate(GRID["a"]) for j, b in enumerate(GRID["b"])]
    return pd.DataFrame(cells, columns=["a", "b", "sharpe"])


def test_a_lonely_peak_loses_to_a_hill() -> None:
    values = np.zeros((5, 5))
    values[0, 0] = values[1, 4] = 9.0  # lonely
    values[2:5, 1:4] = 3.0
    assert widest(table(values), GRID, "sharpe") == {"a": 4, "b": 30}  # the mean of its nine is 3
    assert widest(table(values), GRID, "sharpe", how="worst") == {"a": 4, "b": 30}


def test_the_score_is_the_mean_of_the_neighbourhood() -> None:
    values = np.arange(25.0).reshape(5, 5)
    found = plateau(table(values), GRID, "sharpe").to_numpy().reshape(5, 5)
    assert found[2, 2] == values[1:4, 1:4].mean()
    assert found[0, 2] == values[0:2, 1:4].mean()  # an edge knows six of nine
    assert math.isnan(found[0, 0])  # a corner knows four


def test_refused_neighbours_do_not_count_as_zero() -> None:
    values = np.full((5, 5), 2.0)
    values[1, 1] = math.nan
    found = plateau(table(values), GRID, "sharpe").to_numpy().reshape(5, 5)
    assert found[2, 2] == 2.0
    assert math.isnan(found[1, 1])
    missing = table(values).dropna()
    assert plateau(missing, GRID, "sharpe").loc[12] == 2.0  # a row that is not there is not known either


def test_an_axis_of_one_or_two_values_has_what_it_can_have() -> None:
    short = pd.DataFrame({"a": [1, 2], "sharpe": [1.0, 3.0]})
    assert plateau(short, {"a": [1, 2]}, "sharpe").tolist() == [2.0, 2.0]


def test_what_cannot_be_judged_is_said() -> None:
    with pytest.raises(ConfigError, match="metric 'nope' is in no column"):
        plateau(table(np.zeros((5, 5))), GRID, "nope")
    with pytest.raises(ConfigError, match="reach = 0"):
        plateau(table(np.zeros((5, 5))), GRID, "sharpe", reach=0)
    with pytest.raises(ConfigError, match="no cell of 25 has enough neighbours"):
        widest(table(np.full((5, 5), math.nan)), GRID, "sharpe")

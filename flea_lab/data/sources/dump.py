"""A file that is more than a table: what was made of it before it is looked at as candles."""

from typing import NamedTuple

import pandas as pd

from flea_lab.data.sources.recognise import Guess


class Dump(NamedTuple):
    """Bars with canonical names and times in ms (`ts`), what had to be assumed, and what name and folders tell."""

    table: pd.DataFrame
    notes: tuple[str, ...]
    named: Guess

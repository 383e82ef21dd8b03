"""New rows joined with stored ones (pure): equal overlaps pass, different ones do not."""

import numpy as np
import pandas as pd

from flea_lab.data.frames import iso
from flea_lab.errors import DataError


def merged(old: pd.DataFrame, new: pd.DataFrame, place: str, *, replace: bool) -> pd.DataFrame:
    """All rows of two frames that each have unique `ts`, in order of `ts`; of a row in both, the new one.

    Refuses rows that differ, naming the first, unless `replace`. Refuses columns that differ (buy_volume on one side
    only) where old rows would remain.
    """
    kept = old[~old["ts"].isin(new["ts"])]
    if list(old.columns) != list(new.columns):
        if kept.empty and (replace or old.empty):
            return new.reset_index(drop=True)
        odd = sorted(set(old.columns) ^ set(new.columns))
        where = "stored" if odd[0] in old.columns else "new"
        raise DataError(f"{place}: only the {where} rows have {', '.join(odd)}; import them under another venue name")
    if not replace:
        _check_equal(old, new, place)
    return pd.concat([kept, new], ignore_index=True).sort_values("ts", ignore_index=True)


def _check_equal(old: pd.DataFrame, new: pd.DataFrame, place: str) -> None:
    left = old[old["ts"].isin(new["ts"])].sort_values("ts", ignore_index=True)
    right = new[new["ts"].isin(old["ts"])].sort_values("ts", ignore_index=True)
    a, b = left.to_numpy(), right.to_numpy()
    differs = (a != b) & ~((a != a) & (b != b))
    rows = np.flatnonzero(differs.any(axis=1))
    if len(rows):
        row, column = rows[0], left.columns[differs[rows[0]].argmax()]
        raise DataError(
            f"{place}: {iso(int(left['ts'][row]))} is stored with {column} {left[column][row]}, the new one has "
            f"{right[column][row]} ({len(rows)} rows differ); pass --replace to take the new ones"
        )

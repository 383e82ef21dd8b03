"""Where the package lies, and the notebooks that make the reports."""

from pathlib import Path

import flea_lab

ROOT = Path(flea_lab.__file__).resolve().parents[1]
"""The checkout, or the folder that the package is installed in."""
REPORT_NOTEBOOK = ROOT / "notebooks" / "reports" / "backtest.ipynb"
"""What a report executes: part of the code of a run, not of what trades."""
SESSION_NOTEBOOK = ROOT / "notebooks" / "reports" / "session.ipynb"
"""What a report on a live session executes."""
WALK_NOTEBOOK = ROOT / "notebooks" / "reports" / "walkforward.ipynb"
"""What a walk-forward report executes."""
OPERATIONS_NOTEBOOK = ROOT / "notebooks" / "reports" / "operations.ipynb"
"""What a daily operations report executes."""
HISTORY = "executed.ipynb"
"""In a run that was stored from a person's notebook: what its kernel had executed."""
LOCK_FILE = "requirements.lock"

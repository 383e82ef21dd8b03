"""A report on every promoted config, on what its store holds by now; status 1 and one line for each that failed.

    python pipelines/nightly_report.py [PARAMS]

PARAMS is a TOML file, by default params/nightly_report.toml. From cron, in the checkout, every night at 02:10:

    10 2 * * *  cd CHECKOUT && FLEA_HOME=WORKSPACE .venv/bin/python pipelines/nightly_report.py
"""

import sys
from pathlib import Path

from flea_lab.config import read_toml
from flea_lab.errors import FleaError
from flea_lab.promotion import list_promoted, load_promoted
from flea_lab.report.run import run_report
from flea_lab.settings import Settings, load_settings
from flea_lab.workspace import workspace

PARAMS = Path(__file__).parent / "params" / "nightly_report.toml"


class Params(Settings, frozen=True, kw_only=True):
    """Names of promoted configs, all where none is given; `standalone` pages hold plotly.js themselves."""

    promoted: tuple[str, ...] = ()
    standalone: bool = False


def main(file: Path = PARAMS) -> int:
    """0 where every report was made, else 1; what was made is printed, what failed goes to stderr."""
    failed = 0
    try:
        params = load_settings(read_toml(file, "params"), Params, file.name)
        home = workspace()
        names = params.promoted or tuple(one.name for one in list_promoted(home))
    except FleaError as error:
        print(f"nightly_report: {error}", file=sys.stderr)
        return 1
    for name in names:
        try:
            print(run_report(load_promoted(name, home).config, standalone=params.standalone))
        except FleaError as error:
            print(f"nightly_report: {name}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))

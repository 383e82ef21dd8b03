"""A finished run into a promoted config: sweep and replay compared once more, on the data the run was made of."""

from pathlib import Path

from flea_lab import runs
from flea_lab.clock import Clock, WallClock
from flea_lab.config import from_dict, load
from flea_lab.errors import PromotionError
from flea_lab.promotion import ParityVerdict, promote
from flea_lab.research.parity import check_parity
from flea_lab.wiring import load_market
from flea_lab.workspace import Workspace, workspace


def promote_run(
    run: str | Path,
    name: str | None = None,
    *,
    replace: bool = False,
    allow_dirty: bool = False,
    progress: bool = False,
    clock: Clock | None = None,
) -> Path:
    """The file of the run promoted as `name`, by default the name of its config.

    `run` is a run's folder, its name below `runs`, or a config file: then its newest finished backtest. What is refused
    is a `PromotionError`.
    """
    home = workspace()
    folder = find_run(run, home)
    manifest = runs.read_manifest(folder)
    config = from_dict(manifest.config, f"run {folder.name}")
    if manifest.kind != "backtest":
        raise PromotionError(f"run {folder.name} is a {manifest.kind}, promoted is a backtest: flea report CONFIG")
    loaded = load_market(config)
    if loaded.data != manifest.data:
        raise PromotionError(f"run {folder.name}: the stored data has changed since it finished: run flea report again")
    legs = check_parity(config, loaded.market, progress=progress)
    verdict = ParityVerdict(
        config_id=legs.config.id, digests=legs.digests, decisions=legs.decisions[1], equal=legs.equal
    )
    return promote(
        folder,
        config.name if name is None else name,
        verdict=verdict,
        clock=clock or WallClock(),
        home=home,
        replace=replace,
        allow_dirty=allow_dirty,
    )


def find_run(run: str | Path, home: Workspace) -> Path:
    """The folder that `run` means: a folder, a name below `runs`, or a config file's newest finished backtest."""
    given = Path(run)
    if given.is_dir():
        return given.absolute()
    if given.is_file():
        config = load(given)
        for one in runs.list_runs(home):
            if one.manifest and (one.manifest.kind, one.manifest.config_id) == ("backtest", config.id):
                return one.folder
        raise PromotionError(
            f"config {given}: no finished backtest of {config.id[:10]} in {home.runs}: flea report {given}"
        )
    if (home.runs / given).is_dir():
        return home.runs / given
    raise PromotionError(f"run {run}: neither a folder, nor a run in {home.runs}, nor a config file")

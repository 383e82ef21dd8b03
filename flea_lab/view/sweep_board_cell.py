"""One cell of a sweep: its equity as the sweep has it and as the core replays it, and its config as a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.config import RunConfig
from flea_lab.errors import WorkspaceError
from flea_lab.money import USD
from flea_lab.runs import to_toml
from flea_lab.signal.kernel import Floats
from flea_lab.wiring import Loaded, run_backtest, run_fold
from flea_lab.workspace import workspace

FOLDER = "configs"


class Curves(NamedTuple):
    """Times in ms UTC, and equity in USD at each: folded by the sweep, replayed through the core with its gate."""

    ts: npt.NDArray[np.int64]
    fold_usd: Floats
    replay_usd: Floats

    @property
    def equal(self) -> bool:
        """Whether both are the same to the last micro-dollar."""
        return bool(np.array_equal(self.fold_usd, self.replay_usd))


def curves_of(config: RunConfig, loaded: Loaded, start: int) -> Curves:
    """Both curves of a config that trades from bar `start` on."""
    folded = run_fold(config, loaded.market, start, curves=True).sink.equity[start:]
    replayed = run_backtest(config, loaded, start=start).equity
    return Curves(replayed["ts"].to_numpy(), folded / USD, replayed["equity_usd"].to_numpy())


def keep_config(config: RunConfig) -> Path:
    """The file in the workspace that holds the whole of `config`, written now or before; `WorkspaceError` where
    another one has its place."""
    folder = workspace().ready().root / FOLDER
    path, content = folder / f"{config.name}-{config.id[:10]}.toml", to_toml(config.to_dict()).encode()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        if not path.is_file() or path.read_bytes() != content:
            raise WorkspaceError(f"{path} holds something else and is not overwritten; move it away") from None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}") from None
    return path

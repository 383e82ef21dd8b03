"""What a finished run says of itself: `manifest.json`, sealed, so that an edit of it is seen."""

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

import flea_lab
from flea_lab.errors import WorkspaceError
from flea_lab.runs.code import CodeState
from flea_lab.runs.digest import json_digest

MANIFEST = "manifest.json"
Kind = Literal["backtest", "sweep", "session", "walkforward", "operations"]
WORDS: dict[Kind, str] = {
    "backtest": "report",
    "sweep": "sweep",
    "session": "session",
    "walkforward": "walkforward",
    "operations": "operations",
}
"""The command that makes a run of each kind."""


class Source(Struct, frozen=True, kw_only=True):
    """The notebook that made a run: its path in the checkout (or its bare name), a digest of its cells without outputs,
    its one parameter and that one's value, None for the config."""

    path: str
    digest: str
    parameter: str
    value: dict[str, Any] | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """What a finished run is made of and what came out.

    `metrics` are None where they are undefined (NaN is not JSON). `outputs`, `frames`, `cells` and `seal` are filled in
    by `finish`, and `reproduce` where it is not given. Times are ISO 8601 UTC. `decisions_digest` is None where nothing
    decided. `options` are what the command was told beside config and grid. `modules` are the package's that were
    loaded, by path, `kernels` the signals, by name: digests of sources. `frames` are digests of what the stored frames
    hold, `cells` of the cells of the stored notebook. `hidden` says in a line each what no second execution would know.
    What an older run did not write down is empty or None.
    """

    kind: Kind
    name: str
    config: dict[str, Any]
    config_id: str
    source: str
    synthetic: bool
    data: list[dict[str, Any]]
    code: CodeState
    versions: dict[str, str]
    started: str
    finished: str
    metrics: dict[str, float | None]
    result_digest: str
    decisions_digest: str | None = None
    seed: int | None = None
    grid: dict[str, Any] | None = None
    options: dict[str, Any] = {}
    flea_version: str = flea_lab.__version__
    outputs: dict[str, str] = {}
    reproduce: str = ""
    modules: dict[str, str] = {}
    kernels: dict[str, str] = {}
    lock: str | None = None
    notebook: Source | None = None
    frames: dict[str, str] = {}
    cells: list[str] = []
    hidden: list[str] = []
    seal: str = ""

    @property
    def inputs_digest(self) -> str:
        """SHA-256 over what the config does not hold: data, code and grid."""
        return json_digest({"data": self.data, "code": self.code.digest, "grid": self.grid})

    @property
    def stem(self) -> str:
        """The name of its folder, but for the number of a name that was taken."""
        return f"{self.name}-{self.config_id[:10]}-{self.inputs_digest[:8]}"


def sealed(manifest: Manifest) -> Manifest:
    """`manifest` with the seal of what it says: not a signature, whoever knows how can make it again."""
    return msgspec.structs.replace(manifest, seal=seal_of(msgspec.json.encode(manifest)))


def seal_of(text: bytes) -> str:
    """SHA-256 over a manifest's JSON without its `seal`, compact and with sorted keys."""
    values = json.loads(text)
    values.pop("seal", None)
    return json_digest(values)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder; `WorkspaceError` where there is none, or it is not one."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise WorkspaceError(f"run folder {folder}: no {MANIFEST}, so the run did not finish") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"run folder {folder}: {MANIFEST} cannot be read ({error})") from None

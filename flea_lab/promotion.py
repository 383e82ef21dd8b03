"""What may trade: a finished backtest, bound by digest to its config, data and code, in one file of the workspace.

`FLEA_HOME/promoted/NAME.toml` holds the whole config and what it was when it was promoted. Whoever loads it computes
the id of the config and the digest of the code again; what is another by then does not trade.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from flea_lab import runs
from flea_lab.clock import Clock
from flea_lab.config import NAME, RunConfig, from_dict, read_toml
from flea_lab.errors import FleaError, PromotionError, WorkspaceError
from flea_lab.runs import CodeState, Manifest
from flea_lab.settings import Settings, load_settings
from flea_lab.workspace import Workspace, write_whole

SUFFIX = ".toml"
PRIVATE = 0o600


class ParityVerdict(Settings, frozen=True, kw_only=True):
    """What sweep and replay of one config decided: both digests, how many decisions, and whether they are the same."""

    config_id: str
    digests: tuple[str, str]
    decisions: int
    equal: bool


class Binding(Settings, frozen=True, kw_only=True):
    """What a promoted config is bound to. `run` is the folder's name, `data` the manifest's, digests by partition.

    `dirty` says that the code was not what any commit holds; `replaces` names what stood under this name before.
    """

    name: str
    run: str
    config_id: str
    inputs_digest: str
    result_digest: str
    decisions_digest: str
    source: str
    synthetic: bool
    promoted: str
    dirty: bool
    parity: ParityVerdict
    code: CodeState
    data: list[dict[str, Any]]
    versions: dict[str, str]
    replaces: str = ""


class Promoted(Struct, frozen=True, kw_only=True):
    """A config that may trade, and what it is bound to."""

    bound: Binding
    config: RunConfig

    @property
    def name(self) -> str:
        return self.bound.name


class Listed(Struct, frozen=True, kw_only=True):
    """One file of the folder. `state` is "ok" where the code is still the promoted one; `why` one line where not."""

    name: str
    state: Literal["ok", "code changed", "broken"]
    promoted: Promoted | None = None
    why: str = ""


def promote(
    run: Path,
    name: str,
    *,
    verdict: ParityVerdict,
    clock: Clock,
    home: Workspace,
    replace: bool = False,
    allow_dirty: bool = False,
) -> Path:
    """The file of the finished backtest in folder `run`, promoted as `name`; it stands whole or not at all.

    `PromotionError` says what is missing: see `_check`, and a name that is taken unless `replace`. Code that differs
    from its commit passes with `allow_dirty`, and is marked.
    """
    if not NAME.fullmatch(name):
        raise PromotionError(f"name = {name!r}: lower-case letters, digits, _ and -, at most 41")
    run = run.absolute()
    manifest = runs.read_manifest(run)
    config = from_dict(manifest.config, f"run {run.name}")
    code = runs.code_state(config)
    _check(run, manifest, config, verdict, code, allow_dirty)
    folder = home.ready().promoted
    with _alone(folder):
        before = _taken(name, home, replace)
        bound = _bind(run, name, manifest, verdict, code, runs.iso_utc(clock.now_ns()), before)
        text = runs.to_toml({"promotion": msgspec.to_builtins(bound), "config": config.to_dict()})
        write_whole(folder / f"{name}{SUFFIX}", text.encode(), mode=PRIVATE)
    return folder / f"{name}{SUFFIX}"


def load_promoted(name: str, home: Workspace, *, code: CodeState | None = None) -> Promoted:
    """What may trade under `name`, its config validated again; `code` is the code of now unless another is given.

    `PromotionError` where there is none, where its config is not the one that was promoted, or the code is another.
    """
    found = read_promoted(name, home)
    _check_code(found, runs.code_state(found.config) if code is None else code)
    return found


def read_promoted(name: str, home: Workspace) -> Promoted:
    """The promotion as it stands in its file, bound to its own config, whatever the code is now."""
    file = home.promoted / f"{name}{SUFFIX}"
    if not NAME.fullmatch(name) or not file.is_file():
        known = ", ".join(_names(home))
        raise PromotionError(
            f"promoted {name}: no such promotion in {home.promoted}, "
            + (f"known are {known}" if known else "it has none")
        )
    values = read_toml(file, "promotion")
    if set(values) != {"promotion", "config"} or not all(isinstance(one, dict) for one in values.values()):
        raise PromotionError(f"promoted {name}: {file} must have the tables promotion and config, nothing else")
    stated = values["promotion"]
    if isinstance(stated.get("code"), dict):  # TOML has no None
        stated["code"] = {"commit": None, "dirty": None, **stated["code"]}
    bound = load_settings(stated, Binding, f"promoted {name}")
    if bound.name != name:
        raise PromotionError(f"promoted {name}: {file} was promoted as {bound.name}; promote its run under this name")
    config = from_dict(values["config"], f"promoted {name}")
    if config.id != bound.config_id:
        raise PromotionError(
            f"promoted {name}: its config was changed since promotion: id {config.id[:10]}, "
            f"promoted was {bound.config_id[:10]}"
        )
    return Promoted(bound=bound, config=config)


def list_promoted(home: Workspace) -> list[Listed]:
    """Everything that is promoted below `home`, by name, with what has become of it."""
    return [_look(name, home) for name in _names(home)]


def _look(name: str, home: Workspace) -> Listed:
    try:
        found = read_promoted(name, home)
    except FleaError as error:
        return Listed(name=name, state="broken", why=str(error))
    try:
        _check_code(found, runs.code_state(found.config))
    except PromotionError as error:
        return Listed(name=name, state="code changed", promoted=found, why=str(error))
    return Listed(name=name, state="ok", promoted=found)


def _check(
    run: Path, manifest: Manifest, config: RunConfig, verdict: ParityVerdict, code: CodeState, allow_dirty: bool
) -> None:
    """Refuses what is no proof: no backtest, edited, made by other code or of other data, no parity, no commit."""
    if manifest.kind != "backtest":
        raise PromotionError(f"run {run.name} is a {manifest.kind}, promoted is a backtest: flea report CONFIG")
    edited = runs.edited_outputs(run, manifest)
    if edited:
        raise PromotionError(f"run {run.name} was edited since it finished: {', '.join(edited)}")
    if config.id != manifest.config_id:
        raise PromotionError(
            f"run {run.name}: the config in its manifest has id {config.id[:10]}, not {manifest.config_id[:10]}"
        )
    if not manifest.data:
        raise PromotionError(f"run {run.name} names no stored data, so nothing says what it was tested on")
    with_notebook = runs.code_state(config, runs.REPORT_NOTEBOOK) if runs.REPORT_NOTEBOOK.is_file() else code
    if manifest.code.digest not in (code.digest, with_notebook.digest):
        raise PromotionError(
            f"run {run.name}: code changed since it finished, digest {with_notebook.digest[:10]}, "
            f"the run's was {manifest.code.digest[:10]}: run flea report again"
        )
    _check_parity(run, manifest, verdict)
    if code.dirty and not allow_dirty:
        raise PromotionError(
            f"run {run.name}: the code differs from commit {_short(code)}: commit it, or allow dirty code"
        )


def _check_parity(run: Path, manifest: Manifest, verdict: ParityVerdict) -> None:
    if verdict.config_id != manifest.config_id:
        raise PromotionError(
            f"run {run.name}: the parity is that of config {verdict.config_id[:10]}, not of {manifest.config_id[:10]}"
        )
    if not verdict.equal or verdict.digests[0] != verdict.digests[1]:
        raise PromotionError(
            f"run {run.name}: sweep and replay do not decide the same: flea parity says where they part"
        )
    if verdict.decisions < 1:
        raise PromotionError(f"run {run.name} took no decision, so that sweep and replay agree says nothing")
    if manifest.decisions_digest != verdict.digests[1]:
        raise PromotionError(
            f"run {run.name} took the decisions {str(manifest.decisions_digest)[:10]}, parity now finds "
            f"{verdict.digests[1][:10]}: what it ran on has changed, run flea report again"
        )


def _check_code(found: Promoted, code: CodeState) -> None:
    if code.digest != found.bound.code.digest:
        raise PromotionError(
            f"promoted {found.name}: code changed since promotion, digest {code.digest[:10]}, "
            f"promoted was {found.bound.code.digest[:10]}: promote again"
        )


def _taken(name: str, home: Workspace, replace: bool) -> str:
    """What stands under `name`, in words; empty where nothing does."""
    file = home.promoted / f"{name}{SUFFIX}"
    if not file.exists():
        return ""
    if not replace:
        raise PromotionError(
            f"promoted {name}: the name is taken, by {_in_words(name, home)}; replace it, or take another"
        )
    return _in_words(name, home)


def _in_words(name: str, home: Workspace) -> str:
    try:
        bound = read_promoted(name, home).bound
    except FleaError:
        return "a file that cannot be read as a promotion"
    return f"config {bound.config_id[:10]} of run {bound.run}, promoted {bound.promoted}"


def _bind(
    run: Path, name: str, manifest: Manifest, verdict: ParityVerdict, code: CodeState, promoted: str, before: str
) -> Binding:
    return Binding(
        name=name,
        run=run.name,
        config_id=manifest.config_id,
        inputs_digest=manifest.inputs_digest,
        result_digest=manifest.result_digest,
        decisions_digest=verdict.digests[1],
        source=manifest.source,
        synthetic=manifest.synthetic,
        promoted=promoted,
        dirty=bool(code.dirty),
        parity=verdict,
        code=code,
        data=manifest.data,
        versions=runs.versions(),
        replaces=before,
    )


def _names(home: Workspace) -> list[str]:
    return sorted(file.stem for file in home.promoted.glob(f"*{SUFFIX}")) if home.promoted.is_dir() else []


def _short(code: CodeState) -> str:
    return "none" if code.commit is None else code.commit[:10]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder against other processes that promote; a disk that refuses is a `WorkspaceError`."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WorkspaceError(f"folder {folder}: {reason[0].lower()}{reason[1:]}") from None

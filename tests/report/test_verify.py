"""What happened to a stored run behind its back is found, under the name of the component that it happened to; and a
run that nothing happened to is equal."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from flea_lab import runs
from flea_lab.report import evidence, verify
from flea_lab.report.evidence import look
from flea_lab.workspace import Workspace
from tests.report.scenes import (
    Scene,
    copied,
    digest_of_checkout,
    digest_of_tree,
    edit_manifest,
    stored_backtest,
    stored_market,
    stored_sweep,
)
from tests.report.tampers import COMPONENTS, TAMPERS, Tamper


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """A stored backtest and a stored sweep on one market, each made once, and a checkout that nobody else edits."""
    folder = tmp_path_factory.mktemp("scene")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(folder / "home"))
        stored_market(folder / "home")
        made = {"backtest": stored_backtest(patch), "sweep": stored_sweep()}
        yield {kind: Scene(folder / "home", run, runs.ROOT) for kind, run in made.items()}


def spoilt(tamper: Tamper, scenes: dict[str, Scene], to: Path) -> Scene:
    """A copy of the scene of `tamper`, spoilt by it."""
    scene = copied(scenes[tamper.kind], to, with_checkout=tamper.of_the_checkout)
    seed = np.random.default_rng(TAMPERS.index(tamper))
    return tamper.edit(scene, seed) or scene


def judged(scene: Scene, second: Path | None) -> verify.Verdict:
    """The verdict on a scene; `second` is what a second execution gives, None for digests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_again", lambda *_: second)
        return verify.verify(scene.run, Workspace(scene.home), quick=second is None, root=scene.checkout)


def named(verdict: verify.Verdict) -> set[str]:
    return {one.component for one in verdict.differences} & set(COMPONENTS)


def test_the_corpus_reaches_every_component() -> None:
    assert len(TAMPERS) >= 30 and len({tamper.name for tamper in TAMPERS}) == len(TAMPERS)
    assert {tamper.component for tamper in TAMPERS} == set(COMPONENTS)


@pytest.mark.parametrize("kind", ["backtest", "sweep"])
def test_a_run_that_nothing_happened_to_is_equal(kind: str, scenes: dict[str, Scene]) -> None:
    scene = scenes[kind]
    before = digest_of_tree(scene.home)
    for second in (None, scene.run):
        found = judged(scene, second)
        assert (found.state, found.differences, found.notes, found.status) == ("equal", [], [], 0), found.text()
    assert digest_of_tree(scene.home) == before, "to verify changes nothing"


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.name.replace(" ", "-"))
def test_what_happened_is_found_and_named(tamper: Tamper, scenes: dict[str, Scene], tmp_path: Path) -> None:
    scene = spoilt(tamper, scenes, tmp_path)
    changed = digest_of_tree(scene.home) != digest_of_tree(scenes[tamper.kind].home)
    if tamper.of_the_checkout:
        changed |= digest_of_checkout(scene.checkout) != digest_of_checkout(scenes[tamper.kind].checkout)
    assert changed, "a tamper that changes nothing cannot be found"
    found = judged(scene, scenes[tamper.kind].run if tamper.by == "execution" else None)
    assert found.status == tamper.status, found.text()
    assert named(found) - set(tamper.also) == {tamper.component}, found.text()
    lines = [one.line() for one in found.differences if one.component == tamper.component]
    assert any(tamper.item in line for line in lines), found.text()


BLINDED = {
    "one candle by one tick": ("_data", None),
    "a helper module": ("_code", None),
    "a signal of one's own": ("_kernels", set()),
    "another numba": ("_packages", None),
    "a cent of equity": ("_outputs", None),
    "costs in config.toml": ("_outputs", None),
    "the seed": ("_manifest", True),
}
"""By tamper, the part of the detector that finds it, and what that part gives when it looks at nothing."""


@pytest.mark.parametrize("name", BLINDED)
def test_a_detector_that_does_not_look_finds_nothing(
    name: str, scenes: dict[str, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, nothing = BLINDED[name]
    [tamper] = [one for one in TAMPERS if one.name == name]
    scene = spoilt(tamper, scenes, tmp_path)
    monkeypatch.setattr(evidence, part, lambda *_: nothing)
    assert judged(scene, None).state == "equal"


def test_a_second_execution_that_is_not_compared_finds_nothing(
    scenes: dict[str, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [tamper] = [one for one in TAMPERS if one.name == "a metric, sealed again"]
    scene = spoilt(tamper, scenes, tmp_path)
    assert judged(scene, None).state == "equal", "digests alone cannot tell"
    monkeypatch.setattr(verify, "_compare", lambda *_: True)
    assert judged(scene, scenes["backtest"].run).state == "equal"


@pytest.mark.parametrize(("name", "status"), [("a comment in a module", 0), ("another numba", 0), ("the page", 1)])
def test_other_code_that_gives_the_same_result_can_be_forgiven_an_edit_cannot(
    name: str, status: int, scenes: dict[str, Scene], tmp_path: Path
) -> None:
    [tamper] = [one for one in TAMPERS if one.name == name]
    found = judged(spoilt(tamper, scenes, tmp_path), scenes["backtest"].run)
    assert (found.status, found.same_result, found.result_status) == (1, True, status)
    assert "executed again, the result is the same" in found.text()


def test_an_older_manifest_says_what_cannot_be_told(scenes: dict[str, Scene], tmp_path: Path) -> None:
    scene = copied(scenes["backtest"], tmp_path, with_checkout=False)

    def of_before(done: dict[str, object]) -> None:
        for name in ("modules", "kernels", "lock", "notebook", "frames", "cells", "hidden", "options", "seal"):
            done.pop(name)

    edit_manifest(scene.run, of_before, seal=False)
    found = judged(scene, None)
    assert found.state == "equal"
    assert [note.split(":")[0] for note in found.notes] == [
        "stored before manifests were sealed",
        "stored before modules were written down",
    ]


def test_data_that_came_later_change_nothing(scenes: dict[str, Scene], tmp_path: Path) -> None:
    from flea_lab.data.dataset import Origin
    from flea_lab.data.sources.demo import synthetic_market
    from flea_lab.data.store import CandleStore
    from tests.report.tampers import KEY

    scene = copied(scenes["backtest"], tmp_path, with_checkout=False)
    held = CandleStore(scene.home / "store")
    longer = pd.concat([held.read(KEY), _later(synthetic_market("BTCUSDT", n_bars=10)[0], held.info(KEY).last_ms)])
    source = held.info(KEY).source
    held.write(KEY, longer.reset_index(drop=True), Origin(source=source, synthetic=True), replace=True)
    found = judged(scene, None)
    assert (found.state, found.notes) == (
        "equal",
        ["synthetic BTCUSDT 1m has grown since, the bars of the run are the same"],
    )


def _later(candles: pd.DataFrame, last_ms: int) -> pd.DataFrame:
    return candles.assign(ts=candles["ts"] - candles["ts"].iloc[0] + last_ms + 60_000)


@pytest.mark.parametrize(
    ("file", "said"),
    [("backtest.ipynb", "it is not reproducible"), ("executed.ipynb", "what the cells did besides, such as to the")],
)
def test_a_run_that_gives_another_result_without_a_reason_is_not_reproducible_or_was_stored_by_hand(
    file: str, said: str, scenes: dict[str, Scene]
) -> None:
    run = scenes["backtest"].run
    found = look(run, Workspace(scenes["backtest"].home))
    assert found.manifest is not None
    other = dict.fromkeys(found.manifest.frames, "0" * 64)
    first = msgspec.structs.replace(found.manifest, decisions_digest="0" * 64, frames=other, outputs={file: ""})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_first_change", lambda *_: ("1 in row 0 of ts", "2 in row 0 of ts"))
        assert verify._compare(found, first, run) is False
    assert {one.component for one in found.differences} == {"result"}
    assert said in found.notes[-1]

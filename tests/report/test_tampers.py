"""Every tamper of the corpus spoils something, and together they reach every component."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flea_lab import runs
from tests.report.scenes import (
    Scene,
    copied,
    digest_of_checkout,
    digest_of_tree,
    stored_backtest,
    stored_market,
    stored_sweep,
)
from tests.report.tampers import COMPONENTS, TAMPERS, Tamper


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """A stored backtest and a stored sweep on one market, each made once."""
    home = tmp_path_factory.mktemp("scene") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(home))
        stored_market(home)
        made = {"backtest": stored_backtest(patch), "sweep": stored_sweep()}
        yield {kind: Scene(home, run, runs.ROOT) for kind, run in made.items()}


def spoilt(tamper: Tamper, scenes: dict[str, Scene], to: Path) -> Scene:
    """A copy of the scene of `tamper`, spoilt by it."""
    scene = copied(scenes[tamper.kind], to, with_checkout=tamper.of_the_checkout)
    seed = np.random.default_rng(TAMPERS.index(tamper))
    return tamper.edit(scene, seed) or scene


def test_the_corpus_reaches_every_component() -> None:
    assert len(TAMPERS) >= 30 and len({tamper.name for tamper in TAMPERS}) == len(TAMPERS)
    assert {tamper.component for tamper in TAMPERS} == set(COMPONENTS)


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.name.replace(" ", "-"))
def test_every_tamper_changes_what_is_on_the_disk(tamper: Tamper, scenes: dict[str, Scene], tmp_path: Path) -> None:
    before, after = scenes[tamper.kind], spoilt(tamper, scenes, tmp_path)
    same = digest_of_tree(after.home) == digest_of_tree(before.home)
    if tamper.of_the_checkout:
        same = same and digest_of_checkout(after.checkout) == digest_of_checkout(before.checkout)
    assert not same

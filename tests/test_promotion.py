"""What was promoted trades, and nothing else: every way in which a run is no proof is refused in one line."""

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab import runs
from flea_lab.config import RunConfig, from_dict
from flea_lab.errors import ConfigError, FleaError, PromotionError, WorkspaceError
from flea_lab.promotion import ParityVerdict, list_promoted, load_promoted, promote, read_promoted
from flea_lab.runs import CodeState, Manifest
from flea_lab.workspace import Workspace, workspace

CODE = CodeState(digest="c0de" * 16, commit="ab" * 20, dirty=False)
DECIDED = "d1ce" * 16


class Noon:
    """A clock that stands."""

    def now_ns(self) -> int:
        return 1_746_372_780_000_000_000

    def new_id(self) -> str:
        return "one"


def config(**changes: Any) -> RunConfig:
    values = {"name": "small", "symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}
    return from_dict({**values, **changes})


def verdict(**changes: Any) -> ParityVerdict:
    values = dict(config_id=config().id, digests=(DECIDED, DECIDED), decisions=17, equal=True)
    return ParityVerdict(**{**values, **changes})


def finished(desk: Workspace, **changes: Any) -> Path:
    """The folder of a finished run, as a report leaves it."""
    values: dict[str, Any] = dict(
        kind="backtest",
        name="small",
        config=config().to_dict(),
        config_id=config().id,
        source="made by hand (seed 7)",
        synthetic=True,
        data=[{"venue": "synthetic", "symbol": "BTCUSDT", "rows": 5, "partitions": {"2025-01": "00ff"}}],
        code=CODE,
        versions={},
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
        metrics={"total_return": 0.5},
        result_digest="beef",
        decisions_digest=DECIDED,
    )
    partial = runs.begin(desk, "small", config().id)
    (partial / "report.html").write_text("<p>", encoding="utf-8")
    return runs.finish(partial, Manifest(**{**values, **changes}))


@pytest.fixture
def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which the code is always `CODE`."""
    now_is(monkeypatch, CODE)
    return workspace()


def now_is(monkeypatch: pytest.MonkeyPatch, code: CodeState) -> None:
    monkeypatch.setattr(runs, "code_state", lambda *_: code)


def put(desk: Workspace, run: Path | None = None, name: str = "mine", **given: Any) -> Path:
    given = {"verdict": verdict(), "clock": Noon(), "home": desk, **given}
    return promote(run or finished(desk), name, **given)


def test_what_is_promoted_is_loaded_again_with_everything_it_is_bound_to(desk: Workspace) -> None:
    run = finished(desk)
    file = put(desk, run)
    assert file == desk.root / "promoted" / "mine.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = load_promoted("mine", desk, code=CODE)
    assert (found.name, found.config) == ("mine", config())
    bound, manifest = found.bound, runs.read_manifest(run)
    assert (bound.run, bound.config_id, bound.inputs_digest) == (run.name, config().id, manifest.inputs_digest)
    assert (bound.code, bound.dirty, bound.data) == (CODE, False, manifest.data)
    assert (bound.result_digest, bound.decisions_digest, bound.parity) == ("beef", DECIDED, verdict())
    assert (bound.promoted, bound.synthetic, bound.replaces) == ("2025-05-04T15:33:00Z", True, "")
    assert bound.versions == runs.versions()
    assert not list(file.parent.glob("*.part"))


def test_the_file_is_toml_with_the_whole_config_written_out(desk: Workspace) -> None:
    values = tomllib.loads(put(desk).read_text(encoding="utf-8"))
    assert set(values) == {"promotion", "config"}
    assert values["config"]["risk"]["max_order_usd"] == config().risk.max_order_usd
    assert from_dict(values["config"]) == config()


def test_unversioned_code_is_bound_by_its_digest(desk: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    code = CodeState(digest=CODE.digest, commit=None, dirty=None)
    now_is(monkeypatch, code)
    put(desk)
    assert load_promoted("mine", desk).bound.code == code


def test_a_run_that_did_not_finish_is_no_proof(desk: Workspace) -> None:
    failed = runs.fail(runs.begin(desk, "small", config().id), "no candles")
    with pytest.raises(WorkspaceError, match=r"failed-small-.*: no manifest.json, so the run did not finish"):
        put(desk, failed)
    with pytest.raises(WorkspaceError, match=r"nowhere: no manifest.json"):
        put(desk, desk.runs / "nowhere")


REFUSED = [
    ({"kind": "sweep", "grid": {}}, {}, r"small-.* is a sweep, promoted is a backtest: flea report CONFIG"),
    ({"data": []}, {}, r"names no stored data, so nothing says what it was tested on"),
    ({"config_id": "ab" * 32}, {}, r"the config in its manifest has id \w{10}, not ababababab"),
    (
        {"code": replace(CODE, digest="0ld" * 20)},
        {},
        r"code changed since it finished, digest c0dec0dec0, the run's was 0ld0ld0ld0: run flea report again",
    ),
    ({}, {"config_id": "ab" * 32}, r"the parity is that of config ababababab, not of \w{10}"),
    ({}, {"equal": False}, r"sweep and replay do not decide the same: flea parity says where they part"),
    ({}, {"digests": ("aa" * 32, DECIDED)}, r"sweep and replay do not decide the same"),
    ({}, {"decisions": 0}, r"took no decision, so that sweep and replay agree says nothing"),
    (
        {"decisions_digest": "beef" * 16},
        {},
        r"took the decisions beefbeefbe, parity now finds d1ced1ced1: what it ran on has changed",
    ),
    ({"decisions_digest": None}, {}, r"took the decisions None, parity now finds d1ced1ced1"),
]


@pytest.mark.parametrize(("run", "parity", "line"), REFUSED)
def test_a_run_that_proves_nothing_is_refused(
    desk: Workspace, run: dict[str, Any], parity: dict[str, Any], line: str
) -> None:
    with pytest.raises(PromotionError, match=line):
        put(desk, finished(desk, **run), verdict=verdict(**parity))
    assert list_promoted(desk) == []


def test_a_run_whose_files_were_edited_or_lost_is_refused(desk: Workspace) -> None:
    run = finished(desk)
    (run / "report.html").write_text("<p>much better", encoding="utf-8")
    with pytest.raises(PromotionError, match=r"was edited since it finished: report.html$"):
        put(desk, run)
    (run / "report.html").unlink()
    with pytest.raises(PromotionError, match=r"was edited since it finished: report.html$"):
        put(desk, run)


def test_a_config_edited_in_the_manifest_is_refused(desk: Workspace) -> None:
    run = finished(desk)
    values = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    values["config"]["risk"]["max_drawdown"] = 0.5
    (run / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(PromotionError, match=r"the config in its manifest has id \w{10}, not \w{10}"):
        put(desk, run)


def test_code_that_no_commit_holds_is_refused_unless_allowed_and_then_marked(
    desk: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_is(monkeypatch, replace(CODE, dirty=True))
    run = finished(desk)
    with pytest.raises(
        PromotionError, match=r"the code differs from commit ababababab: commit it, or allow dirty code"
    ):
        put(desk, run)
    put(desk, run, allow_dirty=True)
    assert load_promoted("mine", desk).bound.dirty
    assert "\ndirty = true\n" in (desk.promoted / "mine.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "-x", "mine\n", "a" * 42])
def test_a_name_that_is_no_name_is_refused(desk: Workspace, name: str) -> None:
    with pytest.raises(PromotionError, match=r"name = .*: lower-case letters, digits, _ and -, at most 41"):
        put(desk, name=name)
    with pytest.raises(PromotionError, match="no such promotion in "):
        load_promoted(name, desk, code=CODE)


def test_a_taken_name_is_kept_unless_it_is_replaced_and_then_the_file_says_what_was_there(desk: Workspace) -> None:
    first = put(desk)
    run, was = read_promoted("mine", desk).bound.run, first.read_bytes()
    taken = f"config {config().id[:10]} of run {run}, promoted 2025-05-04T15:33:00Z"
    with pytest.raises(
        PromotionError, match=f"promoted mine: the name is taken, by {taken}; replace it, or take another"
    ):
        put(desk)
    assert first.read_bytes() == was
    put(desk, replace=True)
    assert read_promoted("mine", desk).bound.replaces == taken
    first.write_text("gone wrong", encoding="utf-8")
    with pytest.raises(PromotionError, match="by a file that cannot be read as a promotion"):
        put(desk)
    put(desk, replace=True)
    assert read_promoted("mine", desk).bound.replaces == "a file that cannot be read as a promotion"


def test_a_disk_that_refuses_leaves_what_was_there(desk: Workspace) -> None:
    file = put(desk)
    was = file.read_bytes()
    (desk.promoted / "mine.toml.part").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match=r"^folder .*promoted: no space left on device$"):
        put(desk, replace=True)
    assert file.read_bytes() == was


def test_a_config_changed_since_promotion_does_not_trade(desk: Workspace) -> None:
    file = put(desk)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("max_order_usd = 50000.0", "max_order_usd = 90000.0"), encoding="utf-8")
    line = rf"promoted mine: its config was changed since promotion: id \w{{10}}, promoted was {config().id[:10]}"
    with pytest.raises(PromotionError, match=line):
        load_promoted("mine", desk, code=CODE)
    file.write_text(text.replace("max_order_usd", "max_odrer_usd"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"max_odrer_usd: unknown field, did you mean 'max_order_usd'.*promoted mine"):
        load_promoted("mine", desk, code=CODE)


def test_code_changed_since_promotion_does_not_trade(desk: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    put(desk)
    line = "promoted mine: code changed since promotion, digest 4e44e44e44, promoted was c0dec0dec0: promote again"
    with pytest.raises(PromotionError, match=line):
        load_promoted("mine", desk, code=CodeState(digest="4e4" * 20, commit=None, dirty=None))
    now_is(monkeypatch, CodeState(digest="4e4" * 20, commit=None, dirty=None))
    with pytest.raises(PromotionError, match=line):
        load_promoted("mine", desk)


def test_a_name_that_is_not_there_is_answered_with_those_that_are(desk: Workspace) -> None:
    with pytest.raises(PromotionError, match=r"promoted mine: no such promotion in .*promoted, it has none$"):
        load_promoted("mine", desk, code=CODE)
    put(desk, name="b")
    put(desk, name="a")
    with pytest.raises(PromotionError, match=r"promoted mine: no such promotion in .*promoted, known are a, b$"):
        load_promoted("mine", desk, code=CODE)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("[promotion]", "[other]", r"must have the tables promotion and config, nothing else"),
        ('name = "mine"', 'name = "yours"', r"mine.toml was promoted as yours; promote its run under this name"),
        ("synthetic = true", "synthetic = 1", r"synthetic = 1: expected `bool`.*\(in promoted mine\)"),
        ("equal = true", "equal = true\nsure = true", r"sure.*unknown field.*\(in promoted mine\)"),
        ("[promotion]", "[promotion", r"promotion .*mine.toml: not TOML"),
    ],
)
def test_a_file_that_is_no_promotion_is_one_line(desk: Workspace, old: str, new: str, line: str) -> None:
    file = put(desk)
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FleaError, match=line):
        load_promoted("mine", desk, code=CODE)


def test_what_is_promoted_is_listed_with_what_became_of_it(desk: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_promoted(desk) == []
    put(desk, name="b")
    (put(desk, name="a")).write_text("gone wrong", encoding="utf-8")
    assert [(one.name, one.state) for one in list_promoted(desk)] == [("a", "broken"), ("b", "ok")]
    now_is(monkeypatch, CodeState(digest="4e4" * 20, commit=None, dirty=None))
    broken, changed = list_promoted(desk)
    assert "not TOML" in broken.why and broken.promoted is None
    assert changed.state == "code changed" and "promote again" in changed.why
    assert changed.promoted is not None and changed.promoted.config == config()

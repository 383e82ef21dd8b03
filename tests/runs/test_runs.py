"""A folder under a final name is whole; whatever else happened says so under another name."""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from flea_lab import runs
from flea_lab.config import RunConfig, from_dict
from flea_lab.errors import WorkspaceError
from flea_lab.runs import CodeState, Manifest
from flea_lab.workspace import Workspace, workspace

ID = "ab12" * 16


def config(**changes: Any) -> RunConfig:
    values = {"name": "small", "symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}
    return from_dict({**values, **changes})


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = dict(
        kind="backtest",
        name="small",
        config={},
        config_id=ID,
        source="made by hand",
        synthetic=True,
        data=[{"symbol": "BTCUSDT", "partitions": {"2025-01": "00ff"}}],
        code=CodeState(digest="c0de", commit=None, dirty=None),
        versions={},
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
        metrics={"total_return": 0.5},
        result_digest="beef",
    )
    return Manifest(**{**values, **changes})


@pytest.fixture
def desk(home: Path) -> Workspace:
    return workspace()


def begun(desk: Workspace) -> Path:
    partial = runs.begin(desk, "small", ID)
    (partial / "report.html").write_text("<p>", encoding="utf-8")
    return partial


def names(desk: Workspace) -> list[str]:
    return sorted(path.name for path in desk.runs.iterdir())


def test_a_finished_run_is_named_by_config_and_inputs_and_describes_its_files(desk: Workspace) -> None:
    written = manifest()
    final = runs.finish(begun(desk), written)
    assert final == desk.runs / f"small-{ID[:10]}-{written.inputs_digest[:8]}"
    assert names(desk) == [final.name]
    assert sorted(path.name for path in final.iterdir()) == ["manifest.json", "report.html"]
    read = runs.read_manifest(final)
    assert read.outputs == {"report.html": hashlib.sha256(b"<p>").hexdigest()}
    assert read.reproduce == f"flea report {final}/config.toml"
    assert msgspec.structs.replace(read, outputs={}, reproduce="", seal="") == written


def test_a_sweep_is_reproduced_with_its_grid(desk: Workspace) -> None:
    final = runs.finish(begun(desk), manifest(kind="sweep", grid={"ema_momentum.fast": [1, 2]}))
    assert runs.read_manifest(final).reproduce == f"flea sweep {final}/config.toml --grid {final}/grid.toml"


def test_a_taken_name_gets_a_number(desk: Workspace) -> None:
    first, second, third = (runs.finish(begun(desk), manifest()) for _ in range(3))
    assert [second.name, third.name] == [f"{first.name}-2", f"{first.name}-3"]


def test_other_data_code_or_grid_is_another_name() -> None:
    code = CodeState(digest="other", commit=None, dirty=None)
    found = [manifest(), manifest(data=[]), manifest(code=code), manifest(grid={"a": [1]}), manifest(metrics={})]
    digests = [one.inputs_digest for one in found]
    assert digests[0] == digests[4] and len(set(digests)) == 4


def test_until_it_is_finished_a_run_is_running_and_has_no_final_name(desk: Workspace) -> None:
    partial = begun(desk)
    [run] = runs.list_runs(desk)
    assert (run.state, run.manifest, run.folder) == ("running", None, partial)
    assert partial.name.startswith(".partial-small-ab12ab12ab-")
    final = runs.finish(partial, manifest())
    [run] = runs.list_runs(desk)
    assert (run.state, run.folder, run.why) == ("ok", final, "")


def test_a_run_whose_process_died_is_a_failed_one(desk: Workspace) -> None:
    script = (
        "import os; from flea_lab import runs; from flea_lab.workspace import workspace; "
        f"runs.begin(workspace(), 'small', '{ID}'); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=runs.ROOT, check=False)
    assert done.returncode == 9
    [run] = runs.list_runs(desk)
    assert (run.state, run.why) == ("failed", "its process died before it finished")


def test_a_failed_run_keeps_what_it_has_and_says_why_in_its_first_line(desk: Workspace) -> None:
    folders = [runs.fail(begun(desk), "no candles for BTCUSDT", "Traceback ...") for _ in range(2)]
    assert [folder.name for folder in folders] == [f"failed-small-{ID[:10]}", f"failed-small-{ID[:10]}-2"]
    assert (folders[0] / "error.txt").read_text(encoding="utf-8") == "no candles for BTCUSDT\n\nTraceback ...\n"
    assert (folders[0] / "report.html").exists()
    assert {(run.state, run.why) for run in runs.list_runs(desk)} == {("failed", "no candles for BTCUSDT")}


def test_a_failed_run_without_a_word_is_still_listed(desk: Workspace) -> None:
    (runs.fail(begun(desk), "gone") / "error.txt").unlink()
    assert [run.why for run in runs.list_runs(desk)] == ["it left no word"]


def test_a_full_disk_leaves_no_final_name(desk: Workspace) -> None:
    partial = begun(desk)
    (partial / "manifest.json.part").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match=r"^run folder .*partial-small-.*: no space left on device$"):
        runs.finish(partial, manifest())
    assert names(desk) == [partial.name]
    folder = runs.fail(partial, "disk full")
    assert not (folder / "manifest.json").exists()


def test_a_frame_is_written_whole_or_not_at_all(desk: Workspace) -> None:
    partial = begun(desk)
    frame = pd.DataFrame({"ts": [1, 2], "equity_usd": [1.0, 2.0]})
    written = runs.save_frames(partial, {"equity": frame})
    assert written == {"equity.parquet": hashlib.sha256((partial / "equity.parquet").read_bytes()).hexdigest()}
    pd.testing.assert_frame_equal(pd.read_parquet(partial / "equity.parquet"), frame)
    (partial / "fills.parquet.part").symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match="no space left on device"):
        runs.save_frames(partial, {"fills": frame})
    assert not list(partial.glob("fills*"))


def test_an_unwritable_workspace_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(
        WorkspaceError, match=r"^workspace .*file/home cannot be made: Not a directory \(set FLEA_HOME\)$"
    ):
        runs.begin(Workspace(tmp_path / "file" / "home"), "small", ID)


def test_a_runs_folder_that_is_a_file_is_one_line(desk: Workspace) -> None:
    desk.ready().runs.rmdir()
    desk.runs.write_text("", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"runs"):
        runs.begin(desk, "small", ID)
    assert runs.list_runs(desk) == []


def test_a_folder_without_a_manifest_or_with_a_broken_one_is_failed(desk: Workspace) -> None:
    bare, broken = desk.ready().runs / "bare", desk.runs / "broken"
    bare.mkdir()
    broken.mkdir()
    (broken / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"^run folder .*bare: no manifest.json, so the run did not finish$"):
        runs.read_manifest(bare)
    with pytest.raises(WorkspaceError, match=r"^run folder .*broken: manifest.json cannot be read \(.*truncated"):
        runs.read_manifest(broken)
    found = {run.folder.name: (run.state, run.why) for run in runs.list_runs(desk)}
    assert found["bare"] == ("failed", "no manifest.json, so the run did not finish")
    assert found["broken"][0] == "failed"


def test_what_is_no_run_is_not_listed(desk: Workspace) -> None:
    for name in ("_assets", ".unfinished"):
        (desk.ready().runs / name).mkdir()
    assert runs.list_runs(desk) == []
    assert runs.list_runs(Workspace(desk.root / "nowhere")) == []


def test_one_bit_of_the_result_changes_its_digest() -> None:
    curve = pd.DataFrame({"ts": np.arange(3), "equity_usd": [1.0, 2.0, 3.0]})
    given = runs.result_digest({"sharpe": 1.0, "calmar": float("nan")}, "d", curve)
    assert given == runs.result_digest({"calmar": None, "sharpe": 1.0}, "d", curve.copy())
    moved = curve.assign(equity_usd=[1.0, np.nextafter(2.0, 3.0), 3.0])
    others = [
        runs.result_digest({"sharpe": np.nextafter(1.0, 2.0), "calmar": None}, "d", curve),
        runs.result_digest({"sharpe": 1.0, "calmar": None}, "e", curve),
        runs.result_digest({"sharpe": 1.0, "calmar": None}, "d", moved),
        runs.result_digest({"sharpe": 1.0, "calmar": None}, "d", curve.iloc[:2]),
    ]
    assert len({given, *others}) == 5


def test_what_is_not_a_number_is_not_defined() -> None:
    found = runs.defined({"a": float("nan"), "b": float("inf"), "c": np.float64(1.5), "d": None})
    assert found == {"a": None, "b": None, "c": 1.5, "d": None} and type(found["c"]) is float


def test_a_config_as_toml_is_the_same_config(home: Path) -> None:
    given = config(
        signals=[{"kernel": "ema_momentum", "params": {"fast": 5}}, {"kernel": "rsi_reversion", "weight": 0.7}],
        data={"venue": "synthetic", "start": "2025-01-01"},
        risk={"vpin": {"source": "bars", "bucket_volume": {"BTCUSDT": 12.5}}},
    )
    values = tomllib.loads(runs.to_toml(given.to_dict()))
    assert from_dict(values) == given and from_dict(values).id == given.id


@pytest.mark.parametrize(
    "values",
    [
        {"a b": 'quote " and \\ and \n and é', "c": True, "d": [1, 2.5, "x"], "e": {}},
        {"rows": [{"a": 1, "deep": {"b": [0.1]}}, {"a": 2, "list": [{"z": 1}]}], "last": {"x.y": {"n": -0.0}}},
        {"small": 1e-300, "large": 1e300, "empty": []},
    ],
)
def test_toml_holds_plain_values(values: dict[str, Any]) -> None:
    assert tomllib.loads(runs.to_toml(values)) == values


def test_toml_leaves_out_what_is_none() -> None:
    assert tomllib.loads(runs.to_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}


def test_the_code_digest_covers_notebook_and_own_signals(home: Path, tmp_path: Path) -> None:
    given = config()
    plain = runs.code_state(given).digest
    notebook = tmp_path / "backtest.ipynb"
    notebook.write_text("{}", encoding="utf-8")
    with_notebook = runs.code_state(given, notebook).digest
    notebook.write_text("{ }", encoding="utf-8")
    changed = runs.code_state(given, notebook).digest
    own = workspace().ready().signals / "ema_momentum.py"
    own.write_text("x = 1\n", encoding="utf-8")
    with_signal = runs.code_state(given).digest
    (workspace().signals / "not_named.py").write_text("x = 1\n", encoding="utf-8")
    assert runs.code_state(given).digest == with_signal
    assert len({plain, with_notebook, changed, with_signal}) == 4


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_code_is_dirty_clean_or_unversioned(tmp_path: Path) -> None:
    package = tmp_path / "flea_lab"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    assert runs.dirty(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert runs.dirty(tmp_path) is None, "a repository that does not track the package says nothing of it"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a")
    assert runs.dirty(tmp_path) is False
    (tmp_path / "README.md").write_text("", encoding="utf-8")
    assert runs.dirty(tmp_path) is False, "only the package and the notebooks count"
    (package / "new.py").write_text("", encoding="utf-8")
    assert runs.dirty(tmp_path) is True


def test_versions_name_the_interpreter_and_plotly() -> None:
    found = runs.versions()
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.") and "plotly" in found


def test_the_manifest_is_readable_json(desk: Workspace) -> None:
    text = (runs.finish(begun(desk), manifest()) / "manifest.json").read_text(encoding="utf-8")
    assert json.loads(text)["code"] == {"digest": "c0de", "commit": None, "dirty": None}
    assert text.startswith('{\n  "kind": "backtest"')

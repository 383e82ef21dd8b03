"""`flea runs` lists, chooses, compares, shows and clears away what is stored; `flea verify` ends in 0, 1 or 2."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from flea_lab import runs
from flea_lab.cli.commands import app
from flea_lab.errors import ConfigError, FleaError
from flea_lab.report.gallery import MOST, gallery
from flea_lab.runs import CodeState, Manifest
from flea_lab.workspace import workspace

ID = "ab12" * 16
DAY_S = 86_400


def flea(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def stored(
    name: str = "small",
    *,
    dirty: bool | None = False,
    synthetic: bool = True,
    sharpe: float | None = 1.234,
    finished: str = "2025-01-01T00:01:00Z",
    curve: float = 1.0,
    config: dict[str, object] | None = None,
    hidden: tuple[str, ...] = (),
) -> Path:
    done = Manifest(
        kind="backtest",
        name=name,
        config=config or {},
        config_id=ID,
        source="synthetic market (seed 7)" if synthetic else "Binance BTCUSDT perp 1m",
        synthetic=synthetic,
        data=[],
        code=CodeState(digest="c0de", commit=None, dirty=dirty),
        versions={},
        started="2025-01-01T00:00:00Z",
        finished=finished,
        metrics={"total_return": -0.0523, "sharpe": sharpe},
        result_digest="beef",
        decisions_digest="d1ce",
        hidden=list(hidden),
    )
    partial = runs.begin(workspace(), name, ID)
    (partial / "report.html").write_text("<p>", encoding="utf-8")
    ts = 1_735_689_600_000 + 60_000 * np.arange(300)
    frame = pd.DataFrame({"ts": ts, "equity_usd": 1e5 * (1.0 + curve * np.sin(np.arange(300) / 30.0) / 100.0)})
    runs.save_frames(partial, {"equity": frame})
    return runs.finish(partial, done)


def promoted(run: Path, name: str) -> None:
    file = workspace().ready().promoted / f"{name}.toml"
    file.write_text(f'[promotion]\nname = "{name}"\nrun = "{run.name}"\n', encoding="utf-8")


def listed(*words: str) -> list[str]:
    return [line.split()[0] for line in flea("runs", *words).output.splitlines()[1:]]


def test_no_runs_are_said_to_be_none(home: Path) -> None:
    assert flea("runs").output == f"no runs in {home / 'runs'}\n"


@pytest.mark.usefixtures("home")
def test_runs_are_listed_with_result_source_and_state() -> None:
    clean, dirty = stored(dirty=False), stored(dirty=True, synthetic=False, sharpe=None)
    runs.fail(runs.begin(workspace(), "small", ID), "no candles for BTCUSDT")
    lines = {line.split()[0]: " ".join(line.split()) for line in flea("runs").output.splitlines()}
    assert lines["run"] == "run config kind finished return sharpe data state"
    numbers = "ab12ab12ab backtest 2025-01-01T00:01:00Z -5.23 %"
    assert lines[clean.name] == f"{clean.name} {numbers} 1.23 synthetic market (seed 7) ok"
    assert lines[dirty.name] == f"{dirty.name} {numbers} - Binance BTCUSDT perp 1m ok, dirty code"
    assert lines["failed-small-ab12ab12ab"] == "failed-small-ab12ab12ab failed"
    assert "failed-small-ab12ab12ab:" in lines and lines["failed-small-ab12ab12ab:"].endswith("no candles for BTCUSDT")


@pytest.mark.usefixtures("home")
def test_unversioned_code_is_called_so() -> None:
    stored(dirty=None)
    assert "ok, unversioned code" in flea("runs").output


@pytest.mark.usefixtures("home")
def test_runs_are_chosen_by_kind_name_time_metric_and_promotion() -> None:
    old, new = stored("old", sharpe=0.5, finished="2024-06-01T00:00:00Z"), stored("new", sharpe=2.0)
    none = stored("none", sharpe=None)
    promoted(new, "live-one")
    assert listed() == [none.name, new.name, old.name]
    assert listed("--name", "o*") == [old.name] and listed("--since", "2025-01-01") == [none.name, new.name]
    assert listed("--metric", "sharpe>1") == [new.name] and listed("--metric", "sharpe<=0.5") == [old.name]
    assert listed("--metric", "sharpe>0", "--metric", "total_return>-0.01") == ["runs"][:0]
    assert listed("--promoted") == [new.name] and "promoted as live-one" in flea("runs", "--promoted").output
    assert listed("--sort", "sharpe") == [new.name, old.name, none.name]
    assert listed("--kind", "sweep") == []
    assert flea("runs", "--kind", "sweep").output == f"no runs that are meant in {workspace().runs}\n"
    for words, said in (
        (("--metric", "sharpe is good"), "metric 'sharpe is good': such as"),
        (("--since", "yesterday"), "since 'yesterday' is not an ISO date"),
    ):
        found = flea("runs", *words).exception
        assert isinstance(found, ConfigError) and said in str(found)


@pytest.mark.usefixtures("home")
def test_clean_says_what_would_go_and_removes_only_with_yes() -> None:
    runs_ = [stored("small") for _ in range(4)]
    other = stored("other")
    failed = runs.fail(runs.begin(workspace(), "small", ID), "no candles")
    for at, folder in enumerate([*runs_, other, failed]):
        os.utime(folder, (1_700_000_000 + at * DAY_S,) * 2)
    promoted(runs_[0], "kept")
    working = runs.begin(workspace(), "small", ID)
    said = flea("runs", "clean", "--keep", "1").output
    assert said.splitlines()[-1].startswith("2 would go, ") and all(folder.is_dir() for folder in runs_)
    assert [line.split()[0] for line in said.splitlines()[:-1]] == [runs_[2].name, runs_[1].name]
    done = flea("runs", "clean", "--keep", "1", "--yes").output.splitlines()[-1]
    assert re.fullmatch(r"2 removed, [0-9.]+ MB freed", done)
    assert [folder.is_dir() for folder in runs_] == [True, False, False, True], "the promoted and the newest stay"
    assert other.is_dir() and failed.is_dir() and working.is_dir()
    assert flea("runs", "clean", "--older-than", "1", "--yes").output.splitlines()[-1].startswith("3 removed")
    assert [folder.is_dir() for folder in (runs_[0], working)] == [True, True]
    assert not [path for path in workspace().runs.iterdir() if path.name.startswith(".gone-")]


@pytest.mark.usefixtures("home")
def test_nothing_is_removed_where_a_promotion_cannot_be_read_or_nothing_says_what() -> None:
    run = stored()
    (workspace().ready().promoted / "torn.toml").write_text("[promot", encoding="utf-8")
    found = flea("runs", "clean", "--keep", "0", "--yes").exception
    assert isinstance(found, FleaError) and "torn.toml: not TOML" in str(found) and run.is_dir()
    assert listed() == [run.name]
    found = flea("runs", "clean").exception
    assert isinstance(found, ConfigError) and "--keep N, or --older-than DAYS" in str(found)


@pytest.mark.usefixtures("home")
def test_two_runs_are_compared_in_text_and_on_a_page_with_both_curves() -> None:
    first = stored("one", config={"costs": {"fee_bps": 5.0}})
    second = stored("two", config={"costs": {"fee_bps": 2.0}}, sharpe=2.0, synthetic=False, curve=2.0)
    lines = [" ".join(line.split()) for line in flea("runs", "diff", first.name, second.name).output.splitlines()]
    assert lines[2:4] == ["parameters:", "costs.fee_bps 5.0 2.0"] and "sharpe 1.234 2" in lines
    assert "source synthetic market (seed 7) Binance BTCUSDT perp 1m" in lines
    page = Path(lines[-1].removeprefix("page ")).read_text(encoding="utf-8")
    assert page.count('class="page-figure"') == 1 and first.name in page and second.name in page
    assert len(page) < 200_000 and not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "code: the same" in lines
    same = flea("runs", "diff", first.name, first.name).output
    assert same.count(": the same") == 4
    found = flea("runs", "diff", first.name, "gone").exception
    assert isinstance(found, ConfigError) and "run gone: neither a folder nor a run in" in str(found)


@pytest.mark.usefixtures("home")
def test_the_index_stands_alone_and_shows_every_run_with_its_picture() -> None:
    run, marked = stored(), stored("marked", hidden=("cell 3 was executed twice",), curve=-1.0)
    promoted(run, "live-one")
    runs.fail(runs.begin(workspace(), "small", ID), "no <candles>")
    page = Path(flea("runs", "index").output.strip()).read_text(encoding="utf-8")
    assert page.count("<svg ") == 2 and page.count('class="card"') == 3
    assert f'href="{run.name}/report.html"' in page and "promoted as live-one" in page
    assert 'title="cell 3 was executed twice"' in page and f'data-words="{marked.name} backtest' in page
    assert "no &lt;candles&gt;" in page and "no <candles>" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page) and "url(" not in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page
    assert (workspace().runs / "_thumbnails" / f"{run.name}.svg").is_file()
    assert {one.folder for one in runs.list_runs(workspace())} >= {run, marked}


@pytest.mark.usefixtures("home")
def test_an_index_of_very_many_runs_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    from flea_lab.report import gallery as page

    run = stored()
    [one] = page.shelf(workspace())
    monkeypatch.setattr(page, "shelf", lambda _: [one] * (MOST + 50))
    text = gallery(workspace())
    assert text.count('class="card"') == MOST and len(text) < 500_000 and f"The newest {MOST}" in text
    assert run.is_dir()


@pytest.mark.usefixtures("home")
def test_verify_asks_which_and_says_what_it_cannot() -> None:
    found = flea("verify").exception
    assert isinstance(found, ConfigError) and str(found) == "which run: flea verify RUN, or flea verify --all"
    assert flea("verify", "--all").output == f"no finished runs in {workspace().runs}\n"
    run = stored()
    done = flea("verify", run.name, "--quick")
    assert done.exit_code == 0 and done.output.startswith(f"{run.name}: equal (digests of 2 files)")
    assert "  it could not be executed again: a backtest on a market that was not read from the store" in done.output
    (run / "report.html").write_text("<p>better", encoding="utf-8")
    done = flea("verify", "--all", "--quick")
    assert done.exit_code == 1 and "  edited output   report.html: was " in done.output
    (run / "manifest.json").write_text("{", encoding="utf-8")
    done = flea("verify", run.name)
    assert done.exit_code == 2 and f"{run.name}: cannot be verified: run folder" in done.output

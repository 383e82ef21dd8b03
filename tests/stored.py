"""A small stored market, and a finished backtest on it as a report leaves one, without the page that costs seconds."""

from pathlib import Path

from flea_lab import runs
from flea_lab.config import RunConfig
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.runs import CodeState, Manifest
from flea_lab.wiring import load_market, run_backtest
from flea_lab.workspace import workspace


def store_market(n_bars: int, *, replace: bool = False) -> None:
    """Puts the synthetic market of BTCUSDT and its funding into the store of this workspace."""
    candles, funding, label = synthetic_market("BTCUSDT", n_bars=n_bars)
    store = CandleStore(workspace().ready().store)
    origin = Origin(source=label, synthetic=True)
    store.write(Dataset("synthetic", "BTCUSDT", "1m"), candles, origin, replace=replace)
    store.write_funding("synthetic", "BTCUSDT", funding, replace=replace)


def finished_backtest(config: RunConfig, code: CodeState) -> Path:
    """The folder of a finished backtest of `config` on the stored market, made by `code`."""
    loaded = load_market(config)
    result = run_backtest(config, loaded)
    done = Manifest(
        kind="backtest",
        name=config.name,
        config=config.to_dict(),
        config_id=config.id,
        source=loaded.source,
        synthetic=loaded.synthetic,
        data=loaded.data,
        code=code,
        versions=runs.versions(),
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
        metrics=runs.defined(result.metrics),
        result_digest="beef" * 16,
        decisions_digest=result.digest,
    )
    partial = runs.begin(workspace(), config.name, config.id)
    runs.save_text(partial, "config.toml", runs.to_toml(config.to_dict()))
    return runs.finish(partial, done)

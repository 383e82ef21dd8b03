"""A workspace in which the commands of the documents can be typed, and what stands for their placeholders."""

import re
import shlex
import shutil
import zipfile
from itertools import count
from pathlib import Path

from flea_lab.config import load
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.runs import code_state
from flea_lab.schedule.service import run_schedule
from flea_lab.workspace import workspace
from tests.backtest.test_tape_replay import events, write
from tests.data.captures.test_capture_files import RAW
from tests.docs.rules import leaf_of
from tests.laws.source import ROOT
from tests.rehearsed import rehearsed
from tests.stored import finished_backtest

PARAMS = ROOT / "pipelines" / "params"
PRINTS = "1,100.5,0.25,1,1,1738281600000,true\n2,100.6,0.5,2,2,1738281661000,false\n"
SCHEDULE = """
[[jobs]]
name = "nightly"
command = "flea runs"
cron = "10 2 * * *"
"""
BARS = 2_880

PHRASE = ("--phrase", "clear kill_switch of main")
MORE: dict[str, tuple[str, ...]] = {
    "flea resume": PHRASE,  # a test is no terminal
    "flea promote": ("--allow-dirty", "--replace"),  # a checkout under work has no commit
    "flea walkforward": ("--train-days", "0.8", "--test-days", "0.4"),  # two days are stored
    "flea monitor": ("--port", "0"),
    "flea sandbox": ("--port", "0"),
    "flea data synth": ("--venue", "mine"),  # the stored market is smaller than what it makes
}
"""Words that are put behind a command, and why."""


class World:
    """Two stored days, two finished backtests, tapes, a capture, files to import, a played session, a schedule."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._numbers = folder, count()
        self.url = self.cluster = ""
        workspace().ready()
        self.config, self.grid, self.ranges = (
            Path(shutil.copy(PARAMS / f"{name}.toml", folder)) for name in ("seed", "seed_grid", "seed_ranges")
        )
        self.tape, self.other = workspace().root / "tapes" / "a.tape", workspace().root / "tapes" / "b.tape"
        self.runs: list[str] = []

    def fill(self) -> None:
        """Stores the market by the commands themselves, then what is made of it."""
        self.tape.parent.mkdir(parents=True, exist_ok=True)
        told = events(depth=3)
        half = len(told) // 2
        write(self.tape, told)
        write(self.other, [*told[:1], *told[half:]])
        shutil.copy(self.tape, self.folder / "night.tape")
        (self.folder / "day.raw").write_text(RAW)
        with zipfile.ZipFile(self.folder / "BTCUSDT-aggTrades-2025-01.zip", "w") as packed:
            packed.writestr("BTCUSDT-aggTrades-2025-01.csv", PRINTS)
        candles = synthetic_market("BTCUSDT", n_bars=60)[0]
        candles.to_csv(self.folder / "binance_um_BTCUSDT_1m.csv", index=False)
        config = load(self.config)
        state = code_state(config)
        self.runs = [finished_backtest(config, state).name for _ in range(2)]
        run_schedule(self._schedule(""), once=True, signals=False)
        rehearsed(workspace().root / "journals" / "main")

    def typed(self, text: str) -> list[list[str]]:
        """What a line means here: its words, with what is optional left out and put in."""
        if "[" not in text:
            return [self._words(text)]
        return [self._words(re.sub(r"\s*\[[^]]+\](\.\.\.)?", "", text)), self._words(re.sub(r"[][]", "", text))]

    def _words(self, text: str) -> list[str]:
        leaf, seen = leaf_of(text), count()
        tapes = (self.tape, self.other)
        table: dict[str, object] = {
            "CONFIG": self.config,
            "GRID": self.grid,
            "RANGES": self.ranges,
            "tcp://127.0.0.1:8786": self.cluster,
            "RUN": self.runs[0],
            "A": self.runs[0],
            "B": self.runs[1],
            "N": "17" if "sim" in leaf else "5",
            "ACCOUNT": "main",
            "ACCOUNT...": "main",
            "CHANNEL": "phone",
            "NAME": {"flea schedule add": "mine", "flea schedule remove": "nightly", "flea run": "seed"}.get(
                leaf, "me"
            ),
            "JOB": "nightly",
            "COMMAND...": "flea runs",
            "CAPTURE": self.folder / "day.raw",
            "FILE...": self.folder / "binance_um_BTCUSDT_1m.csv",
            "0..999": "0..39",
            "2026-05-05T12:00": "2025-01-01T02:00",
            "2026-05-05T13:00": "2025-01-01T03:00",
        }
        if leaf in ("flea verify", "flea promote"):  # what a report has stored since, of the data as they are now
            stored = [path for path in workspace().runs.iterdir() if (path / "report.html").exists()]
            table["RUN"] = max(stored, key=lambda path: path.stat().st_mtime).name
        if leaf == "flea run":
            table["CONFIG"] = "seed"
        if leaf in ("flea runs", "flea runs clean"):
            table["N"] = "5"
        words: list[str] = []
        for word in shlex.split(text):
            if word == "FILE":
                words.append(str(tapes[next(seen) % 2]))
            elif word in ("OUT", "OUT.tape", "OUT.parquet"):
                suffix = Path(word).suffix or (".parquet" if "convert" in leaf else ".tape")
                words.append(str(self.folder / f"out{next(self._numbers)}{suffix}"))
            else:
                words += str(table[word]).split() if word == "COMMAND..." else [str(table.get(word, word))]
        return self._with_more(leaf, words)

    def _with_more(self, leaf: str, words: list[str]) -> list[str]:
        more = list(MORE.get(leaf, ()))
        if leaf in ("flea faucet", "flea run", "flea record"):
            more += ["--url", self.url]
        if leaf == "flea faucet":
            more += ["--replace"]
        if leaf.startswith("flea schedule") and not leaf.endswith("history"):
            more += ["--file", str(self._schedule(leaf))]
        at = len(leaf.removesuffix(" --seed").removesuffix(" --seeds").split())
        return [*words[1:at], *more, *words[at:]]

    def _schedule(self, leaf: str) -> Path:
        """A schedule of this line's own: with the job that is taken out, without the one that is put in."""
        file = self.folder / f"schedule{next(self._numbers)}.toml"
        file.write_text('folder = "."\n' + ("" if leaf == "flea schedule add" else SCHEDULE))
        return file

"""`flea tape`: what tapes there are, what is wrong with one, parts of it, several in one, and it as something else."""

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flea_lab.errors import DataError

if TYPE_CHECKING:
    from flea_lab.data.tape_facts import TapeFacts

app = typer.Typer(no_args_is_help=True, help="Recorded feeds: list, check, slice, merge, convert.")

SHOWN = 20
"""Findings that `check` lists, first ones first."""

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The new tape; one that is there is refused.")]
By = Annotated[str, typer.Option("--by", help="event: the venue's time. recv: ours at the receipt.")]
Symbols = Annotated[str | None, typer.Option("--symbols", help="Only these, separated by commas.")]


@app.command("list")
def list_tapes(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help="Default: the workspace's.")] = None,
) -> None:
    """List tapes: span, records by kind and symbol, size, lost connections, a torn end."""
    from flea_lab.data.tape_facts import describe
    from flea_lab.workspace import workspace

    home = workspace()
    paths = files or sorted((*home.tapes.glob("*.tape"), *(home.root / "journals").glob("*/*market.tape")))
    if not paths:
        print(f"no tape in {home.tapes}")
    for path in paths:
        print("\n".join(_facts_lines(str(path), describe(path, progress=True))))


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A tape.")],
    venue: Annotated[
        str, typer.Option("--venue", help="By whose rules books are judged; default: what the tape says.")
    ] = "",
    interval: Annotated[str, typer.Option("--interval", help="Of its candles; default: what the tape says.")] = "",
) -> None:
    """Look for a torn end, records out of order, gaps, duplicates, books that break. Status 1 where there are any."""
    from flea_lab.data.frames import iso
    from flea_lab.data.tape_check import check_tape

    found = check_tape(path, venue=venue, interval=interval, progress=True)
    print("\n".join(_facts_lines(path.name, found.facts)))
    print(
        f"  order: {found.backwards} records back in time, {found.heartbeats_back} heartbeats; silent: {found.silent}"
    )
    for (channel, kind), count in found.findings.items():
        print(f"  {channel} {kind}: {count}")
    for row in found.rows[:SHOWN]:
        print(f"    {iso(row.ts_from // 1_000_000)}  {row.channel} {row.symbol} {row.kind}  {row.detail}")
    if not found.sound:
        raise typer.Exit(1)


@app.command("slice")
def cut(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A tape.")],
    out: Out,
    start: Annotated[str | None, typer.Option("--start", help="From this ISO time on, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="Up to this ISO time, which is not in it.")] = None,
    symbols: Symbols = None,
    channels: Annotated[
        str | None, typer.Option("--channels", help="Only these: candle, book, trades, funding, heartbeat.")
    ] = None,
    by: By = "event",
) -> None:
    """Cut a part out of a tape, by time, symbol and channel, into a new one."""
    from flea_lab.data.tape_cut import slice_tape

    kept = slice_tape(
        path,
        out,
        start_ns=_ns(start, "start"),
        end_ns=_ns(end, "end"),
        symbols=_names(symbols),
        channels=_names(channels),
        by=_by(by),
        progress=True,
    )
    print(f"{out}: {kept} records")


@app.command("merge")
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE FILE... OUT", help="Tapes, and last the new one.")],
    by: By = "recv",
) -> None:
    """Merge tapes into a new one in order of time; of one instant, in the order in which the files are given."""
    from flea_lab.data.tape_cut import merge_tapes

    *paths, out = files
    print(f"{out}: {merge_tapes(paths, out, by=_by(by), progress=True)} records of {len(paths)} tapes")


@app.command("convert")
def convert(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A tape, or a venue's raw capture.")],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUT]", help="NAME.tape: the capture. NAME.parquet: the prints. None: candles, stored."
        ),
    ] = None,
    venue: Annotated[str | None, typer.Option("--venue", help="Whose it is, where that cannot be told.")] = None,
    interval: Annotated[str, typer.Option("--interval", help="Of the candles.")] = "1m",
    prints: Annotated[bool, typer.Option("--prints", help="Make candles of prints, even where it holds some.")] = False,
    raw: Annotated[bool, typer.Option("--raw/--no-raw", help="Keep a capture's frames beside its events.")] = True,
    replace: Annotated[bool, typer.Option("--replace", help="Take the new values where stored ones differ.")] = False,
) -> None:
    """Turn a capture into a tape, a tape's candles and funding into the store, or its prints into parquet."""
    from flea_lab.data.tape_convert import tape_of_capture, trades_to_parquet

    if out is None:
        _store_candles(path, venue, interval, prints, replace)
    elif out.suffix == ".parquet":
        print(f"{out}: {trades_to_parquet(path, out, progress=True)} prints")
    elif out.suffix == ".tape":
        done = tape_of_capture(path, out, venue=venue, raw=raw, progress=True)
        print(f"{out}: {done.venue}, {done.events} events of {done.frames} frames, {done.unread} lines unread")
    else:
        raise DataError(f"{out}: must end in .tape (from a capture) or .parquet (a tape's prints)")


@app.command("features")
def features(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Whose symbols and bars; how VPIN is measured.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A tape.")],
    replace: Annotated[bool, typer.Option("--replace", help="Take the new values where stored ones differ.")] = False,
) -> None:
    """Measure books, prints and funding of a tape bar by bar, and store that for the sweeps of CONFIG."""
    from flea_lab.config import load
    from flea_lab.data.tape_events import TapeEvents
    from flea_lab.wiring import store_features

    run = load(config)
    events = TapeEvents(path, run.symbols, run.interval, progress=True)
    for symbol in run.symbols:
        stored = store_features(run, symbol, events, f"tape {path.name}", replace=replace)
        bars = sum(part.rows for part in stored.partitions)
        print(f"{stored.dataset}: features of {bars} bars, {stored.source}")


@app.command("replay")
def replay(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration: docs/configuration.md.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A tape.")],
) -> None:
    """Replay a tape through the core of a configuration, on the simulated exchange; say what it decided."""
    from flea_lab.config import load
    from flea_lab.decision import digest
    from flea_lab.wiring import replay_tape

    told = load(config)
    seen, _ = replay_tape(told, path, progress=sys.stderr.isatty())
    print(f"{path.name}: {len(seen.equity)} bars, {len(seen.fills)} fills, equity {seen.equity[-1] / 1e6:,.2f} USD")
    print(f"decisions {digest(seen.decisions, told.symbols)}")


def _store_candles(path: Path, venue: str | None, interval: str, prints: bool, replace: bool) -> None:
    from flea_lab.data.dataset import Dataset, Origin
    from flea_lab.data.frames import iso
    from flea_lab.data.sources.files import source_label
    from flea_lab.data.store import CandleStore
    from flea_lab.data.tape_convert import candles_of_tape
    from flea_lab.data.tape_facts import describe
    from flea_lab.workspace import workspace

    place = venue or describe(path).venue
    if not place:
        raise DataError(f"{path.name}: the tape does not say whose it is, pass --venue")
    found = candles_of_tape(path, interval, prints=prints, progress=True)
    if not found.frames:
        raise DataError(f"{path.name}: no whole {interval} bar is on the tape")
    store = CandleStore(workspace().ready().store)
    for symbol, frame in found.frames.items():
        key = Dataset(place, symbol, interval)
        origin = Origin(source=source_label(key), synthetic=False, file=path.name)
        stored = store.write(key, frame, origin, replace=replace)
        how = "made of prints" if symbol in found.made else "as told"
        print(f"{key}: {len(frame)} bars {how}, {iso(stored.first_ms)} to {iso(stored.last_ms)}, {stored.rows} stored")
    for symbol, frame in found.funding.items():
        store.write_funding(place, symbol, frame, replace=replace)
        print(f"{place} {symbol}: {len(frame)} settlements")
    if found.differing:
        print(f"{found.differing} bars were told again with other values; the first is taken")
    for (symbol, detail), count in Counter((note.symbol, note.detail) for note in found.notes).items():
        print(f"{symbol}: {count} holes, {detail}")


def _facts_lines(name: str, facts: "TapeFacts") -> list[str]:
    from flea_lab.data.frames import iso

    def span(first: int | None, last: int | None) -> str:
        return "none" if first is None or last is None else f"{iso(first // 1_000_000)} to {iso(last // 1_000_000)}"

    torn = f", {facts.torn} bytes torn off at the end" if facts.torn else ""
    whose = f"{facts.venue} {facts.interval}, ".lstrip() if facts.venue else ""
    lines = [
        f"{name}: {whose}{facts.records} records, {facts.size / 1e6:.1f} MB, format {facts.format}{torn}",
        f"  market {span(facts.first_event_ns, facts.last_event_ns)}",
        f"  heard  {span(facts.first_recv_ns, facts.last_recv_ns)}; {facts.downs} times down, {facts.faults} faults",
    ]
    counts = ", ".join(f"{' '.join(filter(None, key))} {count}" for key, count in facts.counts.items())
    return [*lines, f"  {counts or 'nothing on it'}"]


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _by(text: str) -> Any:
    if text not in ("event", "recv"):
        raise DataError(f"by = {text!r}: must be event or recv")
    return text


def _ns(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{name} = {text!r} is not an ISO date or time, such as 2026-05-05T12:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1_000) * 1_000_000

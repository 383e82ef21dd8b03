"""`flea data`: files and synthetic markets into the store, what is there, and how good it is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from flea_lab.data.dataset import Dataset, Origin, Stored
from flea_lab.data.frames import iso
from flea_lab.data.sources.demo import SEED, synthetic_market
from flea_lab.data.sources.files import (
    holds_funding,
    read_candle_file,
    read_funding,
    source_label,
)
from flea_lab.data.store import CandleStore
from flea_lab.data.synthetic import KINDS
from flea_lab.errors import DataError, FleaError
from flea_lab.model.market import INTERVAL_MS
from flea_lab.workspace import workspace

if TYPE_CHECKING:
    from flea_lab.data.sources.exchange import Fetched

app = typer.Typer(no_args_is_help=True, help="Candles and funding: import, fetch, synth, list, check.")

Venue = Annotated[str | None, typer.Option(help="Venue, say binance_um; wins over the file's name.")]
Symbol = Annotated[str | None, typer.Option(help="Symbol, say BTCUSDT; wins over the file's name.")]
Interval = Annotated[str | None, typer.Option(help="Bar length, say 1m; wins over the file's name.")]
Replace = Annotated[bool, typer.Option("--replace", help="Take the new values where stored ones differ.")]

SHOWN = 5
"""Holes and spells of each kind that `check` lists, longest first."""


@app.command("import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="parquet, feather, csv, csv.gz, or a zip of one csv.")
    ],
    venue: Venue = None,
    symbol: Symbol = None,
    interval: Interval = None,
    replace: Replace = False,
) -> None:
    """Import candle and funding files; say what was recognised in each. A file goes in whole or not at all."""
    store = CandleStore(workspace().ready().store)
    failed: list[tuple[Path, FleaError]] = []
    for path in tqdm(files, unit="file", disable=None if len(files) > 1 else True):
        try:
            lines = _import_one(store, path, venue, symbol, interval, replace)
        except FleaError as error:
            failed.append((path, error))
            continue
        tqdm.write("\n".join(lines))
    if len(files) == 1 and failed:
        raise failed[0][1]
    for _, reason in failed:
        typer.echo(f"not imported: {reason}", err=True)
    if failed:
        names = ", ".join(path.name for path, _ in failed)
        raise DataError(f"{len(failed)} of {len(files)} files were not imported: {names}")


@app.command("synth")
def synthesise(
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "mixed",
    symbol: Annotated[str, typer.Option(help="Symbol to store it under.")] = "BTCUSDT",
    seed: Annotated[int, typer.Option(help="Equal seeds make equal markets.")] = SEED,
    bars: Annotated[int, typer.Option(help="Bars; 43200 are 30 days of 1m.")] = 43_200,
    interval: Annotated[str, typer.Option(help=f"One of {', '.join(INTERVAL_MS)}.")] = "1m",
    venue: Annotated[str, typer.Option(help="Venue to store it under.")] = "synthetic",
    replace: Replace = False,
) -> None:
    """Store a seeded synthetic market and its funding; it is called synthetic wherever it is shown."""
    key = Dataset(venue, symbol, interval)
    frame, funding, label = synthetic_market(symbol, kind=kind, seed=seed, n_bars=bars, interval=interval)
    store = CandleStore(workspace().ready().store)
    stored = store.write(key, frame, Origin(source=label, synthetic=True), replace=replace)
    if len(funding):
        store.write_funding(venue, symbol, funding, replace=replace)
    typer.echo(f"{label}: {KINDS[kind]}")
    typer.echo(_table([_stored_row(stored)], STORED))


@app.command("fetch")
def fetch_candles(
    venue: Annotated[str, typer.Argument(metavar="VENUE", help="binance_um, hyperliquid, ... or ccxt's own name.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="BTCUSDT, BTC/USDT:USDT, or a base alone.")],
    interval: Annotated[str, typer.Argument(metavar="INTERVAL", help=f"One of {', '.join(INTERVAL_MS)}.")],
    since: Annotated[str, typer.Option("--since", help="ISO time of the first bar, UTC.")],
    until: Annotated[str | None, typer.Option("--until", help="ISO time that is not in it; default: now.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Another host for every address, say a stub's.")] = None,
) -> None:
    """Fetch candles and funding from an exchange's public interface; goes on where the store ends. Needs ccxt."""
    from flea_lab.clock import WallClock
    from flea_lab.data.sources.exchange import ExchangeSource, fetch

    clock = WallClock()
    start = _epoch_ms(since, "since")
    end = clock.now_ns() // 1_000_000 if until is None else _epoch_ms(until, "until")
    source = ExchangeSource(venue, clock, url=url)
    try:
        with tqdm(desc=f"{venue} {symbol} {interval}", unit=" bars", disable=None, leave=False) as bar:

            def show(first: int, at: int, last: int) -> None:
                step = INTERVAL_MS[interval]
                bar.total = max(1, (last - first) // step)
                bar.update(max(0, (at - first) // step + 1 - bar.n))
                bar.set_postfix_str(iso(at))

            found = fetch(CandleStore(workspace().ready().store), source, symbol, interval, start, end, progress=show)
    finally:
        source.close()
    typer.echo("\n".join(_fetched_lines(found)))


def _fetched_lines(found: "Fetched") -> list[str]:
    lines = [f"{found.dataset}: {found.bars} new bars in {found.pages} pages, {found.settlements} new settlements"]
    if found.first_ms is None or found.last_ms is None:
        return [*lines, "  nothing is stored in that range: the exchange has no bars there"]
    lines.append(f"  stored in that range: {iso(found.first_ms)} to {iso(found.last_ms)}")
    lines.append(f"  holes: {len(found.holes)}, {found.missing} bars missing")
    return [*lines, *_longest(found.holes)]


def _epoch_ms(text: str, name: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{name} = {text!r} is not an ISO date or time, such as 2026-05-05T12:00") from None
    return round((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1_000)


@app.command("list")
def list_datasets() -> None:
    """List the stored datasets."""
    store = CandleStore(workspace().store)
    rows = [_stored_row(stored) for stored in store.list()]
    typer.echo(_table(rows, STORED) if rows else f"nothing is stored in {store.root}")


@app.command("check")
def check(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT...]", help="VENUE SYMBOL INTERVAL, or a file: candles, a tape, a venue's capture."
        ),
    ] = None,
    venue: Annotated[str | None, typer.Option(help="By whose rules a tape or capture is judged.")] = None,
    interval: Interval = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, every row of the ledger in it.")] = False,
) -> None:
    """Show what is wrong with data: holes, spells, faults, gaps, books that break; kinds, counts, spans, the worst.

    With nothing named, of all that is stored. Ends with status 1 where there are faults.
    """
    from flea_lab.cli.data_check import check_all, json_of, lines_of

    found = check_all(what or [], CandleStore(workspace().store), interval, venue)
    if as_json:
        typer.echo(json_of(found))
    else:
        typer.echo("\n".join(line for one in found for line in lines_of(one)))
    if not all(one.sound for one in found):
        raise typer.Exit(1)


def _import_one(
    store: CandleStore, path: Path, venue: str | None, symbol: str | None, interval: str | None, replace: bool
) -> list[str]:
    """What to say of the file that went in."""
    if holds_funding(path):
        return _import_funding(store, path, venue, symbol, replace)
    found = read_candle_file(path, venue=venue, symbol=symbol, interval=interval)
    key = found.dataset
    origin = Origin(source=source_label(key), synthetic=False, file=found.file, sha256=found.sha256)
    stored = store.write(key, found.frame, origin, replace=replace)
    renamed = [f"{theirs} -> {ours}" for ours, theirs in found.columns.items() if ours != theirs]
    ts = found.frame["ts"]
    return [
        f"{found.file}: {len(ts)} bars, {iso(ts.iloc[0])} to {iso(ts.iloc[-1])}",
        f"  time column {found.columns['ts']}, unit {found.time_unit}; "
        f"interval {key.interval} from {found.interval_from}" + (f"; columns {', '.join(renamed)}" if renamed else ""),
        *(f"  {note}" for note in found.notes),
        *(f"  {line}" for line in _table([_stored_row(stored)], STORED).splitlines()),
    ]


def _import_funding(store: CandleStore, path: Path, venue: str | None, symbol: str | None, replace: bool) -> list[str]:
    found = read_funding(path, venue=venue, symbol=symbol)
    place = venue or found.venue
    if place is None:
        raise DataError(f"{found.file}: the venue cannot be told from its name or content, pass --venue")
    lines = [f"{found.file}: funding of {place}, time column {found.columns['ts']}, unit {found.time_unit}"]
    lines += [f"  {note}" for note in found.notes]
    for one, frame in found.frames.items():
        stored = store.write_funding(place, one, frame, replace=replace)
        lines.append(
            f"  {one}: {len(frame)} settlements, {stored.rows} stored, {iso(stored.first_ms)} to "
            f"{iso(stored.last_ms)}, digest {stored.digest[:12]}"
        )
    return lines


STORED = ("venue", "symbol", "interval", "bars", "first", "last", "digest", "source")


def _stored_row(stored: Stored) -> tuple[str, ...]:
    key = stored.dataset
    reach = (iso(stored.first_ms), iso(stored.last_ms))
    return (key.venue, key.symbol, key.interval, str(stored.rows), *reach, stored.digest[:12], stored.source)


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> str:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _longest(spells: list[tuple[int, int]]) -> list[str]:
    longest = sorted(spells, key=lambda spell: (-spell[1], spell[0]))[:SHOWN]
    return [f"    {iso(first)}  {bars} bar{'s' if bars > 1 else ''}" for first, bars in longest]

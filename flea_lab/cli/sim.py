"""`flea sim`: the runner against a venue, a disk and a clock that go wrong by seed."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flea_lab.errors import ConfigError

if TYPE_CHECKING:
    from flea_lab.sim.campaign import Tally
    from flea_lab.sim.scenario import Outcome

app = typer.Typer(no_args_is_help=True)

_RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")


@app.command("sim")
def sim(
    seed: Annotated[int | None, typer.Option(min=0, help="One scenario, replayed to the byte.")] = None,
    seeds: Annotated[str, typer.Option(metavar="A..B", help="A campaign over these, both included.")] = "",
    timeline: Annotated[bool, typer.Option("--timeline", help="Of one scenario: everything that happened.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of a campaign.")] = 2,
) -> None:
    """Simulate the live runner under faults, kills and halts. Status 1 where a law is broken."""
    if (seed is None) == (not seeds):
        raise ConfigError("flea sim takes either --seed N or --seeds A..B")
    if seed is not None:
        from flea_lab.sim.scenario import run_scenario

        outcome = run_scenario(seed)
        print("\n".join(_scenario_lines(outcome, timeline)))
        sys.exit(1 if outcome.violations else 0)
    from flea_lab.sim.campaign import run_campaign

    first, last = _bounds(seeds)
    tally = run_campaign(first, last, workers=workers, progress=True)
    print("\n".join(_campaign_lines(tally)))
    sys.exit(0 if tally.good else 1)


def _bounds(seeds: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(seeds)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"--seeds {seeds!r}: must be A..B with A at most B")
    return int(match[1]), int(match[2])


def _scenario_lines(outcome: "Outcome", timeline: bool) -> list[str]:
    lines = [f"{at_s:10.4f} s  {who:8} {text}" for at_s, who, text in outcome.timeline] if timeline else []
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items()))
    faults = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()))
    lines += [f"seed {outcome.seed}: {counts}", f"  faults: {faults}", f"  digest: {outcome.digest}"]
    lines += [f"  {one.invariant} VIOLATED at {one.at_s:.4f} s: {one.text}" for one in outcome.violations]
    return lines if outcome.violations else [*lines, "  every law held"]


def _halt_lines(tally: "Tally") -> list[str]:
    from flea_lab.sim.halting import CLASSES

    lines = []
    for kind, gone in tally.halts().items():
        if gone:
            parts = (f"p{part} {gone[min(len(gone) - 1, len(gone) * part // 100)]:.2f}" for part in (50, 90, 99))
            told = f"{', '.join(parts)}, most {gone[-1]:.2f} ({len(gone)})"
            lines.append(f"  halt to the last open order gone, s, {CLASSES[kind]}: {told}")
    return lines


def _campaign_lines(tally: "Tally") -> list[str]:
    counts, speed = tally.counts, tally.scenarios / max(tally.elapsed_s, 1e-9)
    faster = tally.virtual_s / max(tally.elapsed_s, 1e-9)
    lines = [
        f"{tally.scenarios} scenarios in {tally.elapsed_s:.0f} s: {speed:.1f} a second, {faster:.0f} times real time",
        f"  {tally.traded} with trades; {counts.get('posts', 0)} orders sent, {counts.get('trades', 0)} fills, "
        f"{counts.get('kills', 0)} kills, {counts.get('halts', 0)} halts, {counts.get('lives', 0)} lives",
    ]
    lines += _halt_lines(tally)
    lines.append("  faults: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.faults.items())))
    for one in tally.found:
        broke = one.violation
        lines.append(f"  {broke.invariant} VIOLATED at {broke.at_s:.4f} s of seed {one.seed}: {broke.text}")
        lines.append(f"    replay it: flea sim --seed {one.seed} --timeline")
    if tally.missing:
        lines.append(f"  never occurred: {', '.join(tally.missing)}")
    return [*lines, "  every law held"] if tally.good else lines

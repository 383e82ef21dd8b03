"""`flea sim` replays a scenario and runs a campaign."""

from typer.testing import CliRunner

from flea_lab.cli import app
from flea_lab.errors import ConfigError


def test_one_seed_is_told_with_its_timeline() -> None:
    said = CliRunner().invoke(app, ["sim", "--seed", "4", "--timeline"]).output
    assert "bot      sends" in said
    assert "digest: " in said
    assert said == CliRunner().invoke(app, ["sim", "--seed", "4", "--timeline"]).output


def test_it_takes_a_seed_or_a_range_and_not_both() -> None:
    for words in (["sim"], ["sim", "--seed", "1", "--seeds", "1..2"]):
        found = CliRunner().invoke(app, words).exception
        assert isinstance(found, ConfigError)
        assert str(found) == "flea sim takes either --seed N or --seeds A..B"


def test_a_range_that_runs_backwards_is_refused() -> None:
    found = CliRunner().invoke(app, ["sim", "--seeds", "9..3"]).exception
    assert isinstance(found, ConfigError)
    assert str(found) == "--seeds '9..3': must be A..B with A at most B"

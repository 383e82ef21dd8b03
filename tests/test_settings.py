"""The one door for values that came from a person: what it refuses, and in which words."""

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, field

from flea_lab.errors import ConfigError
from flea_lab.settings import Bars, Fraction, Settings, load_settings


class Inner(Settings, frozen=True, kw_only=True):
    share: Fraction = 0.5
    mode: Literal["slow", "fast"] = "slow"
    sizes: dict[str, Annotated[float, Meta(gt=0.0)]] = field(default_factory=dict)


class Outer(Settings, frozen=True, kw_only=True):
    period: Bars
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    above: Annotated[float, Meta(gt=0.0)] | Literal["none"] = 0.5
    named: dict[Annotated[str, Meta(pattern="^[a-z]+$")], Inner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.period == 13:
            raise ValueError(f"period ({self.period}) must not be 13")


def test_plain_values_become_a_frozen_struct() -> None:
    found = load_settings({"period": 3, "inner": {"share": 1, "sizes": {"A": 2}}}, Outer, "here")
    assert found == Outer(period=3, inner=Inner(share=1.0, sizes={"A": 2.0}))
    assert isinstance(found.inner.share, float)
    with pytest.raises(AttributeError):
        found.period = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"^period: required but missing \(in x\.toml\)$"),
        ({"period": 0}, r"^period = 0: expected `int` >= 1 \(in x\.toml\)$"),
        ({"period": 5001}, r"^period = 5001: expected `int` <= 5000 \(in x\.toml\)$"),
        ({"period": 1.5}, r"^period = 1\.5: expected `int`, got `float` \(in x\.toml\)$"),
        ({"period": "9"}, r"^period = '9': expected `int`, got `str` \(in x\.toml\)$"),
        ({"period": True}, r"^period = True: expected `int`, got `bool` \(in x\.toml\)$"),
        ({"period": None}, r"^period = None: expected `int`, got `null` \(in x\.toml\)$"),
        ({"period": 13}, r"^period \(13\) must not be 13 \(in x\.toml\)$"),
        ({"period": 1, "perod": 2}, r"^perod: unknown field, did you mean 'period'\? \(in x\.toml\)$"),
        ({"period": 1, "zzz": 2}, r"^zzz: unknown field, known are above, inner, many, named, period \(in x\.toml\)$"),
        ({"period": 1, "inner": {"shar": 1}}, r"^inner\.shar: unknown field, did you mean 'share'\? \(in x\.toml\)$"),
        ({"period": 1, "inner": 7}, r"^inner = 7: expected `object`, got `int` \(in x\.toml\)$"),
        ({"period": 1, "inner": {"share": 1.5}}, r"^inner\.share = 1\.5: expected `float` <= 1\.0 \(in x\.toml\)$"),
        ({"period": 1, "inner": {"share": float("nan")}}, r"^inner\.share = nan: expected `float` >= 0\.0"),
        ({"period": 1, "inner": {"share": float("inf")}}, r"^inner\.share = inf: expected `float` <= 1\.0"),
        (
            {"period": 1, "inner": {"mode": "fst"}},
            r"^inner\.mode = 'fst': must be one of 'slow', 'fast' \(in x\.toml\)$",
        ),
        ({"period": 1, "many": [{}, {"share": -1}]}, r"^many\[1\]\.share = -1: expected `float` >= 0\.0"),
        ({"period": 1, "many": [{}, {"shr": 1}]}, r"^many\[1\]\.shr: unknown field, did you mean 'share'\?"),
        ({"period": 1, "many": [{"mode": "x"}]}, r"^many\[0\]\.mode = 'x': must be one of 'slow', 'fast'"),
        ({"period": 1, "inner": {"sizes": {"A": 1, "B": 0}}}, r"^inner\.sizes\.B = 0: expected `float` > 0\.0"),
        ({"period": 1, "inner": {"sizes": {"A": "1"}}}, r"^inner\.sizes\.A = '1': expected `float`, got `str`"),
        ({"period": 1, "named": {"a": {}, "b": {"share": -1}}}, r"^named\.b\.share = -1: expected `float` >= 0\.0"),
        (
            {"period": 1, "named": {"a": {}, "b": {"mode": "x"}}},
            r"^named\.b\.mode = 'x': must be one of 'slow', 'fast'",
        ),
        ({"period": 1, "named": {"a": {}, "b": {"shr": 1}}}, r"^named\.b\.shr: unknown field, did you mean 'share'\?"),
        ({"period": 1, "named": {"a": 5}}, r"^named\.a = 5: expected `object`, got `int` \(in x\.toml\)$"),
        (
            {"period": 1, "named": {"a": {}, "B": {}}},
            r"^named: the name 'B': expected `str` matching regex '\^\[a-z\]\+\$' \(in x",
        ),
        ({"period": 1, "above": "never"}, r"^above = 'never': must be a number or 'none' \(in x\.toml\)$"),
        ({"period": 1, "above": 0}, r"^above = 0: expected `float` > 0\.0 \(in x\.toml\)$"),
        ([1], r"^value = \[1\]: expected `object`, got `array` \(in x\.toml\)$"),
    ],
)
def test_a_refusal_names_field_value_limit_and_place_on_one_line(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(values, Outer, "x.toml")
    assert "\n" not in str(caught.value)

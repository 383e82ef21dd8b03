"""What a person may be told of, and where that goes: the words of alerts, and the settings of `[alerts]`."""

from typing import Annotated, Literal

from msgspec import Meta, field

from flea_lab.settings import Fraction, Settings

Severity = Literal["info", "warning", "critical"]
Kind = Literal["drawdown", "fill", "risk", "system", "halt"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
KINDS: tuple[Kind, ...] = ("drawdown", "fill", "risk", "system", "halt")

ChannelName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z")]
Every = Annotated[float, Meta(ge=1.0, le=86_400.0, description="seconds")]
Limit = Annotated[float, Meta(ge=0.1, le=30.0, description="seconds")]
Hours = Annotated[float, Meta(ge=0.0, le=720.0, description="hours")]


class AlertChannel(Settings, frozen=True, kw_only=True):
    """What one channel is told: alerts of `severity` or worse, of these `kinds`. Its address is no setting: a secret.

    >>> AlertChannel(severity="warning", kinds=("halt",)).takes("critical", "halt")
    True
    """

    severity: Severity = "warning"
    kinds: tuple[Kind, ...] = KINDS

    def takes(self, severity: Severity, kind: Kind) -> bool:
        """Whether an alert like this goes to it."""
        return kind in self.kinds and SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)


class AlertSettings(Settings, frozen=True, kw_only=True):
    """How alerts leave the machine; decides nothing."""

    channels: dict[ChannelName, AlertChannel] = field(default_factory=dict)
    every_s: Every = 60.0
    send_s: Limit = 5.0
    drawdown_steps: tuple[Fraction, ...] = (0.02, 0.05, 0.08)
    balances: bool = False
    again_h: Hours = 24.0

    def __post_init__(self) -> None:
        steps = self.drawdown_steps
        if not all(low < high for low, high in zip((0.0, *steps), steps, strict=False)):
            raise ValueError(f"drawdown_steps {list(steps)} must rise, from above 0")

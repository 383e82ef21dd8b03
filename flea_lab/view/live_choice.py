"""What a live console offers to launch: what is promoted, and what is marked as not."""

from pathlib import Path
from typing import NamedTuple

from flea_lab.config import RunConfig
from flea_lab.live.launcher import is_promotion_name
from flea_lab.promotion import list_promoted, read_promoted
from flea_lab.view.live_html import UNPROMOTED
from flea_lab.workspace import workspace


class Choice(NamedTuple):
    """A config that can be launched: the name of a promotion, or what is not promoted."""

    label: str
    what: str | Path | RunConfig
    promoted: bool

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.what if isinstance(self.what, str) else self.what.name


def promoted_choices() -> list[Choice]:
    """Everything that is promoted in this workspace, by name; what no longer holds says so."""
    return [
        Choice(f"{one.name} (promoted{'' if one.state == 'ok' else ', ' + one.state})", one.name, True)
        for one in list_promoted(workspace())
    ]


def choice_of(config: RunConfig | Path | str) -> Choice:
    """The choice that means `config`: a promotion where it names one, else UNPROMOTED."""
    if isinstance(config, str) and is_promotion_name(config):
        read_promoted(config, workspace())
        return next(one for one in promoted_choices() if one.what == config)
    what = config if isinstance(config, RunConfig) else Path(config)
    return Choice(f"{UNPROMOTED} {what.name}", what, False)


def config_of(choice: Choice) -> RunConfig | Path:
    """The config itself, or its file."""
    return read_promoted(choice.what, workspace()).config if isinstance(choice.what, str) else choice.what

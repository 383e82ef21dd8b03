"""Loops whose time a slow machine cannot make run away, and patience with its threads, for every test here."""

from collections.abc import Iterator

import pytest

from flea_lab.live import alerts, control_client, desk, telemetry
from flea_lab.live.control_client import ControlClient
from tests.steady import steady

__all__ = ["steady"]

PATIENT_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Whoever waits for another thread of this process waits a minute, for as long as it takes: a machine that stands
    still for seconds breaks off neither a question to a runner nor what is still being written at the end."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (alerts, "CLOSE_S"), (telemetry, "CLOSE_S"), (desk, "REPLY_S"), (control_client, "OPENED_S"),
        ):  # fmt: skip
            patch.setattr(module, name, PATIENT_S)
        patch.setitem(ControlClient.__init__.__kwdefaults__, "timeout_s", PATIENT_S)
        yield

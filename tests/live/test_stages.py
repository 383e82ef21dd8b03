"""What a start takes, part by part."""

import subprocess
import sys

from flea_lab.clock import Stopwatch, process_age_s
from flea_lab.live.process import minimal_environment
from flea_lab.live.stages import Stages


def test_what_comes_between_two_ends_belongs_to_the_second_and_nothing_after_the_last() -> None:
    now = [5.0]
    stages = Stages(lambda: now[0], 0.5)
    for at, part in ((5.25, "venue"), (6.25, "connect"), (6.5, "questions"), (7.5, "connect")):
        now[0] = at
        stages.ended(part)
    now[0] = 8.0
    stages.finish("compare")
    now[0] = 20.0
    stages.ended("connect")
    stages.finish("compare")
    assert stages.took == {"process": 0.5, "venue": 0.25, "connect": 2.0, "questions": 0.25, "compare": 0.5}
    assert sum(stages.took.values()) == 8.0 - 5.0 + 0.5


def test_a_process_knows_how_old_it_is() -> None:
    watch = Stopwatch()
    words = [sys.executable, "-c", "from flea_lab.clock import process_age_s; print(process_age_s())"]
    said = float(subprocess.run(words, capture_output=True, text=True, check=True, env=minimal_environment()).stdout)
    assert 0.0 < said < watch.elapsed_s() + 0.02
    assert process_age_s() > said, "a process is as old as its own birth"

"""Playing: the same examples each time, so that what fails fails again."""

from collections import Counter

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.model.places import Places
from tests.model.stage import Stage
from tests.support.expectation import Seen

#: How a mistake shows; what goes wrong may go wrong otherwise when it is tried again.
NOTICED = AssertionError, asyncpg.PostgresError, Flaky


def play(database_url: str, *, examples: int = 160, steps: int = 40) -> Seen:
    """Play the same examples as ever; return how often each move was seen."""
    seen: Seen = Counter()
    Places.stage, Places.seen = Stage(database_url), seen
    try:
        run_state_machine_as_test(
            Places,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        Places.stage.close()
    return seen

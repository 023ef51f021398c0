"""Two processes and their deaths leave every job where the model says.

``make model`` goes on for longer.
"""

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.hands import Hands, Scene

SEEN = {
    *("completed", "retrying", "deadlettered", "released", "recovered", "quarantined"),
    *("overslept", "given up", "promoted", "cancelled", "requeued"),
    *("waited", "taken back", "died"),
}
#: Rounds to play at least, and at most where something was not met.
ROUNDS = 3
ROUNDS_MORE = 30


@pytest.mark.timeout(0)
def test_whatever_two_processes_do_and_whoever_dies_the_jobs_stand_as_they_should(
    database_url, fuzzing
):
    Hands.scene = Scene(database_url)
    try:
        for number in fuzzing.rounds():
            play(number)
        # What Hypothesis draws hangs on the modules that are loaded, too, and what is
        # rare may be missed: a few more then.
        for more in range(number + 1, number + 1 + ROUNDS_MORE):
            if more >= fuzzing.seed + ROUNDS and Hands.scene.seen >= SEEN:
                break
            play(more)
        # A model in which nothing happens proves nothing.
        assert Hands.scene.seen >= SEEN
    finally:
        Hands.scene.close()


def play(number):
    """Play one round, from the seed of this number."""
    run_state_machine_as_test(
        seed(number)(Hands),
        settings=settings(
            max_examples=9,
            # Where CI is said to be, Hypothesis would pass over the seed.
            derandomize=False,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""Any order of actors leaves every job in the one place where it should be."""

import pytest

from libs.common.lifecycle import MOVES, RESTARTS
from tests.model.playing import play


@pytest.mark.timeout(300)
def test_the_store_makes_every_legal_move_and_no_other(database_url):
    seen = play(database_url)

    # A model that never leaves the hall proves nothing about the services.
    legal = {(name, *step) for name, steps in MOVES.items() for step in steps}
    # Those of workflows are made in their own test.
    assert set(seen) == legal - RESTARTS

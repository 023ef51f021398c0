"""Any order of actors leaves every job in the one place where it should be."""

from libs.common.lifecycle import MOVES, Place, Transition
from tests.model.playing import play

#: What only endpoints will do; until then nothing in the store does.
NOT_YET = {
    (Transition.CREATED, None, Place.HELD),
    (Transition.UNBLOCKED, Place.HELD, Place.READY),
}


def test_the_store_makes_every_legal_move_and_no_other(database_url):
    seen = play(database_url)

    # A model that never leaves the hall proves nothing about the services.
    legal = {(name, *step) for name, steps in MOVES.items() for step in steps}
    assert set(seen) == legal - NOT_YET

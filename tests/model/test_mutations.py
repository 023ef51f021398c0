"""The model test is not blind: a small mistake in a statement makes it fail.

Here a few mistakes; ``make test TESTS=tests/model/check_mutations.py`` makes them all.
"""

import pytest

from tests.model.mistakes import MISTAKES
from tests.model.playing import NOTICED, play

FEW = (
    "settle without the right lease",
    "settle, and stay leased",
    "put a retry into two places",
    "count an attempt that was not made",
    "do not tell of a settlement",
    "recover from whoever holds it now",
    "promote, and stay scheduled",
    "finish what was given up",
    "purge, and keep the key",
    "create what a key forbids",
    "settle when the time is over",
    "cancel, and forget who waits",
    "close a circle",
    "call one too many",
    "call who came last",
    "settle, and stay in line",
    "leave a line without a word",
    "lose one's turn with the process",
    "let a retry stand among what is new",
    "claim for who is disabled",
    "hold, and stay ready",
    "wake who waits for a turn",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", FEW)
def test_a_mistake_is_seen(database_url, monkeypatch, title):
    MISTAKES[title].make(database_url, monkeypatch)

    with pytest.raises(NOTICED):
        play(database_url)

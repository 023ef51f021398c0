"""Every mistake in turn: too long for every day, worth it when the store changes."""

import asyncpg
import pytest

from tests.model.mistakes import MISTAKES
from tests.model.playing import play


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", MISTAKES)
def test_a_mistake_is_seen(database_url, monkeypatch, title):
    mistake = MISTAKES[title]
    monkeypatch.setitem(mistake.module.SQL, mistake.statement, mistake.made())

    with pytest.raises((AssertionError, asyncpg.PostgresError)):
        play(database_url)

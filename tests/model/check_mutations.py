"""Every mistake in turn: too long for every day, worth it when the store changes."""

import pytest

from tests.model.flows import play_flows
from tests.model.mistakes import FLOW_MISTAKES, MISTAKES
from tests.model.playing import NOTICED, play


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", MISTAKES)
def test_a_mistake_is_seen(database_url, monkeypatch, title):
    MISTAKES[title].make(database_url, monkeypatch)

    with pytest.raises(NOTICED):
        play(database_url)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", FLOW_MISTAKES)
def test_a_mistake_about_workflows_is_seen(database_url, monkeypatch, title):
    FLOW_MISTAKES[title].make(database_url, monkeypatch)

    with pytest.raises(NOTICED):
        play_flows(database_url)

"""Workflows stand as a plain model of them says, whatever happens in whatever order."""

import pytest

from tests.model.flows import play_flows


@pytest.mark.timeout(300)
def test_workflows_stand_as_the_model_says(database_url):
    retried = play_flows(database_url)

    # A model in which nothing is ever retried proves nothing about it.
    assert {"dead", "cancelled"} <= set(retried)

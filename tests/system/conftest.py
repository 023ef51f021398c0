"""Fixtures of tests that run the house as processes."""

import pytest

from tests.support.house import assert_invariants, new_tenant, open_api
from tests.support.processes import run_processes


@pytest.fixture
async def tenant(database_url):
    """An organization with a key and a signing secret."""
    return await new_tenant(database_url)


@pytest.fixture
async def processes(database_url, nats_url, tmp_path):
    """Four services as processes; afterwards every job is in one place."""
    async with run_processes(database_url, nats_url, logs=tmp_path) as house:
        yield house
    await assert_invariants(database_url)


@pytest.fixture
async def api(processes, tenant):
    """A client of the tenant's."""
    async with open_api(processes, tenant) as client:
        yield client

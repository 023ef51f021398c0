"""Fixtures of tests that run services: the house, a tenant, a client."""

import pytest

from tests.support.house import assert_invariants, new_tenant, open_api, run_house


@pytest.fixture
async def tenant(database_url):
    """An organization with a key and a signing secret."""
    return await new_tenant(database_url)


@pytest.fixture
async def house(database_url, nats_url):
    """The house, running; when it is shut, every job is in one place."""
    async with run_house(database_url, nats_url) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def api(house, tenant):
    """A client of the tenant's."""
    async with open_api(house, tenant) as client:
        yield client

"""Fixtures of tests that run services: the house, a tenant, a client."""

import pytest

from libs.cli.embedded.ports import free_port
from tests.support.grpc_client import open_grpc_api
from tests.support.house import assert_invariants, new_tenant, open_api, run_house


@pytest.fixture
async def tenant(database_url):
    """An organization with a key and a signing secret."""
    return await new_tenant(database_url)


@pytest.fixture
async def house(request, database_url, nats_url):
    """The house, running; when it is shut, every job is in one place.

    Who carries webhooks works only where somebody is there to receive them, and may be
    asked for by ``carrying``: a pod leaves when its pull is over, a second later.
    """
    carried = {"endpoint", "carrying"} & set(request.fixturenames)
    services = ("ingest", "dispatcher", "delivery", "scheduler")
    async with run_house(
        database_url,
        nats_url,
        services=services if carried else ("ingest", "scheduler"),
    ) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
def carrying():
    """Let the services that carry webhooks work, too."""


@pytest.fixture
async def api(house, tenant):
    """A client of the tenant's."""
    async with open_api(house, tenant) as client:
        yield client


@pytest.fixture
def grpc_port():
    """Where the gRPC of `grpc_house` listens."""
    return free_port()


@pytest.fixture
async def grpc_house(database_url, nats_url, grpc_port):
    """Ingest and the scheduler, reached over gRPC; jobs as in `house`."""
    services = ("ingest", "scheduler")
    async with run_house(
        database_url, nats_url, services=services, grpc_port=grpc_port
    ) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def grpc_api(grpc_house, grpc_port, tenant):
    """A gRPC client of the tenant's."""
    async with open_grpc_api(grpc_port, tenant.api_key) as client:
        yield client


@pytest.fixture
async def still_house(database_url, nats_url):
    """A house in which nobody recovers or promotes."""
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def still(still_house, tenant):
    """A client of the tenant's of `still_house`."""
    async with open_api(still_house, tenant) as client:
        yield client

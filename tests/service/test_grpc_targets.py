"""Webhooks that were handed in over gRPC: to a URL, and to an endpoint."""

import json

import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.endpoints import create_endpoint
from tests.support.grpc_client import open_grpc_api
from tests.support.house import open_api, run_house

URL = "https://example.com/hook"


@pytest.fixture
async def both(database_url, nats_url, grpc_port, tenant):
    """A house that carries webhooks, with a client at each of its doors."""
    async with (
        run_house(database_url, nats_url, grpc_port=grpc_port) as house,
        open_api(house, tenant) as api,
        open_grpc_api(grpc_port, tenant.api_key) as client,
    ):
        yield api, client


async def test_a_job_goes_to_a_url_as_it_was_said(both, endpoint, tenant):
    api, client = both
    target = pb.Target(
        url=endpoint.url_of("/there"),
        method="PUT",
        headers={"X-A": "a"},
        timeout_seconds=7,
    )

    job_id = await client.enqueue(target=target)

    await api.until_status(job_id, "completed")
    [request] = endpoint.requests
    assert (request.method, request.path) == ("PUT", "/there")
    assert (request.headers["X-A"], request.id) == ("a", job_id)
    assert json.loads(request.body) == {"n": 1}
    request.verify(tenant.signing_secret)
    assert (await api.job(job_id))["target"]["timeout_seconds"] == 7


async def test_a_job_goes_to_an_endpoint_in_its_turn(both, endpoint):
    api, client = both
    made = await create_endpoint(api, url=endpoint.url)
    item = pb.EnqueueItem(
        payload={"n": 1},
        target=pb.Target(endpoint_id=made["id"]),
        ordering_key="one line",
    )
    batch = pb.EnqueueBatchRequest(queue_name="mail", items=[item] * 3)

    answers = (await client.call("EnqueueBatch", batch)).items

    ids = [answer.job_id for answer in answers]
    for job_id in ids:
        await api.until_status(job_id, "completed")
    assert endpoint.ids == ids
    for request in endpoint.requests:
        request.verify(made["secret"])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "target"),
        ({"url": "no url"}, "target.url"),
        ({"url": URL, "endpoint_id": "x"}, "target"),
        ({"url": URL, "method": "TRACE"}, "target.method"),
        ({"url": URL, "headers": {"Host": "x"}}, "target.headers"),
        ({"url": URL, "timeout_seconds": 121}, "target.timeout_seconds"),
        ({"endpoint_id": "x", "method": "PUT"}, "target.method"),
        ({"endpoint_id": "0193e5a4-0000-7000-8000-000000000000"}, "target.endpoint_id"),
    ],
    ids=str,
)
async def test_a_bad_target_is_refused_in_words(grpc_api, target, words):
    request = pb.EnqueueRequest(queue_name="mail", target=pb.Target(**target))

    assert words in await grpc_api.refused("Enqueue", request, "INVALID_ARGUMENT")

"""Each service does its work as its own user of NATS, and can say nothing else."""

import asyncio
from functools import partial

import aiohttp
import nats
import pytest

from libs.cli.embedded.ports import free_port
from libs.common.messages import WORK, WORK_CONSUMER
from tests.support.deployed_nats import SERVICES, deployed_server, user
from tests.support.endpoints import create_endpoint, send
from tests.support.house import answers, new_tenant, open_api, run_house
from tests.support.waiting import until

#: What a service hears of others' is said to it, or not at all.
FOREIGN = {
    "ingest": ["bellhop.events.a.b.c.completed", "bellhop.work.delivery"],
    "dispatcher": ["bellhop.events.a.b.c.completed", "bellhop.attempt"],
    "delivery": [
        "bellhop.events.a.b.c.completed",
        "bellhop.wake.push",
        "bellhop.work.delivery",
        "bellhop.ingest.a.mail",
        "$JS.API.STREAM.PURGE.BELLHOP_EVENTS",
        "$JS.API.STREAM.DELETE.BELLHOP_WORK",
        "_INBOX_ingest.x",
    ],
    "scheduler": ["bellhop.work.delivery", "bellhop.results.any"],
    "streamer": ["bellhop.events.a.b.c.completed", "bellhop.wake.push"],
}


@pytest.fixture
async def server(tmp_path):
    async with deployed_server(tmp_path) as server:
        yield server


async def test_the_house_works_with_a_user_for_each_service(
    server, database_url, endpoint
):
    tenant = await new_tenant(database_url)
    watched = f"http://127.0.0.1:{(port := free_port())}"
    async with run_house(database_url, "", services=()) as house:
        for service in SERVICES:
            knobs = {"http_port": port} if service == "streamer" else {}
            await house.start(service, nats_url=user(service, server.address), **knobs)
        for url in (house.base_url, watched):
            await until(partial(answers, url), at_most=20)
        async with open_api(house, tenant) as api:
            made = await create_endpoint(api, url=endpoint.url)

            async def a_pod_answers():
                path = f"/endpoints/{made['id']}/test"
                return (await api.ask("POST", path, expect=200))["success"]

            await until(a_pod_answers, at_most=20)
            # Too large to travel with its batch: the pod asks for it.
            large = {"text": "x" * 100_000}
            async with (
                aiohttp.ClientSession(headers=tenant.headers) as session,
                session.get(f"{watched}/api/v1/events") as stream,
                asyncio.timeout(30),
            ):
                await send(api, "invoice.paid", large)
                async for line in stream.content:
                    if b"completed" in line.lower():
                        break

    assert any(b"x" * 100_000 in request.body for request in endpoint.requests)
    assert "Violation" not in server.log.read_text()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_says_nothing_that_is_another_ones(server, service):
    refused: list[str] = []

    async def note(error):
        refused.append(str(error))

    client = await nats.connect(user(service, server.address), error_cb=note)
    for subject in FOREIGN[service]:
        await client.publish(subject, b"{}")
    for subject in (">", "_INBOX.>", "bellhop.>"):
        await client.subscribe(subject)
    await client.flush()
    await until(lambda: len(refused) >= len(FOREIGN[service]) + 3, at_most=10)
    await client.close()

    assert all("permissions violation" in one.lower() for one in refused)


async def test_how_delivery_lags_is_told_under_the_name_that_scaling_asks_for(
    server, database_url
):
    """What KEDA reads: the account, stream and consumer, at the monitoring port."""
    async with run_house(database_url, "", services=()) as house:
        await house.start("delivery", nats_url=user("delivery", server.address))
        url = f"http://{server.monitoring}/jsz?acc=BELLHOP&consumers=true&config=true"

        async def told():
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                said = await answer.json()
            streams = [
                stream
                for account in said.get("account_details", [])
                if account["name"] == "BELLHOP"
                for stream in account.get("stream_detail", [])
            ]
            return {
                (stream["name"], consumer["name"]): consumer["num_pending"]
                for stream in streams
                for consumer in stream.get("consumer_detail") or []
            }

        lag = await until(told, at_most=20)

    assert lag == {(WORK.name, WORK_CONSUMER): 0}

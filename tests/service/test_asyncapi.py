"""What really goes over NATS is what ``/asyncapi.json`` says of it."""

import json
import re

import jsonschema_rs
import nats
import pytest

from libs.common.subjects import ingest_subject
from tests.support import flows
from tests.support.waiting import until


@pytest.fixture
async def client(nats_url):
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@pytest.fixture
async def document(api):
    async with api.session.get(f"{api.base_url}/asyncapi.json") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        return await answer.json()


def check(document, schema, value):
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    validator.validate(value)


def check_message(document, name, message):
    described = document["components"]["messages"][name]
    check(document, described["payload"], json.loads(message.data))
    check(document, described["headers"], dict(message.headers or {}))


async def test_events_of_every_kind_are_as_described(document, api, client, conn):
    heard = []

    async def hear(message):
        heard.append(message)

    await client.subscribe("bellhop.events.>", cb=hear)
    await client.flush()
    # Somebody fails, is retried and completes; a schedule, a worker and a queue.
    await flows.create(api, flows.step("a", tags=["x", {"y": 1}]), flows.step("b", "a"))
    await flows.give_up(api, (await flows.claim(api))["a"])
    await api.create(tags={"a": 1}, payload={"job_type": "t"}, scheduled_at=None)
    about = {"worker_id": "host.1", "queue_name": "mail.eu", "hostname": "h"}
    await api.ask("POST", "/workers/register", json=about, expect=201)
    await api.ask("POST", "/queues/mail/pause", json={"reason": "é"}, expect=200)
    await until(lambda: len(heard) >= 9, at_most=15)

    for message in heard:
        is_job = ".@" not in message.subject
        check_message(document, "JobChanged" if is_job else "ResourceChanged", message)
        channel = document["channels"]["jobs" if is_job else "resources"]
        pattern = re.sub(
            r"\\\{\w+\\\}", "[A-Za-z0-9_%-]+", re.escape(channel["address"])
        )
        assert re.fullmatch(pattern, message.subject)
    types = {json.loads(message.data)["type"] for message in heard}
    assert types >= {
        "job.created",
        "job.started",
        "job.deadlettered",
        "job.cancelled",
        "workflow.started",
        "workflow.failed",
        "worker.registered",
        "queue.paused",
    }
    for message in heard:
        said = json.loads(message.data)
        assert message.headers["ce-type"] == said["type"]
        assert message.headers["ce-id"] == said["id"]
        assert message.headers["ce-time"] == said["time"]
        assert said["organization_id"] in message.headers["ce-source"]


@pytest.mark.parametrize(
    ("body", "name"),
    [({"payload": {}}, "JobMade"), ({}, "JobRefused"), (None, "JobRefused")],
)
async def test_requests_and_answers_are_as_described(
    document, api, client, tenant, body, name
):
    async def ask():
        try:
            return await client.request(
                ingest_subject(str(tenant.id), "mail"),
                json.dumps(body).encode(),
                headers={"Bellhop-Key": tenant.api_key},
            )
        except nats.errors.NoRespondersError:
            return None

    answer = await until(ask, at_most=10)

    check_message(document, name, answer)
    if name == "JobMade":
        asked = document["components"]["messages"]["JobWanted"]["payload"]
        check(document, asked, body)

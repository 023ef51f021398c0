"""Whatever stands on the bus: it is logged, counted and skipped, and nobody stops.

Each subject that a service hears is told, with the services' own credential, what a
broken version of one might say.  No actor fails over it, nothing of it comes again, and
what is said behind it is heard.
"""

import asyncio
import json
import random
from contextlib import asynccontextmanager
from functools import partial
from urllib.request import urlopen

import nats
import pytest
from nats.js.errors import NotFoundError
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from libs.common import messages
from libs.common.messages import WORK, WORK_CONSUMER, Unreadable, Word
from libs.common.subjects import CONSUMERS, INGEST
from tests.support.house import run_house
from tests.support.poison import batched, poisons
from tests.support.waiting import until
from tests.support.watching import open_gallery

JOB, LEASE, OTHER = (f"0191d0a0-0000-7000-8000-00000000000{n}" for n in range(3))
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9/"
DELIVERY = {
    "job_id": JOB,
    "webhook_id": "w",
    "endpoint_id": OTHER,
    "url_version": 1,
    "organization_id": OTHER,
    "attempt": 1,
    "url": NOWHERE,
    "timeout_seconds": 1.0,
    "body_bytes": 2,
    "body": {},
    "method": "POST",
    "headers": {"a": "b"},
    "body_digest": "",
}
RECEIVER = {
    "style": "standard",
    "keys": [{"scheme": "v1", "sealed": "c2VhbGVk"}],
    "headers": {"a": "b"},
    "auth": "c2VhbGVk",
    "tls": "c2VhbGVk",
}
CHANGED = {
    "id": "1",
    "position": "",
    "after": "",
    "type": "job.completed",
    "time": "2026-01-02T03:04:05+00:00",
    "organization_id": "ORGANIZATION",
    "queue_name": "mail",
    "job_id": JOB,
    "job_type": "a",
    "tags": ["a"],
    "attempt": 1,
    "priority": 0,
    "actor": "a",
    "details": {"duration_ms": 1.5, "error": "a", "retry_count": 1, "place": "ready"},
}
RESOURCE = {
    "id": "1",
    "position": "",
    "after": "",
    "type": "worker.registered",
    "time": "2026-01-02T03:04:05+00:00",
    "organization_id": "ORGANIZATION",
    "resource": "worker",
    "resource_id": "w",
    "queue_name": "mail",
    "data": {"a": 1},
}
VERDICT = {
    "job_id": JOB,
    "lease_id": LEASE,
    "endpoint_id": OTHER,
    "url_version": 1,
    "sent": True,
    "status": 200,
    "error": "e",
    "duration_ms": 1.0,
    "ended_ms_ago": 1.0,
    "retry_after": "1",
    "headers": {"a": "b"},
    "body": "Ym9keQ==",
}
#: Of every word, where it is said, and what a good one is.  ``DISPATCHER`` is whoever
#: is up, ``ORGANIZATION`` a tenant that is watched.
SAID = [
    ("LanesReady", "bellhop.wake.push", {"lanes": [1, 2]}),
    ("WorkReady", "bellhop.wake.work", {"lanes": [1, 2]}),
    ("JournalGrew", "bellhop.wake.journal", {}),
    ("SchedulesChanged", "bellhop.wake.schedules", {}),
    (
        "OrganizationChanged",
        "bellhop.hint.organization.changed",
        {"organization_id": "ORGANIZATION"},
    ),
    (
        "WorkerSeen",
        "bellhop.hint.worker.seen",
        {
            "organization_id": "ORGANIZATION",
            "worker_id": "w",
            "queue_name": "mail",
            "status": "healthy",
            "current_jobs": 1,
            "time": "2026-01-02T03:04:05+00:00",
        },
    ),
    ("DispatcherAlive", "bellhop.hint.dispatcher.alive", {"dispatcher": "d"}),
    (
        "LeasesHeld",
        "bellhop.hint.delivery.held",
        {"pod": "p", "slots": 1, "leases": {"d": [LEASE]}},
    ),
    (
        "AttemptDeliveries",
        "bellhop.work.delivery",
        {
            "lease_id": LEASE,
            "dispatcher": "d",
            "lease_seconds": 1.0,
            "secrets": {OTHER: ["c2VhbGVk"]},
            "receivers": {OTHER: RECEIVER},
            "jobs": [DELIVERY],
        },
    ),
    (
        "AttemptWanted",
        "bellhop.attempt",
        {"job": DELIVERY, "receiver": RECEIVER, "secrets": ["c2VhbGVk"]},
    ),
    ("AttemptsEnded", "bellhop.results.any", {"pod": "p", "verdicts": [VERDICT]}),
    (
        "AttemptsEnded",
        "bellhop.results.DISPATCHER",
        {"pod": "p", "verdicts": [VERDICT]},
    ),
    (
        "BodyWanted",
        "bellhop.bodies",
        {"job_id": JOB, "lease_id": LEASE, "offset": 0, "length": 1, "digest": "x"},
    ),
    ("Event", f"bellhop.events.{OTHER}.mail.{JOB}.completed", CHANGED),
    ("Event", f"bellhop.events.{OTHER}.@worker.w.registered", RESOURCE),
    (None, "bellhop.ingest.ORGANIZATION.mail", {"payload": {"n": 1}, "priority": 1}),
    (None, "bellhop.consumers.ORGANIZATION.ORGANIZATION", {"filter": "mail.>"}),
]
NAMES = [" ".join(filter(None, [subject, word])) for word, subject, _ in SAID]
#: What the log says of a message that is passed by.
SKIPPED = {"bus.unreadable", "bus.message_failed"}


def counted(name, **labels):
    """Return what this process has counted under *name*, of these labels together."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def skipped(word):
    """Return how many messages were counted as no such word, or as too much for it."""
    return counted("bellhop_messages_unreadable_total", word=word) + counted(
        "bellhop_messages_failed_total", word=word
    )


def have_skipped(word, count):
    return word is None or skipped(word) >= count


def failures():
    """Return how often an actor or a request had to end."""
    return counted("bellhop_actor_failures_total"), counted(
        "bellhop_nats_jobs_total", status="500"
    )


@pytest.fixture(autouse=True)
def logs():
    """What is logged."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url) as house:
        yield house


@pytest.fixture
async def services(nats_url):
    """What a service says, with its credential."""
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@asynccontextmanager
async def watched(api, house):
    """Look on as a watcher does, so that events are followed; give the types seen."""
    async with open_gallery(house.database_url, house.nats_url) as gallery:
        seen: list[str] = []

        async def look(stream):
            while (fields := await stream.frame()) is not None:
                if "data" in fields:
                    seen.append(json.loads(fields["data"])["type"])

        async with gallery.stream(api.tenant) as stream:
            looking = asyncio.create_task(look(stream))
            try:
                yield seen
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


async def say(client, subject, data, headers):
    """Say something as a service would, whether anybody waits for the answer or not."""
    reply = client.new_inbox() if random.random() < 0.5 else ""
    await client.publish(subject, data, headers=headers, reply=reply)


def subscriptions(monitor_port):
    """Return what the services hear by themselves, as the server knows it."""
    url = f"http://127.0.0.1:{monitor_port}/connz?subs=1"
    with urlopen(url) as answer:
        connections = json.load(answer)["connections"]
    return {
        subject
        for one in connections
        if one.get("name", "").startswith("bellhop-")
        for subject in one.get("subscriptions_list", ())
        if not subject.startswith("_INBOX")
    }


async def dispatcher_of(monitor_port):
    """Return what the dispatcher calls itself."""

    def named():
        (name,) = (
            subject.removeprefix("bellhop.results.")
            for subject in subscriptions(monitor_port)
            if subject.startswith("bellhop.results.")
            and subject != "bellhop.results.any"
        )
        return name

    async def known():
        try:
            return await asyncio.to_thread(named)
        except ValueError:
            return None

    return await until(known)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("word", "subject", "good"), SAID, ids=NAMES)
async def test_a_poison_message_stops_nobody(
    house, api, services, nats_server, endpoint, fuzzing, logs, word, subject, good
):
    async with watched(api, house) as seen:
        dispatcher = await dispatcher_of(nats_server.monitor_port)
        before, first = failures(), skipped(word)
        count = first
        subject, spelled = (
            text.replace("DISPATCHER", dispatcher).replace(
                "ORGANIZATION", str(api.tenant.id)
            )
            for text in (subject, json.dumps(good))
        )
        for number in fuzzing.rounds():
            for some in batched(poisons(json.loads(spelled), number), 50):
                for data, headers in some:
                    await say(services, subject, data, headers)
                    count += not is_readable(word, data)
                await services.flush()
                # All that is no word is counted, and so it was passed by.
                await until(partial(have_skipped, word, count), at_most=60)
                await assert_nothing_waits(services)

        await assert_still_works(api, endpoint, seen)
    async with watched(api, house) as seen:
        # Who comes anew reads again what stands in the stream.
        await assert_still_works(api, endpoint, seen)
    assert failures() == before
    lines = [line for line in logs if line["event"] in SKIPPED and line["word"] == word]
    assert len(lines) == skipped(word) - first
    assert word is None or lines


def is_readable(word, data):
    """Whether nobody need say that this is no word."""
    if word in {None, "AttemptDeliveries"}:
        # Who is asked for jobs answers; and a batch may be too old before it is taken.
        return True
    read = messages.read_event if word == "Event" else getattr(messages, word).decode
    try:
        read(data)
    except Unreadable:
        return False
    return True


async def assert_still_works(api, endpoint, seen):
    """A webhook is delivered, a worker that waits is woken, and a watcher is told."""
    told = len(seen)
    body = {"queue_name": "work", "worker_id": "w", "wait_seconds": 20}
    waiting = asyncio.create_task(api.ask("POST", "/jobs/claim", json=body, expect=200))
    webhook = await api.create(endpoint.url)
    job = await api.create(queue_name="work")
    await api.until_status(webhook, "completed", at_most=30)
    (claimed,) = (await waiting)["jobs"]
    held = {"worker_id": "w", "lease_id": claimed["lease_id"]}
    await api.ask("POST", f"/jobs/{job}/complete", json=held, expect=200)

    await until(lambda: seen[told:].count("JobCompleted") == 2, at_most=30)


async def assert_nothing_waits(services):
    """No message is left to be taken up, or came twice."""

    async def empty():
        try:
            info = await services.jetstream().consumer_info(WORK.name, WORK_CONSUMER)
        except NotFoundError:
            return True
        assert info.num_redelivered == 0
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    await until(empty, at_most=30)


async def test_no_subject_is_forgotten(house, nats_server):
    """Every subject that a service hears, or a stream keeps, is told poison above."""
    dispatcher = await dispatcher_of(nats_server.monitor_port)
    told = {subject.replace("DISPATCHER", dispatcher) for _, subject, _ in SAID}
    shapes = {
        "bellhop.ingest.>": f"{INGEST}.ORGANIZATION.mail",
        "bellhop.consumers.>": f"{CONSUMERS}.ORGANIZATION.ORGANIZATION",
    }
    async with open_gallery(house.database_url, house.nats_url):

        async def all_heard():
            found = await asyncio.to_thread(subscriptions, nats_server.monitor_port)
            heard = {shapes.get(subject, subject) for subject in found}
            assert heard <= told
            kept = {
                one
                for one in told
                if one.startswith(("bellhop.events.", *WORK.subjects))
            }
            return heard | kept == told

        await until(all_heard)
    words = {word.__name__ for word in Word.__subclasses__()}
    assert {word for word, *_ in SAID} - {None, "Event"} == words - {
        "JobChanged",
        "ResourceChanged",
    }

"""Whatever happens is announced, once and in one order, whoever caused it."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from libs.common import outgoing, streams
from libs.common.bus import open_bus
from libs.common.messages import (
    EVENTS,
    JobChanged,
    ResourceChanged,
    WorkerSeen,
    read_event,
)
from libs.common.positions import read_position
from tests.support import flows
from tests.support.endpoint import run_endpoint
from tests.support.endpoints import create_endpoint, fill
from tests.support.house import assert_invariants, open_api, run_house
from tests.support.timetables import go_back, make
from tests.support.waiting import until

ONCE = {"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0}


@pytest.fixture
async def house(database_url, nats_url):
    """All that makes something happen, quick to miss a worker."""
    async with run_house(database_url, nats_url, worker_poll_seconds=0.2) as house:
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def api(house, tenant):
    async with open_api(house, tenant) as client:
        yield client


@pytest.fixture
async def bus(house):
    async with open_bus(house.nats_url, service="test") as bus:
        await until(lambda: bus.connected)
        yield bus


@asynccontextmanager
async def announced(bus):
    """Yield the list of the events that are announced from now on."""
    heard: list[JobChanged | ResourceChanged] = []
    began, enough = asyncio.Event(), asyncio.Event()

    async def listen(data):
        heard.append(read_event(data))

    async def begin():
        began.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(
            streams.follow(
                bus, EVENTS, listen, back=0, caught_up=begin, stopping=enough
            )
        )
        await began.wait()
        try:
            yield heard
        finally:
            enough.set()


def types(heard, resource):
    return [
        one.type
        for one in heard
        if isinstance(one, ResourceChanged) and one.resource == resource
    ]


async def heard_all(heard, resource, *expected):
    """Wait until just this was announced of such things, in this order."""
    wanted = [f"{resource}.{what}" for what in expected]
    try:
        await until(lambda: len(types(heard, resource)) >= len(wanted), at_most=15)
    finally:
        assert types(heard, resource) == wanted


async def test_of_queues(api, bus):
    async with announced(bus) as heard:
        await api.create()
        post = partial(api.ask, "POST", expect=200)
        await post("/queues/mail/pause", json={"reason": "fire"})
        await post("/queues/mail/pause", json={"reason": "fire"})
        await post("/queues/mail/resume")
        put = partial(api.ask, "PUT", "/queues/mail/config", expect=200)
        await put(json={"enabled": False})
        await put(json={"enabled": False, "max_retries": 7})
        await put(json={"enabled": True})
        await api.ask(
            "PUT", "/queues/other/config", json={"enabled": False}, expect=200
        )
        await heard_all(heard, "queue", *["paused", "resumed"] * 2, "paused")

    changes = [one for one in heard if isinstance(one, ResourceChanged)]
    assert [one.resource_id for one in changes] == ["mail"] * 4 + ["other"]
    assert [one.queue_name for one in changes] == ["mail"] * 4 + ["other"]
    assert changes[0].subject_of_this() == (
        f"bellhop.events.{api.tenant.id}.@queue.mail.paused"
    )
    assert [one.type for one in heard if isinstance(one, JobChanged)] == ["job.created"]


async def test_of_workers(api, bus, conn):
    beats: list[WorkerSeen] = []
    stopping = asyncio.Event()
    async with announced(bus) as heard, asyncio.TaskGroup() as group:
        group.create_task(bus.hear(WorkerSeen, beats.append, stopping=stopping))
        about = {"worker_id": "host.1-7", "queue_name": "mail", "hostname": "h"}
        await api.ask("POST", "/workers/register", json=about, expect=201)
        for status in ("healthy", "degraded", "degraded"):
            beat = {"current_jobs": 2, "status": status}
            await api.ask("POST", "/workers/host.1-7/heartbeat", json=beat, expect=200)
        await heard_all(heard, "worker", "registered", "status_changed")
        await conn.execute("UPDATE workers SET last_heartbeat_at = '-infinity'")
        await heard_all(heard, "worker", "registered", "status_changed", "offline")
        beat = {"current_jobs": 0}
        await api.ask("POST", "/workers/host.1-7/heartbeat", json=beat, expect=200)
        await api.ask("POST", "/workers/host.1-7/deregister", expect=204)
        await heard_all(
            heard,
            "worker",
            "registered",
            "status_changed",
            "offline",
            "status_changed",
            "deregistered",
        )
        await until(lambda: len(beats) == 4)
        stopping.set()

    assert {one.resource_id for one in heard} == {"host.1-7"}
    assert heard[0].subject_of_this() == (
        f"bellhop.events.{api.tenant.id}.@worker.host%2E1-7.registered"
    )
    assert [beat.status for beat in beats] == ["healthy", *["degraded"] * 2, "healthy"]
    assert {beat.organization_id for beat in beats} == {str(api.tenant.id)}


async def test_of_schedules(api, bus, conn):
    async with announced(bus) as heard:
        made = await make(api, misfire="skip")
        one = f"/schedules/{made['id']}"
        await api.ask("POST", f"{one}/trigger", expect=200)
        await heard_all(heard, "schedule", "triggered")
        for what in ("pause", "pause", "resume", "resume"):
            await api.ask("POST", f"{one}/{what}", expect=200)
        await heard_all(heard, "schedule", "triggered", "paused", "resumed")
        # What is overdue is skipped.
        await go_back(conn, made["id"], ticks=3)
        told = ["triggered", "paused", "resumed", "skipped"]
        await heard_all(heard, "schedule", *told)

    resources = [one for one in heard if isinstance(one, ResourceChanged)]
    assert {one.resource_id for one in resources} == {made["id"]}
    assert {one.queue_name for one in resources} == {"reports"}


async def test_of_workflows(api, bus):
    async with announced(bus) as heard:
        flow = await flows.create(api, flows.step("a"))
        jobs = await flows.claim(api)
        await flows.give_up(api, jobs["a"])
        await heard_all(heard, "workflow", "started", "failed")
        path = f"/workflows/{flow['workflow_id']}"
        await api.ask("POST", f"{path}/retry", expect=200)
        await flows.complete(api, (await flows.claim(api))["a"])
        told = ["started", "failed", "retried", "completed"]
        await heard_all(heard, "workflow", *told)
        other = await flows.create(api, flows.step("b"))
        await api.ask("POST", f"/workflows/{other['workflow_id']}/cancel", expect=200)
        await heard_all(heard, "workflow", *told, "cancelled")


async def test_a_workflow_whose_dead_letter_is_taken_up_runs_again(api, bus):
    async with announced(bus) as heard:
        await flows.create(api, flows.step("a"))
        job = (await flows.claim(api))["a"]
        await flows.give_up(api, job)
        await heard_all(heard, "workflow", "started", "failed")
        await api.ask("POST", f"/jobs/{job['id']}/retry", expect=200)
        await heard_all(heard, "workflow", "started", "failed", "retried")


async def test_of_endpoints(api, bus, conn):
    async with announced(bus) as heard, run_endpoint() as receiver:
        receiver.otherwise = 500
        made = await create_endpoint(api, url=receiver.url, retry=ONCE)
        change = partial(api.ask, "PATCH", f"/endpoints/{made['id']}", expect=200)
        for enabled in (False, False, True):
            await change(json={"enabled": enabled})
        await heard_all(heard, "endpoint", "disabled", "enabled")
        await fill(conn, made, 30)
        await heard_all(heard, "endpoint", "disabled", "enabled", "breaker_opened")
        receiver.otherwise = 200
        await change(json={"url": f"{receiver.url}/elsewhere"})
        await heard_all(
            heard,
            "endpoint",
            "disabled",
            "enabled",
            "breaker_opened",
            "breaker_closed",
        )


async def test_of_outgoing_webhooks(api, bus):
    async with announced(bus) as heard:
        asked = {"name": "ops", "url": "http://127.0.0.1:9/", "events": ["job.failed"]}
        made = await api.ask("POST", "/outgoing-webhooks", json=asked, expect=201)
        for enabled in (False, False, True):
            await api.ask(
                "PUT",
                f"/outgoing-webhooks/{made['id']}",
                json={"enabled": enabled},
                expect=200,
            )
        await heard_all(heard, "endpoint", "disabled", "enabled")


async def test_all_have_positions_in_the_order_of_the_stream(api, bus):
    async with announced(bus) as heard:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                typed = {"payload": {"job_type": "t"}, "tags": ["a", str(number)]}
                group.create_task(api.create(**typed))
                group.create_task(
                    api.ask(
                        "POST",
                        "/workers/register",
                        json={"queue_name": "mail", "hostname": "h"},
                        expect=201,
                    )
                )
        await until(lambda: len(heard) == 40)

    positions = [read_position(one.position) for one in heard]
    assert positions == sorted(positions)
    assert len({one.id for one in heard}) == 40
    jobs = [one for one in heard if isinstance(one, JobChanged)]
    assert len({one.tag_names for one in jobs}) == 20
    assert {one.job_type for one in jobs} == {"t"}


def test_every_event_is_tried_here():
    """What this file makes happen is all that can be asked for."""
    said = Path(__file__).read_text()
    asked = [each for each in outgoing.EVENTS if not each.startswith("job.")]

    assert [each for each in asked if f'"{each.partition(".")[2]}"' not in said] == []

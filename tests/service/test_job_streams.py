"""The streams of one queue and of one job."""

import json

import pytest

from libs.common.ids import new_id
from libs.common.store import settlement
from tests.support import stock
from tests.support.house import run_house
from tests.support.watching import open_gallery, tenant


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


@pytest.fixture
async def line(conn, acme):
    return await stock.open_line(conn, organization_id=acme.organization_id)


@pytest.fixture
async def gallery(database_url, nats_url):
    async with (
        run_house(database_url, nats_url, services=("scheduler",)),
        open_gallery(database_url, nats_url) as gallery,
    ):
        yield gallery


def statuses(events):
    return [
        (data["old_status"], data["new_status"])
        for _, kind, data in events
        if kind == "JobStatusChange"
    ]


async def settle(conn, claimed, how="completed"):
    await settlement.settle(conn, attempts=[stock.ended(claimed, how)], actor="pod")


async def test_a_job_is_told_as_it_stands_and_then_as_it_moves_until_it_ends(
    gallery, conn, acme, line
):
    [job] = await stock.create(conn, line)
    async with gallery.stream(acme, path=f"/jobs/{job}") as stream:
        first = await stream.event()
        await stock.create(conn, line)
        [claimed] = [c for c in await stock.claim(conn, line, 2) if c.job_id == job]
        await settle(conn, claimed)
        rest = [json.loads(fields["data"]) for fields in await stream.rest()]

    assert statuses([first]) == [("", "pending")]
    assert [one["type"] for one in rest] == [
        "JobStatusChange",
        "JobStatusChange",
        "JobCompleted",
    ]
    assert {one["data"]["job_id"] for one in rest} == {str(job)}
    assert statuses([(None, one["type"], one["data"]) for one in rest]) == [
        ("pending", "processing"),
        ("processing", "completed"),
    ]


@pytest.mark.parametrize("how", ["completed", "deadlettered"])
async def test_a_job_that_has_ended_is_told_once(gallery, conn, acme, line, how):
    [job] = await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await settle(conn, claimed, how)

    async with gallery.stream(acme, path=f"/jobs/{job}") as stream:
        [told] = await stream.rest()

    status = json.loads(told["data"])["data"]["new_status"]
    assert status == ("completed" if how == "completed" else "deadletter")
    async with gallery.http.get(
        f"{gallery.url}/api/v1/events/jobs/{job}",
        headers=acme.headers | {"Last-Event-ID": told["id"]},
    ) as response:
        # A browser asks no more then.
        assert response.status == 204


async def test_a_jobs_stream_can_be_resumed(gallery, conn, acme, line):
    [job] = await stock.create(conn, line)
    async with gallery.stream(acme, path=f"/jobs/{job}") as stream:
        mark, _, _ = await stream.event()
    [claimed] = await stock.claim(conn, line)
    await settle(conn, claimed, "retrying")
    async with gallery.stream(acme, path=f"/jobs/{job}", last=mark) as stream:
        events = await stream.events(3)

    assert [kind for _, kind, _ in events] == [
        "JobStatusChange",
        "JobStatusChange",
        "JobFailed",
    ]
    async with gallery.stream(acme, path=f"/jobs/{job}", last=events[1][0]) as stream:
        assert await stream.event() == events[2]


@pytest.mark.parametrize("whose", ["nobody", "another", "scoped", "nonsense"])
async def test_a_job_that_is_none_of_theirs_is_not_found(
    gallery, conn, acme, line, whose
):
    [job] = await stock.create(conn, line)
    asked = str(job)
    if whose in {"nobody", "nonsense"}:
        asked = str(new_id()) if whose == "nobody" else "nonsense"
    elif whose == "another":
        acme = await tenant(conn, "other")
    else:
        acme = await tenant(conn, "scoped", queues=["letters"])
        scoped = await stock.open_line(conn, organization_id=acme.organization_id)
        [job] = await stock.create(conn, scoped)
        asked = str(job)
    async with gallery.stream(acme, path=f"/jobs/{asked}") as stream:
        [last] = await stream.rest()

    envelope = json.loads(last["data"])
    assert (envelope["type"], envelope["data"]["message"]) == ("Error", "Job not found")


async def test_a_queues_stream_tells_of_that_queue(gallery, conn, acme, line):
    mine = {"organization_id": acme.organization_id}
    letters = await stock.open_line(conn, queue_name="letters", **mine)
    only = {"events": "job.created"}
    async with gallery.stream(acme, path="/queues/letters", **only) as stream:
        await stock.create(conn, line)
        [job] = await stock.create(conn, letters)
        _, kind, data = await stream.event()

    assert (kind, data["job_id"]) == ("JobCreated", str(job))


async def test_a_queue_out_of_scope_or_without_a_name_is_refused(gallery, conn):
    scoped = await tenant(conn, "scoped", queues=["letters"])
    assert (await gallery.refused("/queues/mail", scoped.headers))[0] == 403
    assert (await gallery.refused("/queues/a%20b", scoped.headers))[0] == 400

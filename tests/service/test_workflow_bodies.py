"""Large bodies that refer to what parents gave: one body, whoever gives its pieces."""

import asyncio
import hashlib
import json
from datetime import timedelta

import pytest

from libs.common.ids import new_id
from libs.common.store import claims, jobs, settlement
from libs.common.store.settlement import Settled
from tests.support.endpoint import Answer
from tests.support.flows import claim, complete, create, read, states, step
from tests.support.waiting import until

FILLER = "x" * 450_000


def pushed(url, **fields):
    return {"target": {"url": url, "timeout_seconds": 20}, **fields}


async def claim_push(conn):
    """Claim all push jobs as a dispatcher does that has no room for bodies."""
    lanes = [row["id"] for row in await conn.fetch("SELECT id FROM lanes WHERE push")]
    claimed, _ = await claims.claim(
        conn,
        quotas=dict.fromkeys(lanes, 10),
        lease_jobs_max=64,
        owner="dispatcher",
        lease=timedelta(seconds=60),
        payload_bytes_max=100,
    )
    return claimed


async def whole(conn, claimed, *, piece=65_536):
    """Return a body in pieces of *piece* bytes, or None when one was refused."""
    body = b""
    while len(body) < claimed.payload_bytes:
        more = await jobs.read_body(
            conn,
            job_id=claimed.job_id,
            lease_id=claimed.lease_id,
            offset=len(body),
            length=min(piece, claimed.payload_bytes - len(body)),
            digest=claimed.payload_digest,
        )
        if not more:
            return None
        body += more
    return body


async def test_what_a_body_was_when_it_was_claimed_it_is_or_nothing(api, conn):
    """A parent that nobody had to wait for ends between the claim and the pieces."""
    payload = {"filler": FILLER[:100_000], "late": "{{parents.late.result.x}}"}
    target = pushed("http://localhost:9/", payload=payload, dependency_mode="any")
    await create(api, step("soon"), step("late"), step("c", "soon", "late", **target))
    work = await claim(api)
    await complete(api, work["soon"])
    [first] = await claim_push(conn)
    spelled = json.dumps({**payload, "late": None}).encode()
    assert first.payload is None
    assert first.payload_bytes == len(spelled)
    assert first.payload_digest == hashlib.sha256(spelled).hexdigest()
    assert await whole(conn, first) == await whole(conn, first, piece=999) == spelled

    await complete(api, work["late"], {"x": "y" * 2})

    assert await whole(conn, first) is None
    unsent = Settled(job_id=first.job_id, lease_id=first.lease_id, how="released")
    assert await settlement.settle(conn, attempts=[unsent], actor="dispatcher")
    [again] = await claim_push(conn)
    spelled = json.dumps({**payload, "late": "yy"}).encode()
    # As long as before: only the digest tells one from the other.
    assert again.payload_bytes == first.payload_bytes == len(spelled)
    assert again.payload_digest != first.payload_digest
    assert await whole(conn, again) == spelled


async def test_a_body_that_refers_to_nothing_has_no_digest(api, conn):
    await api.create("http://localhost:9/", payload={"filler": FILLER})

    [claimed] = await claim_push(conn)

    assert claimed.payload_digest is None
    assert await whole(conn, claimed) == json.dumps({"filler": FILLER}).encode()


async def test_its_lease_is_needed_as_for_any_body(api, conn):
    payload = {"filler": FILLER, "a": "{{parents.a.result}}"}
    target = pushed("http://localhost:9/", payload=payload)
    await create(api, step("a"), step("b", "a", **target))
    await complete(api, (await claim(api))["a"], 1)
    [claimed] = await claim_push(conn)

    assert not await jobs.read_body(
        conn,
        job_id=claimed.job_id,
        lease_id=new_id(),
        offset=0,
        length=9,
        digest=claimed.payload_digest,
    )


@pytest.mark.usefixtures("carrying")
async def test_large_bodies_come_whole_from_any_dispatcher(api, house, endpoint):
    """Each is asked for in three pieces, and any dispatcher may give each."""
    for number in (2, 3):
        await house.start(f"dispatcher#{number}")
    given = "x" * 60_000
    references = ["{{parents.a.result.text}}"] * 20
    many = [
        step(
            f"b{n}", "a", payload={"n": n, "texts": references}, **pushed(endpoint.url)
        )
        for n in range(6)
    ]
    made = await create(api, step("a"), *many)
    await complete(api, (await claim(api))["a"], {"text": given})

    await endpoint.received(6, at_most=30)

    bodies = [json.loads(got.body) for got in endpoint.requests]
    bodies.sort(key=lambda body: body["n"])
    assert bodies == [{"n": n, "texts": [given] * 20} for n in range(6)]
    for got in endpoint.requests:
        assert len(got.body) > 1_048_576
        got.verify(api.tenant.signing_secret)
    for one in made["job_ids"][1:]:
        await api.until_status(one["job_id"], "completed")


@pytest.mark.usefixtures("carrying")
async def test_a_body_that_has_changed_is_not_sent_and_its_job_comes_again(
    api, house, endpoint
):
    """The pod has room for one body, and the other's parent ends while it waits."""
    await house.stop("delivery")
    await house.start("delivery", delivery_bodies_bytes_max=600_000)
    let_go = asyncio.Event()

    async def plan(_):
        await let_go.wait()
        return Answer(200)

    endpoint.answers = [plan]
    payload = {"filler": FILLER, "late": "{{parents.late.result}}"}
    first = pushed(endpoint.url, payload={"filler": FILLER}, priority=1)
    second = pushed(endpoint.url, payload=payload, dependency_mode="any")
    made = await create(
        api,
        step("soon"),
        step("late"),
        step("first", "soon", **first),
        step("second", "soon", "late", **second),
    )
    ids = {one["key"]: one["job_id"] for one in made["job_ids"]}
    work = await claim(api)
    await complete(api, work["soon"])
    await endpoint.received(1)

    async def is_claimed():
        return states(await read(api, made["id"]))["second"] == "processing"

    await until(is_claimed)
    await complete(api, work["late"], {"now": "there"})
    let_go.set()

    await api.until_status(ids["second"], "completed")
    assert [json.loads(got.body) for got in endpoint.requests] == [
        {"filler": FILLER},
        {"filler": FILLER, "late": {"now": "there"}},
    ]
    endpoint.requests[1].verify(api.tenant.signing_secret)
    assert endpoint.ids[1] == ids["second"]
    # It was not tried, so that is no attempt.
    assert await api.history(ids["second"]) == [
        "created",
        "unblocked",
        "started",
        "released",
        "started",
        "completed",
    ]
    attempts = await api.attempts(ids["second"])
    assert [one["outcome"] for one in attempts] == ["delivered"]

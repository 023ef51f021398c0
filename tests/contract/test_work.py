"""Jobs in the hands of workers: whose they are, and for how long."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.ids import new_id
from libs.common.store import invariants, jobs, journal, leases, settlement
from libs.common.store.dependencies import NOBODY, Released
from libs.common.store.settlement import Question
from tests.support import stock
from tests.support.rivals import place_of

WORKER_DIED = "Lease expired (worker timeout)"


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture
async def claimed(conn, line):
    """A job that `worker` has for a minute."""
    await stock.create(conn, line)
    [claimed] = await stock.claim_work(conn, line)
    return claimed


@pytest.fixture(autouse=True)
async def every_job_is_in_one_place_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []


async def settle(conn, *attempts):
    return await settlement.settle(conn, attempts=attempts, actor="dispatcher")


async def run_out(conn):
    await conn.execute("UPDATE leased SET deadline = now() - interval '1 second'")


async def shown(conn, line, claimed):
    row = await jobs.read_job(
        conn, organization_id=line.organization_id, job_id=claimed.job_id
    )
    assert row is not None
    return row


def renew(conn, *renewals):
    return leases.renew_work(conn, renewals=renewals)


# --- who holds it ---------------------------------------------------------------------

#: What says to be another than the holder, of a lease that is named or not.
STRANGERS: dict[str, dict[str, Any]] = {
    "another worker": {"owner": "other"},
    "another lease": {"lease_id": new_id()},
    "another organization": {"organization_id": new_id()},
    "another queue": {"queues": ("other", "others")},
    "the dispatcher": {"owner": None, "organization_id": None},
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("how", ["completed", "retrying", "deadlettered", "released"])
async def test_who_does_not_hold_a_job_does_not_settle_it(
    conn, line, claimed, stranger, how
):
    told = stock.worked(line, claimed, how, **STRANGERS[stranger])

    assert await settle(conn, told) == []
    assert await place_of(conn, claimed.job_id) == "leased"


@pytest.mark.parametrize("stranger", [s for s in STRANGERS if s != "the dispatcher"])
async def test_who_does_not_hold_a_job_does_not_keep_it(conn, line, claimed, stranger):
    asked = stock.renewal(line, claimed, seconds=600, **STRANGERS[stranger])

    assert await renew(conn, asked) == {}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("queues", [None, ("mail", "other")])
async def test_who_holds_a_job_settles_it_with_or_without_its_lease(
    conn, line, claimed, named, queues
):
    lease_id = claimed.lease_id if named else None
    told = stock.worked(line, claimed, lease_id=lease_id, queues=queues)

    [closed] = await settle(conn, told)

    assert (closed.job_id, closed.lease_id) == (claimed.job_id, claimed.lease_id)
    assert (closed.index, closed.lane_id, closed.how) == (0, line.id, "completed")
    assert (closed.released, closed.limited) == (NOBODY, False)


@pytest.mark.parametrize("named", [True, False])
async def test_a_lease_that_ran_out_is_nobodys(conn, line, claimed, named):
    await run_out(conn)
    lease_id = claimed.lease_id if named else None

    assert await settle(conn, stock.worked(line, claimed, lease_id=lease_id)) == []
    assert await renew(conn, stock.renewal(line, claimed, lease_id=lease_id)) == {}


async def test_a_batchs_job_is_not_a_workers(conn):
    """Whoever learns of a lease of the dispatcher's cannot settle as a worker."""
    push = await stock.open_line(conn)
    await stock.create(conn, push)
    [claimed] = await stock.claim(conn, push, owner="worker")

    named = stock.worked(push, claimed)
    unnamed = stock.worked(push, claimed, lease_id=None)

    assert await settle(conn, named, unnamed) == []
    assert await settle(conn, replace(stock.ended(claimed), lease_id=None)) == []
    assert len(await settle(conn, stock.ended(claimed))) == 1


async def test_what_is_told_twice_counts_once_and_the_right_one(conn, line):
    await stock.create(conn, line, 3)
    first, second, third = await stock.claim_work(conn, line, 3)
    told = [
        stock.worked(line, third, lease_id=None),
        stock.worked(line, first, owner="other", lease_id=None),
        stock.worked(line, first, lease_id=None),
        stock.worked(line, first, "retrying"),
        stock.worked(line, second, lease_id=new_id()),
        stock.worked(line, second),
    ]

    closed = await settle(conn, *told)

    assert sorted((each.index, each.job_id) for each in closed) == [
        (0, third.job_id),
        (2, first.job_id),
        (5, second.job_id),
    ]
    assert await conn.fetchval("SELECT count(*) FROM finished") == 3


# --- what is kept ---------------------------------------------------------------------


async def test_a_result_is_kept_and_the_attempt_is_the_workers(conn, line, claimed):
    await conn.execute("UPDATE leased SET claimed_at = now() - interval '2 seconds'")

    await settle(conn, stock.worked(line, claimed, result='{"n": 1.0}'))

    row = await shown(conn, line, claimed)
    assert (row["status"], row["result"]) == ("completed", '{"n": 1.0}')
    attempt = await conn.fetchrow("SELECT * FROM attempts")
    assert (attempt["verdict"], attempt["actor"]) == ("delivered", "worker")
    assert 2000 <= attempt["duration_ms"] < 12_000
    assert attempt["started_at"] == row["started_at"]


async def test_a_failure_is_the_workers_word(conn, line, claimed):
    await settle(conn, stock.worked(line, claimed, "retrying"))

    attempt = await conn.fetchrow("SELECT * FROM attempts")
    assert (attempt["verdict"], attempt["error"]) == ("refused", "no luck")
    [_, _, last] = await journal.history(
        conn,
        organization_id=line.organization_id,
        job_id=claimed.job_id,
        limit=9,
        offset=0,
        newest_first=False,
    )
    assert (last["transition"], last["actor"]) == ("retrying", "worker")
    assert json.loads(last["details"])["retry_count"] == 1


async def test_a_job_in_work_shows_whose_it_is_and_until_when(conn, line, claimed):
    row = await shown(conn, line, claimed)

    assert (row["owner"], row["lease_id"]) == ("worker", claimed.lease_id)
    assert row["deadline"] == claimed.lease_expires_at


async def test_children_are_let_go_by_the_statement_that_ends_their_parent(conn, line):
    [parent] = await stock.create(conn, line)
    claimed = await stock.claim_work(conn, line, 1)
    children = await stock.create(conn, line, 2, parent_id=parent)

    [closed] = await settle(conn, stock.worked(line, *claimed))

    assert closed.released == Released(unblocked=2, work_lanes=(line.id,))
    found = await conn.fetch("SELECT job_id FROM ready ORDER BY job_id")
    assert [row["job_id"] for row in found] == children


async def test_children_of_what_is_tried_again_wait_on(conn, line, claimed):
    await stock.create(conn, line, parent_id=claimed.job_id)

    [closed] = await settle(conn, stock.worked(line, claimed, "retrying"))

    assert closed.released is NOBODY
    assert await conn.fetchval("SELECT count(*) FROM waiting") == 1


async def test_room_is_found_in_all_lanes_of_a_limited_queue(conn, line, claimed):
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')",
        line.organization_id,
    )
    await conn.execute(
        "INSERT INTO queues (id, organization_id, name, settings)"
        " VALUES ($1, $2, 'mail', $3)",
        new_id(),
        line.organization_id,
        json.dumps({"concurrency": 1}),
    )
    push = await stock.open_line(conn, organization_id=line.organization_id)
    other = await stock.open_line(
        conn, organization_id=line.organization_id, queue_name="x", push=False
    )
    for each in (line, push, other):
        await stock.create(conn, each)

    [closed] = await settle(conn, stock.worked(line, claimed))

    assert closed.limited
    found = await settlement.find_room(conn, lanes=[line.id, other.id])
    assert found == {line.id: False, push.id: True}


# --- kept, run out, given back --------------------------------------------------------


async def test_a_renewed_lease_ends_when_it_was_asked_to(conn, line):
    await stock.create(conn, line, 2)
    claimed = await stock.claim_work(conn, line, 2, seconds=60)
    longer, shorter = claimed

    deadlines = await renew(
        conn,
        stock.renewal(line, shorter, seconds=5, lease_id=None),
        stock.renewal(line, longer, seconds=600),
    )

    left = {
        row["job_id"]: row["deadline"]
        for row in await conn.fetch("SELECT job_id, deadline FROM leased")
    }
    assert deadlines == {0: left[shorter.job_id], 1: left[longer.job_id]}
    assert left[shorter.job_id] < shorter.lease_expires_at
    assert left[longer.job_id] > longer.lease_expires_at


async def test_a_worker_that_let_its_lease_run_out_loses_the_job_and_a_retry(
    conn, line, claimed
):
    await run_out(conn)

    [recovered] = await leases.recover_work(conn, limit=10)

    assert (recovered.job_id, recovered.lane_id) == (claimed.job_id, line.id)
    assert not recovered.dead
    row = await conn.fetchrow("SELECT * FROM ready")
    assert (row["attempt"], row["retry_count"], row["crash_count"]) == (1, 1, 0)
    attempt = await conn.fetchrow("SELECT * FROM attempts")
    assert (attempt["verdict"], attempt["error"]) == ("lost", WORKER_DIED)
    row = await shown(conn, line, claimed)
    assert (row["status"], row["last_error"]) == ("pending", WORKER_DIED)


async def test_a_job_without_retries_left_dies_with_its_workers_lease(conn, line):
    await stock.create(conn, line, max_retries=0)
    [claimed] = await stock.claim_work(conn, line)
    await run_out(conn)

    [recovered] = await leases.recover_work(conn, limit=10)

    assert recovered.dead
    row = await shown(conn, line, claimed)
    assert (row["status"], row["ending"]) == ("deadletter", "attempts_exhausted")
    assert row["last_error"] == "Max retries exceeded after lease expiration"


@pytest.mark.parametrize("ours", [True, False])
async def test_whose_worker_went_offline_is_told_so(conn, line, ours):
    """A worker of that name may be another organization's, which says nothing."""
    there = line.organization_id if ours else new_id()
    await conn.execute("INSERT INTO organizations VALUES ($1, 'Acme', 'acme')", there)
    await conn.execute(
        "INSERT INTO workers (id, organization_id, queue_name, hostname, status)"
        " VALUES ('worker', $1, 'mail', 'box', 'offline')",
        there,
    )
    await stock.create(conn, line, max_retries=1)
    told = []
    for _ in range(2):
        [claimed] = await stock.claim_work(conn, line)
        await run_out(conn)
        await leases.recover_work(conn, limit=10)
        told.append((await shown(conn, line, claimed))["last_error"])

    assert told == [
        "Worker went offline" if ours else WORKER_DIED,
        "Max retries exceeded after worker went offline"
        if ours
        else "Max retries exceeded after lease expiration",
    ]


async def test_many_deaths_of_workers_quarantine_nothing(conn, line):
    """A worker's job is charged a retry; only `max_retries` decides."""
    await stock.create(conn, line, max_retries=6)
    for _ in range(6):
        [_] = await stock.claim_work(conn, line)
        await run_out(conn)
        [recovered] = await leases.recover_work(conn, limit=10)
        assert not recovered.dead


async def test_the_batches_and_the_workers_jobs_are_recovered_apart(conn, line):
    push = await stock.open_line(conn)
    await stock.create(conn, line)
    await stock.create(conn, push)
    await stock.claim_work(conn, line, seconds=0)
    await stock.claim(conn, push, seconds=0)

    [of_worker] = await leases.recover_work(conn, limit=10)
    [of_batch], _ = await leases.recover(conn, limit=10)

    assert (of_worker.lane_id, of_batch.lane_id) == (line.id, push.id)


async def test_what_a_worker_gives_back_was_not_tried(conn, line):
    await stock.create(conn, line, 3)
    mine = await stock.claim_work(conn, line, 2)
    await stock.claim_work(conn, line, 1, owner="other")

    released = await leases.release_work(
        conn, organization_id=line.organization_id, owner="worker"
    )

    assert {job.job_id for job in released} == {job.job_id for job in mine}
    rows = await conn.fetch("SELECT attempt, retry_count FROM ready")
    assert [tuple(row) for row in rows] == [(0, 0), (0, 0)]
    assert await conn.fetchval("SELECT owner FROM leased") == "other"


async def test_the_workers_of_others_keep_what_they_have(conn, line, claimed):
    other = await stock.open_line(conn, push=False)

    released = await leases.release_work(
        conn, organization_id=other.organization_id, owner="worker"
    )
    expired = await leases.expire_leases_of(
        conn,
        workers=[(other.organization_id, "worker"), (line.organization_id, "other")],
    )

    assert (released, expired) == ([], [])
    assert await place_of(conn, claimed.job_id) == "leased"


async def test_the_leases_of_a_worker_that_went_away_run_out(conn, line, claimed):
    expired = await leases.expire_leases_of(
        conn, workers=[(line.organization_id, "worker")]
    )

    assert expired == [claimed.job_id]
    [recovered] = await leases.recover_work(conn, limit=10)
    assert recovered.job_id == claimed.job_id


# --- where it stands ------------------------------------------------------------------


async def test_where_a_job_stands_is_told_to_whom_it_concerns(conn, line, claimed):
    def question(**fields):
        return Question(
            **{
                "job_id": claimed.job_id,
                "organization_id": line.organization_id,
                "queues": None,
                "owner": "worker",
                **fields,
            }
        )

    mine, stranger, unseen, elsewhere, unknown = await settlement.read_standing(
        conn,
        questions=[
            question(),
            question(owner="other", queues=("mail",)),
            question(queues=("other",)),
            question(organization_id=new_id()),
            question(job_id=new_id()),
        ],
    )

    assert unseen is elsewhere is unknown is None
    assert mine is not None
    assert stranger is not None
    assert (mine.place, mine.status, mine.owner) == ("leased", "processing", "worker")
    assert (mine.lease_id, mine.live, mine.had) == (claimed.lease_id, True, True)
    assert (stranger.owner, stranger.had) == ("worker", False)

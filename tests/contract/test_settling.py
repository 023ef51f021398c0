"""What the dispatcher reads and writes of attempts, beside where the jobs go."""

import json

import pytest

from libs.common.backoff import Exponential, read_policy
from libs.common.ids import new_id
from libs.common.store import attempts, jobs, journal, queues, settlement
from tests.support import stock

SCHEDULE = '{"strategy": "schedule", "schedule_seconds": [5]}'
GROWING = '{"strategy": "exponential", "initial_seconds": 7}'


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn)


@pytest.fixture
async def organization(conn, line):
    """The organization of the line, so that its queues can be configured."""
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')",
        line.organization_id,
    )


async def claimed_job(conn, line, **fields):
    await stock.create(conn, line, **fields)
    [claimed] = await stock.claim(conn, line)
    return claimed


async def configure(conn, line, settings):
    await queues.configure_queue(
        conn,
        id_=new_id(),
        organization_id=line.organization_id,
        name=line.queue_name,
        max_retries=None,
        default_timeout=None,
        rate_limit=None,
        enabled=None,
        settings=settings,
    )


async def policy_of(conn, claimed, lease_id=None):
    asked = (claimed.job_id, lease_id or claimed.lease_id, None)
    policies = await settlement.read_policies(conn, leases=[asked])
    return policies.get(claimed.job_id)


# --- policies -------------------------------------------------------------------------


async def test_a_job_without_a_policy_has_none(conn, line):
    policy = await policy_of(conn, await claimed_job(conn, line, max_retries=7))

    assert (policy.retry_count, policy.max_retries, policy.retry) == (0, 7, None)


@pytest.mark.usefixtures("organization")
async def test_the_policy_of_the_job_goes_before_that_of_its_queue(conn, line):
    await configure(conn, line, json.dumps({"retry": json.loads(GROWING)}))

    of_queue = await policy_of(conn, await claimed_job(conn, line))
    of_job = await policy_of(conn, await claimed_job(conn, line, retry=SCHEDULE))

    assert isinstance(read_policy(of_queue.retry), Exponential)
    assert read_policy(of_job.retry) == read_policy(SCHEDULE)


@pytest.mark.usefixtures("organization")
@pytest.mark.parametrize("settings", ['{"retry": null}', "{}", '{"other": 1}'])
async def test_a_queue_that_says_nothing_of_retries_has_no_policy(conn, line, settings):
    """Whoever sets it to null means that there is none."""
    await configure(conn, line, settings)

    policy = await policy_of(conn, await claimed_job(conn, line))

    assert policy.retry is None


async def test_who_lost_the_lease_learns_nothing(conn, line):
    claimed = await claimed_job(conn, line)

    assert await policy_of(conn, claimed, lease_id=new_id()) is None


@pytest.mark.usefixtures("organization")
async def test_the_simple_settings_of_a_queue_are_told_beside(conn, line):
    await configure(conn, line, '{"retry_delay_ms": 50, "other": 9}')

    policy = await policy_of(conn, await claimed_job(conn, line))

    assert policy.retry is None
    assert json.loads(policy.knobs) == {"retry_delay_ms": 50}


@pytest.mark.parametrize("named", [True, False])
async def test_a_worker_learns_of_its_own_job_only(conn, named):
    line = await stock.open_line(conn, push=False)
    await stock.create(conn, line, max_retries=7)
    [claimed] = await stock.claim_work(conn, line)
    lease_id = claimed.lease_id if named else None

    mine = await settlement.read_policies(
        conn, leases=[(claimed.job_id, lease_id, "worker")]
    )
    others = await settlement.read_policies(
        conn, leases=[(claimed.job_id, lease_id, each) for each in ("other", None)]
    )

    assert mine[claimed.job_id].max_retries == 7
    assert others == {}


# --- the body of a leased job ---------------------------------------------------------


async def test_a_body_is_read_in_pieces_of_bytes(conn, line):
    text = json.dumps({"name": "\u00e9\u20ac" * 50}, ensure_ascii=False)
    claimed = await claimed_job(conn, line, payload=text)
    body = text.encode()

    pieces = [
        await jobs.read_body(
            conn,
            job_id=claimed.job_id,
            lease_id=claimed.lease_id,
            offset=offset,
            length=7,
        )
        for offset in range(0, len(body) + 7, 7)
    ]

    assert b"".join(piece or b"" for piece in pieces) == body
    assert claimed.payload_bytes == len(body)
    assert pieces[-1] == b""


async def test_a_body_is_for_who_holds_the_lease(conn, line):
    claimed = await claimed_job(conn, line)

    assert (
        await jobs.read_body(
            conn, job_id=claimed.job_id, lease_id=new_id(), offset=0, length=9
        )
        is None
    )


# --- what is kept of an attempt -------------------------------------------------------


async def test_an_attempt_is_kept_with_its_answer(conn, line):
    claimed = await claimed_job(conn, line)
    await settlement.settle(
        conn,
        attempts=[
            stock.ended(
                claimed,
                "retrying",
                duration_ms=1500.0,
                ended_ms_ago=500.0,
                response_headers='{"x": "1"}',
                response_body=b"\x00\xff",
            )
        ],
        actor="pod",
    )

    [row] = await attempts.list_attempts(
        conn,
        organization_id=line.organization_id,
        job_id=claimed.job_id,
        limit=10,
        offset=0,
        newest_first=False,
    )
    assert (row["attempt"], row["verdict"], row["actor"]) == (1, "refused", "pod")
    assert (row["status_code"], row["error"]) == (500, "HTTP 500")
    assert json.loads(row["response_headers"]) == {"x": "1"}
    assert row["response_body"] == b"\x00\xff"
    began = await conn.fetchval("SELECT now() - $1::timestamptz", row["started_at"])
    assert 2.0 <= began.total_seconds() < 12.0


async def test_the_journal_tells_what_the_attempt_was_like(conn, line):
    claimed = await claimed_job(conn, line)
    await settlement.settle(
        conn, attempts=[stock.ended(claimed, "deadlettered", death="gone")], actor="pod"
    )

    newest, *_ = await journal.history(
        conn,
        organization_id=line.organization_id,
        job_id=claimed.job_id,
        limit=10,
        offset=0,
        newest_first=True,
    )
    assert newest["transition"] == "deadlettered"
    details = json.loads(newest["details"])
    assert (details["reason"], details["error"]) == ("gone", "HTTP 500")

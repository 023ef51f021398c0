"""Who wants to be told is told each thing once, whoever dies, and never in circles."""

import asyncio
import json
from datetime import UTC, datetime

import asyncpg
import pytest

from libs.common import outgoing as rules
from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import (
    completions,
    interventions,
    notices,
    organizations,
    outgoing,
    queues,
    settlement,
    tallies,
    telling,
)
from libs.common.store.jobs import Completion
from libs.common.store.journal import Position
from libs.common.store.telling import Outcome
from services.scheduler import teller
from services.scheduler.relay import ENDS
from tests.support import stock
from tests.support.plans import connected, plan_of, prepare, read_whole

START = Position("0", 0)
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Killed(Exception):  # noqa: N818 - what is wrong, no "Error" at the end
    """The process ends here."""


def killed():
    raise Killed


async def new_organization(conn, slug="acme"):
    id_ = new_id()
    await organizations.create_organization(
        conn, id_=id_, name=slug, slug=slug, billing_email=None, plan_tier="free"
    )
    return id_


async def new_webhook(conn, organization_id, *events, enabled=True, format_="json"):
    id_ = new_id()
    await outgoing.create_webhook(
        conn,
        id_=id_,
        organization_id=organization_id,
        name="operations",
        url="https://example.com/hook",
        events=events or ("*",),
        format_=format_,
        enabled=enabled,
        timeout_seconds=rules.TIMEOUT_SECONDS,
        retry=rules.RETRY,
        max_retries=rules.MAX_RETRIES,
        max_concurrency=rules.MAX_CONCURRENCY,
    )
    return id_


@pytest.fixture
async def line(conn):
    """A line of workers' jobs, of an organization that there is."""
    return await stock.open_line(
        conn, organization_id=await new_organization(conn), push=False
    )


@pytest.fixture
async def other(database_url):
    connection = await asyncpg.connect(
        database_url, server_settings={"jit": "off", **BY_KEY}
    )
    yield connection
    await connection.close()


async def relay(conn, *, dies=lambda: None):
    """Tell as the teller does, all there is; return how many deliveries were made."""
    created = 0
    while (told := await tell_next(conn, dies)) is not None:
        created += told.created
    return created


async def tell_next(conn, dies=lambda: None):
    """Tell in one transaction, within which the process may die."""
    async with conn.transaction():
        told = await teller.tell_next(conn)
        dies()
    return told


async def told(conn, webhook_id):
    """Return the bodies of what a webhook was sent, in order."""
    rows = await conn.fetch(
        "SELECT id, payload, job_type, target_headers FROM jobs"
        " WHERE endpoint_id = $1 ORDER BY id",
        webhook_id,
    )
    bodies = [json.loads(row["payload"]) for row in rows]
    for row, body in zip(rows, bodies, strict=True):
        assert body["id"] == str(row["id"])
        assert body["event"] == row["job_type"]
        assert json.loads(row["target_headers"]) == {"X-Spooled-Event": body["event"]}
    return bodies


async def finish(conn, line, how="completed", **fields):
    [claimed] = await stock.claim_work(conn, line)
    await settlement.settle(
        conn,
        attempts=[stock.worked(line, claimed, how, **fields)],
        actor="ingest",
    )
    return claimed.job_id


async def test_a_webhook_is_told_of_a_jobs_life_with_its_result(conn, line):
    hook = await new_webhook(conn, line.organization_id)
    [job_id] = await stock.create(conn, line)
    await finish(conn, line, result='{"sent": true}')

    assert await relay(conn)

    bodies = await told(conn, hook)
    assert [body["event"] for body in bodies] == [
        "job.created",
        "job.started",
        "job.completed",
    ]
    assert {body["data"]["job_id"] for body in bodies} == {str(job_id)}
    assert bodies[1]["data"]["worker_id"] == "worker"
    assert bodies[2]["data"]["result"] == {"sent": True}
    rows = await conn.fetch("SELECT * FROM jobs WHERE endpoint_id = $1", hook)
    assert {(row["max_retries"], row["queue_name"]) for row in rows} == {
        (4, "outgoing-webhooks")
    }
    assert json.loads(rows[0]["retry"])["schedule_seconds"] == [1, 2, 4, 8]


async def test_who_dies_before_the_commit_has_told_nobody_and_the_next_tells_once(
    conn, line
):
    hook = await new_webhook(conn, line.organization_id)
    await stock.create(conn, line, 3)

    with pytest.raises(Killed):
        await relay(conn, dies=killed)
    assert await told(conn, hook) == []
    assert await telling.read_told(conn) == START

    assert await relay(conn)
    await relay(conn)

    assert len(await told(conn, hook)) == 3


async def test_many_webhooks_are_told_bit_by_bit_and_each_once(conn, line):
    hooks = [await new_webhook(conn, line.organization_id) for _ in range(30)]
    ids = await stock.create(conn, line, 10)

    first = await tell_next(conn)

    # So much that a transaction is short; whoever comes next goes on from there.
    assert first is not None
    assert 0 < first.created < 200
    assert first.happenings * len(hooks) == first.created
    with pytest.raises(Killed):
        await tell_next(conn, killed)
    assert first.created + await relay(conn) == 300
    for hook in hooks:
        bodies = await told(conn, hook)
        assert [body["data"]["job_id"] for body in bodies] == [str(id_) for id_ in ids]


async def test_large_results_are_told_bit_by_bit(conn, line):
    hooks = [
        await new_webhook(conn, line.organization_id, "job.completed") for _ in range(8)
    ]
    await stock.create(conn, line, 12)
    for _ in range(12):
        await finish(conn, line, result=json.dumps("x" * 250_000))

    first = await tell_next(conn)

    assert first is not None
    assert 0 < first.created < 12 * 8
    assert first.created + await relay(conn) == 12 * 8
    for hook in hooks:
        assert len(await told(conn, hook)) == 12


async def test_what_nobody_wants_is_passed_over_at_once(conn, line):
    await stock.create(conn, line, 400)

    passed = await tell_next(conn)

    assert passed is not None
    # Only the last of them was read at all.
    assert (passed.happenings, passed.created, passed.more) == (1, 0, False)
    assert await tell_next(conn) is None


async def test_two_tellers_at_once_tell_once(conn, line, other):
    hook = await new_webhook(conn, line.organization_id, "job.created")
    for _ in range(5):
        await stock.create(conn, line, 20)
        await asyncio.gather(relay(conn), relay(other))

    await relay(conn)

    jobs = [body["data"]["job_id"] for body in await told(conn, hook)]
    assert len(jobs) == len(set(jobs)) == 100


async def test_what_tells_of_jobs_is_not_told_of(conn, line):
    hook = await new_webhook(conn, line.organization_id)
    [job_id] = await stock.create(
        conn, line, completion_of=None, completion=None, max_retries=0
    )
    await completions.attach(conn, completions={job_id: AT_HOME})
    await finish(conn, line)
    await relay(conn)
    deliveries = await conn.fetch("SELECT id FROM jobs WHERE id <> $1", job_id)
    assert len(deliveries) == 4

    for _ in range(3):
        await relay(conn)

    # Their own creation was passed over, and nobody was told.
    after = await telling.read_told(conn)
    assert await telling.read_untold(conn, after=after, limit=10, ends=ENDS) == ([], 0)
    assert len(await told(conn, hook)) == 3


AT_HOME = Completion(
    url="https://example.com/done", origin="https://example.com:443", sealed=b"sealed"
)


async def test_the_end_of_a_job_is_told_to_its_own_url(conn, line):
    ids = await stock.create(conn, line, 3, max_retries=0)
    await completions.attach(conn, completions=dict.fromkeys(ids[:2], AT_HOME))
    await finish(conn, line, result="[1]")
    await finish(conn, line, "deadlettered")
    await finish(conn, line)

    await relay(conn)

    rows = await conn.fetch(
        "SELECT * FROM jobs WHERE completion_of IS NOT NULL ORDER BY id"
    )
    assert [row["completion_of"] for row in rows] == ids[:2]
    bodies = [json.loads(row["payload"]) for row in rows]
    assert [body["event"] for body in bodies] == ["job.completed", "job.failed"]
    assert bodies[0]["data"]["result"] == [1]
    assert bodies[1]["data"]["error"] == "no luck"
    for row in rows:
        assert (row["target_url"], row["target_method"], row["max_retries"]) == (
            AT_HOME.url,
            "POST",
            0,
        )
    found = await completions.read_secrets(conn, job_ids=[rows[0]["id"], ids[0]])
    assert list(found) == [rows[0]["id"]]
    signing = found[rows[0]["id"]]
    assert (signing.completion_of, signing.sealed) == (ids[0], b"sealed")


async def test_a_dead_letter_that_is_taken_up_again_ends_again(conn, line):
    [job_id] = await stock.create(conn, line, max_retries=0)
    await completions.attach(conn, completions={job_id: AT_HOME})
    await finish(conn, line, "deadlettered")
    await interventions.requeue(
        conn,
        organization_id=line.organization_id,
        job_ids=[job_id],
        actor="key",
        queue_names=None,
    )
    await finish(conn, line)

    await relay(conn)

    rows = await conn.fetch(
        "SELECT job_type FROM jobs WHERE completion_of = $1", job_id
    )
    assert sorted(row["job_type"] for row in rows) == ["job.completed", "job.failed"]


async def test_nobody_else_is_told(conn, line):
    stranger = await new_webhook(conn, await new_organization(conn, "other"))
    disabled = await new_webhook(conn, line.organization_id, enabled=False)
    deleted = await new_webhook(conn, line.organization_id)
    await outgoing.delete_webhook(
        conn, organization_id=line.organization_id, id_=deleted
    )
    await stock.create(conn, line)

    await relay(conn)

    for hook in (stranger, disabled, deleted):
        assert await told(conn, hook) == []


async def test_deliveries_count_for_no_figures_unless_asked_for(conn, line):
    await new_webhook(conn, line.organization_id)
    await stock.create(conn, line, 2)
    await relay(conn)

    async def figures(**chosen):
        return await tallies.of_organization(
            conn, organization_id=line.organization_id, **chosen
        )

    assert (await figures()).pending == 2
    assert (await figures(queue_names=[rules.QUEUE])).pending == 2
    assert (await figures(queue_names=["mail", rules.QUEUE])).pending == 4
    listed = await queues.list_queues(
        conn, organization_id=line.organization_id, names=None, limit=10, offset=0
    )
    assert [row["queue_name"] for row in listed] == ["mail"]


def outcome(hook, *, arrived=False, failures=1, status="failed"):
    return Outcome(hook, arrived, failures, status, AT)


async def note(conn, *outcomes):
    return await telling.note_outcomes(
        conn, outcomes=outcomes, reason=outgoing.BY_ITSELF, failures_max=20
    )


async def standing(conn, line, hook):
    row = await outgoing.read_webhook(
        conn, organization_id=line.organization_id, id_=hook
    )
    assert row is not None
    return row["enabled"], row["failure_count"], row["last_status"]


async def test_twenty_deliveries_that_fail_in_a_row_disable_a_webhook(conn, line):
    hook = await new_webhook(conn, line.organization_id)
    other = await new_webhook(conn, line.organization_id)

    assert await note(conn, outcome(hook, failures=19), outcome(other)) == []
    assert await note(conn, outcome(hook, failures=0)) == []
    assert await standing(conn, line, hook) == (True, 19, "failed")
    arrived = outcome(hook, arrived=True, failures=0, status="success")
    assert await note(conn, arrived) == []
    assert await standing(conn, line, hook) == (True, 0, "success")
    await note(conn, outcome(hook, failures=19))

    assert await note(conn, outcome(hook)) == [line.organization_id]

    assert await standing(conn, line, hook) == (False, 20, "auto_disabled")
    assert await standing(conn, line, other) == (True, 1, "failed")
    [notice] = await notices.read_untold(conn, after=START, limit=10)
    assert notice.event == "endpoint.disabled"
    assert json.loads(notice.data)["endpoint_id"] == str(hook)
    # Deliveries that were under way fail as well, and it is told once.
    assert await note(conn, outcome(hook)) == []

    await outgoing.change_webhook(
        conn,
        organization_id=line.organization_id,
        id_=hook,
        name=None,
        url=None,
        events=None,
        format_=None,
        enabled=True,
    )
    assert await standing(conn, line, hook) == (True, 0, "failed")


async def test_a_webhook_that_is_gone_counts_nothing(conn, line):
    hook = await new_webhook(conn, line.organization_id)
    await conn.execute("DELETE FROM endpoints WHERE id = $1", hook)

    assert await note(conn, outcome(hook, failures=20)) == []


async def test_a_delivery_is_tried_by_hand_once_at_a_time(conn, line):
    hook = await new_webhook(conn, line.organization_id)
    lane = await stock.open_line(
        conn, organization_id=line.organization_id, queue_name=rules.QUEUE
    )
    [job_id] = await stock.create(conn, lane, max_retries=4)
    [claimed] = await stock.claim(conn, lane)
    dead = stock.ended(claimed, "deadlettered")
    await settlement.settle(conn, attempts=[dead], actor="pod")

    again = await outgoing.retry_delivery(conn, job_id=job_id, actor="key")

    assert again is not None
    assert again.job_id == job_id
    row = await conn.fetchrow("SELECT * FROM ready WHERE job_id = $1", job_id)
    assert (row["attempt"], row["retry_count"]) == (1, 4)
    assert await outgoing.retry_delivery(conn, job_id=job_id, actor="key") is None
    assert hook is not None


# --- costs --------------------------------------------------------------------------


async def test_whom_to_tell_is_found_without_reading_a_table_whole(conn, database_url):
    async def find(conn, line):
        await telling.find_audience(
            conn,
            organization_ids=[new_id() for _ in range(20)],
            ended=[new_id() for _ in range(300)],
        )

    line = await stock.open_line(conn)
    async with connected(database_url, BY_KEY) as service:
        call = await prepare(service, telling.SQL["find_audience"], find, line)
        plan = await plan_of(service, call)

    assert read_whole(plan) == set()

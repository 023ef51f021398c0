"""Who takes webhooks in dies in the middle of it: each becomes one job and one line."""

import asyncio
from collections import Counter

import aiohttp
import pytest

from tests.support import senders
from tests.support.house import open_api
from tests.support.processes import run_processes
from tests.support.senders import SECRET, configure, deliver
from tests.support.waiting import until

DELIVERIES_A_KILL = 200
KILLS = 3


@pytest.fixture
async def processes(database_url, nats_url, tmp_path):
    async with run_processes(
        database_url,
        nats_url,
        logs=tmp_path,
        services=("ingest",),
        public_rate_burst=100_000,
    ) as house:
        yield house


@pytest.mark.timeout(120)
async def test_no_crash_makes_a_job_twice_or_leaves_one_out_of_the_log(
    processes, tenant, conn
):
    async with open_api(processes, tenant) as api:
        await configure(api, "github", secret=SECRET)
        answered: Counter[str] = Counter()
        sent: set[str] = set()
        unanswered: set[str] = set()
        interrupted = []
        for kill in range(KILLS):
            # Each kill meets new ones: how many of those before are left is chance.
            new = {f"delivery-{kill}-{n}" for n in range(DELIVERIES_A_KILL)}
            sent |= new
            unanswered |= new
            before = answered.total()
            sending = [
                asyncio.create_task(one(api, id_, answered))
                for id_ in sorted(unanswered)
            ]
            await until(lambda: answered.total() > before + 10, at_most=10)  # noqa: B023
            await processes.kill("ingest")
            unanswered -= {id_ for id_ in await asyncio.gather(*sending) if id_}
            interrupted.append(len(unanswered))
            await processes.start("ingest", public_rate_burst=100_000)
        assert max(interrupted) > 0
        # Senders repeat what was not answered, and now and then what was.
        for id_ in sorted(unanswered) + sorted(sent - unanswered)[:50]:
            assert await one(api, id_, answered) == id_

    created = await conn.fetch(
        "SELECT delivery_id, job_id FROM incoming_deliveries WHERE status = 'created'"
    )
    jobs = await conn.fetch("SELECT id, idempotency_key FROM jobs")
    assert sorted(row["delivery_id"] for row in created) == sorted(sent)
    assert {
        (row["job_id"], f"incoming:github:{row['delivery_id']}") for row in created
    } == {(row["id"], row["idempotency_key"]) for row in jobs}
    # Every answer has its line; a line may be there whose answer was lost.
    lines = await conn.fetchval("SELECT count(*) FROM incoming_deliveries")
    assert lines >= answered.total()
    print(
        f"\nunanswered after each kill: {interrupted}; in the end"
        f" {answered.total()} answers, {lines} lines, {len(jobs)} jobs"
    )


async def one(api, id_, answered):
    """Send one delivery; return its id when it was answered."""
    body = senders.spelled({"id": id_})
    headers = senders.github(body, delivery=id_)
    try:
        status, taken = await deliver(api, "github", headers, body)
    except (aiohttp.ClientError, OSError):
        return None
    if status != 200:
        return None
    answered[taken["status"]] += 1
    return id_

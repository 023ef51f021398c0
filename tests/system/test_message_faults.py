"""Who takes messages in dies in the middle of it: each is there once, and whole."""

import asyncio
from collections import Counter

import aiohttp
import pytest

from tests.support.endpoints import create_endpoint
from tests.support.house import assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

MESSAGES = 400
KILLS = 3


@pytest.fixture
async def processes(database_url, nats_url, tmp_path):
    async with run_processes(
        database_url, nats_url, logs=tmp_path, services=("ingest",)
    ) as house:
        yield house


@pytest.mark.timeout(120)
async def test_no_crash_loses_half_of_a_message_or_sends_it_twice(
    processes, tenant, conn, database_url
):
    async with open_api(processes, tenant) as api:
        made = [await create_endpoint(api, ordered=n == 0) for n in range(3)]
        await create_endpoint(api, event_types=["never"])
        answered: Counter[bool] = Counter()
        unanswered = {f"key {n}" for n in range(MESSAGES)}
        interrupted = []
        for _ in range(KILLS):
            before = answered.total()
            sending = [
                asyncio.create_task(one(api, key, answered))
                for key in sorted(unanswered)
            ]
            await until(lambda: answered.total() > before + 10, at_most=15)  # noqa: B023
            await processes.kill("ingest")
            unanswered -= {key for key in await asyncio.gather(*sending) if key}
            interrupted.append(len(unanswered))
            await processes.start("ingest")
        assert interrupted[0] > 0
        for key in sorted(unanswered) + [f"key {n}" for n in range(50)]:
            assert await one(api, key, answered) == key

    keys = await conn.fetch("SELECT key, message_id FROM message_keys")
    assert {row["key"] for row in keys} == {f"key {n}" for n in range(MESSAGES)}
    bodies = await conn.fetch("SELECT id, idempotency_key AS key FROM messages")
    assert {(row["key"], row["id"]) for row in bodies} == {
        (row["key"], row["message_id"]) for row in keys
    }
    sent = await conn.fetch("SELECT message_id, endpoint_id FROM jobs")
    assert Counter((row["message_id"], str(row["endpoint_id"])) for row in sent) == (
        Counter((row["id"], one["id"]) for row in bodies for one in made)
    )
    await assert_invariants(database_url)
    # Answered as new at most once each; whose answer was lost is known afterwards.
    assert answered[True] <= MESSAGES
    print(f"\nunanswered after each kill: {interrupted}; {answered[True]} told new")


async def one(api, key, answered):
    """Send one message; return its key when it was answered."""
    body = {"event_type": "a", "payload": {"key": key}, "idempotency_key": key}
    try:
        status, data, _ = await api.ask("POST", "/messages", json=body)
    except (aiohttp.ClientError, OSError):
        return None
    if status not in {200, 201}:
        return None
    assert data["deliveries"] == 3
    answered[data["created"]] += 1
    return key

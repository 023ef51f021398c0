"""Schedules that fire every few seconds, and what each tick should have become."""

import random
from datetime import datetime
from uuid import UUID

import asyncpg

from libs.common.ticks import rhythm_of
from tests.chaos.asking import Client
from tests.chaos.labour import WORK
from tests.chaos.producers import PATIENT, RETRY
from tests.support.waiting import until


async def create_timers(
    client: Client, luck: random.Random, url: str, *, how_many: int
) -> None:
    """Create schedules; every other one pushes its jobs."""
    for number in range(how_many):
        body = {
            "name": f"Timer {number}",
            "cron_expression": f"*/{luck.choice([2, 3, 5])} * * * * *",
            "queue_name": WORK,
            "payload_template": {"tick": "{{schedule.tick}}"},
            "max_retries": PATIENT,
            "retry": RETRY,
            "misfire": "catch_up",
            "catch_up": {"max": 1000, "window_seconds": 86_400},
        }
        if number % 2:
            body["target"] = {"url": url, "timeout_seconds": 10}
        answer = await client.surely("POST", "/schedules", body)
        assert answer is not None
        assert answer.status == 201, answer


async def stop_timers(database_url: str) -> dict[UUID, set[datetime]]:
    """Let schedules catch up, then fire no more; return the ticks each should have."""
    conn = await asyncpg.connect(database_url)
    try:
        ends = await conn.fetchval("SELECT now()")

        async def have_caught_up():
            behind = "SELECT count(*) FROM schedules WHERE next_at < $1"
            return not await conn.fetchval(behind, ends)

        await until(have_caught_up, at_most=60)
        rows = await conn.fetch(
            "UPDATE schedules SET paused = true"
            " RETURNING id, cron_expression, created_at, next_tick"
        )
    finally:
        await conn.close()
    return {row["id"]: _ticks(row) for row in rows}


def _ticks(row: asyncpg.Record) -> set[datetime]:
    rhythm = rhythm_of(
        row["id"],
        expression=row["cron_expression"],
        timezone="UTC",
        created_at=row["created_at"],
    )
    ticks: set[datetime] = set()
    tick = rhythm.after(row["created_at"]).tick  # type: ignore[union-attr]
    while tick < row["next_tick"]:
        ticks.add(tick)
        tick = rhythm.after(tick).tick  # type: ignore[union-attr]
    return ticks

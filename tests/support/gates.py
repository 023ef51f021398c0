"""Endpoints and their gates straight through the store."""

from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from libs.common.admission import admission
from libs.common.db import BY_KEY
from libs.common.store import claims
from libs.common.store.claims import Claimed
from tests.support import stock


@asynccontextmanager
async def dispatching(url):
    """Connect as a dispatcher does."""
    conn = await asyncpg.connect(url, server_settings={"jit": "off", **BY_KEY})
    try:
        yield conn
    finally:
        await conn.close()


async def change(conn, line, **fields):
    """Change the endpoint."""
    for name, value in fields.items():
        await conn.execute(
            f"UPDATE endpoints SET {name} = $2 WHERE id = $1", line.endpoint_id, value
        )


async def trip(conn, line, **moments):
    """Change how the endpoint does: *moments* are SQL."""
    for name, moment in moments.items():
        await conn.execute(
            f"UPDATE endpoint_health SET {name} = {moment} WHERE endpoint_id = $1",
            line.endpoint_id,
        )


async def retry(conn, line, count):
    """Create jobs that stand in the lane of retries."""
    ids = await stock.create(conn, line, count)
    await conn.execute(
        "UPDATE ready SET lane_id = $1 WHERE job_id = ANY ($2)", line.retry_id, ids
    )
    return ids


async def claim(conn, asked):
    """Claim as a dispatcher does; return the jobs and the admission."""
    jobs: list[Claimed] = []
    async with admission(conn, asked=asked) as admitted:
        if admitted.quotas:
            jobs, refused = await claims.claim(
                conn,
                quotas=admitted.quotas,
                lease_jobs_max=64,
                owner="dispatcher",
                lease=timedelta(seconds=60),
                payload_bytes_max=100,
                admitted=admitted.gates_of,
            )
            assert refused == set()
        admitted.started(job.lane_id for job in jobs)
    return jobs, admitted

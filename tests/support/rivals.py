"""What it takes to let two connections get into each other's way."""

import asyncio
from contextlib import asynccontextmanager

from libs.common.store import interventions, settlement
from tests.support import stock
from tests.support.waiting import until


@asynccontextmanager
async def undecided(conn):
    """A transaction whose end another one must wait for."""
    transaction = conn.transaction()
    await transaction.start()
    try:
        yield transaction
    finally:
        if conn.is_in_transaction():
            await transaction.rollback()


async def blocked(conn, waiting):
    """Run *waiting* and return the task, when it waits for a lock."""
    task = asyncio.create_task(waiting)
    await until(
        lambda: conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
    assert not task.done()
    return task


async def place_of(conn, job_id):
    return await conn.fetchval("SELECT place FROM places WHERE job_id = $1", job_id)


def settle(conn, *claimed, how="completed", line=None):
    """Settle a batch's jobs, or with *line* those of the worker ``pod``."""
    attempts = [
        stock.ended(each, how)
        if line is None or line.push
        else stock.worked(line, each, how, owner="pod")
        for each in claimed
    ]
    return settlement.settle(conn, attempts=attempts, actor="dispatcher")


def cancel(conn, line, job_id):
    return interventions.cancel(
        conn, organization_id=line.organization_id, job_id=job_id, actor="key"
    )


async def run_out(conn):
    await conn.execute("UPDATE leases SET deadline = now() - interval '1 second'")

"""Pushed jobs that are sent once more, as new jobs, under the same ``webhook-id``.

The receiver can tell that it is the same (Standard Webhooks); the job that was stays
what it became.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.ids import new_id
from libs.common.sql import load
from libs.common.store.jobs import NewJob, Push
from libs.common.store.lines import Line

SQL: Final = load(__package__, "resends")

#: Where a job stands when it is over.
OVER: Final = frozenset(["finished", "dead"])


async def read_again(
    conn: Conn, *, organization_id: UUID, job_ids: Collection[UUID]
) -> list[Row]:
    """Return what `again` makes jobs of; jobs without a target are left out."""
    return list(await conn.fetch(SQL["read_again"], organization_id, list(job_ids)))


def again(row: Row) -> NewJob:
    """Return a new job that sends what another sent, of `read_again`.

    It goes behind what is new, with all of its retries, and to the end of its line.
    """
    return NewJob(
        id=new_id(),
        organization_id=row["organization_id"],
        queue_name=row["queue_name"],
        lane_id=row["lane_id"],
        payload=row["payload"],
        rank=row["rank"],
        max_retries=row["max_retries"],
        timeout_seconds=row["timeout_seconds"],
        job_type=row["job_type"],
        tags=row["tags"],
        retry=row["retry"],
        push=None
        if row["target_url"] is None
        else Push(
            url=row["target_url"],
            method=row["target_method"],
            headers=row["target_headers"],
            timeout_seconds=row["target_timeout_seconds"],
        ),
        endpoint_id=row["endpoint_id"],
        headers=None if row["target_url"] is not None else row["target_headers"],
        message_id=row["message_id"],
        enveloped=row["enveloped"],
        webhook_id=row["webhook_id"] or str(row["id"]),
        completion_of=row["completion_of"],
        line=None
        if row["line_scope"] is None
        else Line(row["line_scope"], row["line_key"]),
    )

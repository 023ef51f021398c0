"""Completion webhooks: jobs whose end is told to a URL of their own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import column, load
from libs.common.store.jobs import Completion

SQL: Final = load(__package__, "completions")


@dataclass(frozen=True, slots=True)
class Signing:
    """What signs one delivery, sealed for the job whose end it tells."""

    job_id: UUID
    completion_of: UUID
    sealed: bytes | None


async def attach(conn: Conn, *, completions: Mapping[UUID, Completion]) -> None:
    """Note whom to tell when these jobs end, in the transaction that creates them."""
    await conn.execute(
        SQL["attach"],
        list(completions),
        [completion.url for completion in completions.values()],
        [completion.origin for completion in completions.values()],
        column(completion.sealed for completion in completions.values()),
    )


async def read_secrets(conn: Conn, *, job_ids: Collection[UUID]) -> dict[UUID, Signing]:
    """Return what signs these deliveries, by their ids; others are left out."""
    rows = await conn.fetch(SQL["read_secrets"], list(job_ids))
    return {row["job_id"]: Signing(*row) for row in rows}

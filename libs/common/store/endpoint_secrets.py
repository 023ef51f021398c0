"""What signs for an endpoint; always sealed here (see ``sealing``)."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.ids import new_id
from libs.common.sql import load
from libs.common.store.endpoints import Scheme

SQL: Final = load(__package__, "endpoint_secrets")


async def put_secret(
    conn: Conn,
    *,
    endpoint_id: UUID,
    scheme: Scheme,
    sealed: bytes,
    public_key: str | None = None,
    overlap: timedelta = timedelta(0),
) -> None:
    """Let *sealed* sign for an endpoint; whatever did signs on for *overlap* at most.

    *public_key* (``whpk_…``) is that of an asymmetric one.
    """
    await conn.execute(
        SQL["put_secret"], new_id(), endpoint_id, scheme, sealed, public_key, overlap
    )


async def remove_secrets(conn: Conn, *, endpoint_id: UUID) -> None:
    """Let nothing sign for an endpoint."""
    await conn.execute(SQL["remove_secrets"], endpoint_id)


async def list_secrets(conn: Conn, *, endpoint_id: UUID) -> list[Row]:
    """Return what signs for an endpoint now, the current one first, without secrets."""
    return list(await conn.fetch(SQL["list_secrets"], endpoint_id))

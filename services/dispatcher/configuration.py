"""What a dispatcher remembers of what people configured: secrets, and endpoints.

Each endpoint is remembered at a version.  A claim says which version there is, so one
that was changed is never sent to as it was before.
"""

import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from libs.common.bus import Bus
from libs.common.db import Pool, borrow
from libs.common.store import completions, receivers, signing_secrets
from libs.common.store.claims import Claimed
from libs.common.store.completions import Signing
from libs.common.store.receivers import Configured
from libs.common.store.signing_secrets import SealedSecret

_SECRETS_SECONDS: Final = 30.0
_REMEMBERED_MAX: Final = 20_000


class Configuration:
    """Asks Postgres for what it does not know, or not as it is now."""

    def __init__(self, pool: Pool, bus: Bus) -> None:
        self._pool = pool
        self._bus = bus
        self._secrets: dict[UUID, tuple[list[SealedSecret], float]] = {}
        self._endpoints: dict[UUID, Configured] = {}
        self._connections = 0

    def forget(self, organization_id: UUID) -> None:
        """Forget an organization's secrets."""
        self._secrets.pop(organization_id, None)

    async def secrets(
        self, organization_ids: Iterable[UUID]
    ) -> dict[UUID, list[bytes]]:
        """Return the sealed secrets that sign for these organizations."""
        wanted = set(organization_ids)
        now = time.monotonic()
        if self._connections != self._bus.connections:
            # The word that a secret changed may have been lost.
            self._secrets.clear()
            self._connections = self._bus.connections
        known = {
            id_: self._secrets[id_]
            for id_ in wanted & self._secrets.keys()
            if now - self._secrets[id_][1] <= _SECRETS_SECONDS
        }
        if stale := wanted - known.keys():
            async with borrow(self._pool) as conn:
                found = await signing_secrets.current_secrets(
                    conn, organization_ids=stale
                )
            fresh = {id_: (secrets, now) for id_, secrets in found.items()}
            self._secrets |= fresh
            known |= fresh
        today = datetime.now(UTC)
        return {
            id_: [
                secret.sealed
                for secret in secrets
                if secret.expires_at is None or secret.expires_at > today
            ]
            for id_, (secrets, _) in known.items()
        }

    async def endpoints(self, claimed: Iterable[Claimed]) -> dict[UUID, Configured]:
        """Return the endpoints of jobs, as they were when claimed or later.

        Those that are gone meanwhile are left out.
        """
        wanted = {
            job.endpoint_id: job.endpoint_version or 0
            for job in claimed
            if job.endpoint_id is not None
        }
        known = {
            id_: self._endpoints[id_]
            for id_, version in wanted.items()
            if id_ in self._endpoints and self._endpoints[id_].version >= version
        }
        if stale := wanted.keys() - known.keys():
            async with borrow(self._pool) as conn:
                found = await receivers.read_receivers(conn, endpoint_ids=stale)
            if len(self._endpoints) > _REMEMBERED_MAX:
                self._endpoints.clear()
            self._endpoints |= found
            known |= found
        return known

    async def completions(self, job_ids: Collection[UUID]) -> dict[UUID, Signing]:
        """Return what signs these deliveries of completion webhooks."""
        if not job_ids:
            return {}
        async with borrow(self._pool) as conn:
            return await completions.read_secrets(conn, job_ids=job_ids)

"""Who asks: API keys, looked up by their SHA-256 and remembered for a while.

A key that is revoked is forgotten by every process at once: whoever changes a key says
`OrganizationChanged`.  While the bus is away, or was, nothing is remembered for longer
than a second, because that word may have been lost.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from libs.common.bus import Bus
from libs.common.db import Pool, Row, borrow
from libs.common.errors import Forbidden, Unauthorized
from libs.common.loops import every
from libs.common.messages import OrganizationChanged
from libs.common.store import api_keys

_REMEMBER_SECONDS: Final = 30.0
_REMEMBER_SECONDS_UNTOLD: Final = 1.0
_KEYS_MAX: Final = 50_000
_NOTE_USED_SECONDS: Final = 60.0
#: How a key may begin; what we make begins with the first.
KEY_PREFIXES: Final = ("sk_live_", "sk_test_", "sp_live_", "sp_test_")


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody we know, and what they may."""

    organization_id: UUID
    api_key_id: UUID
    queues: tuple[str, ...]
    plan_tier: str

    @property
    def unrestricted(self) -> bool:
        """Whether every queue, and the control plane, is theirs (contract 1.0)."""
        return not self.queues or "*" in self.queues

    def may(self, queue_name: str) -> bool:
        """Whether this queue is theirs."""
        return self.unrestricted or queue_name in self.queues

    def require(self, queue_name: str) -> None:
        """Raise `Forbidden` unless this queue is theirs."""
        if not self.may(queue_name):
            raise Forbidden(
                f"API key does not have permission for queue '{queue_name}'"
            )

    def require_unrestricted(self) -> None:
        """Raise `Forbidden` for a key that is limited to some queues."""
        if not self.unrestricted:
            raise Forbidden("this needs an API key that is not limited to queues")


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    expires_at: datetime | None
    at: float
    connections: int


class KeyRing:
    """Knows API keys; one a process."""

    def __init__(self, pool: Pool, bus: Bus) -> None:
        self._pool = pool
        self._bus = bus
        self._known: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._used: set[UUID] = set()
        #: Counts what was forgotten, so that an answer on its way is not kept.
        self._generation = 0

    async def principal(self, credential: str) -> Principal:
        """Return who holds *credential*.

        Raises `Unauthorized` with the contract's words, `Unavailable` when Postgres
        is away and the key is not remembered.
        """
        if not credential.startswith(KEY_PREFIXES):
            raise Unauthorized("Invalid API key")
        digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is None or self._is_old(known):
            known = await self._look_up(digest)
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            raise Unauthorized("API key has expired")
        self._used.add(known.principal.api_key_id)
        return known.principal

    def forget(self, word: OrganizationChanged) -> None:
        """Forget the keys of an organization."""
        self._generation += 1
        gone = [
            digest
            for digest, known in self._known.items()
            if str(known.principal.organization_id) == word.organization_id
        ]
        for digest in gone:
            del self._known[digest]

    async def listen(self, stopping: asyncio.Event) -> None:
        """Forget what is said to have changed, until stopped (an actor)."""
        await self._bus.hear(OrganizationChanged, self.forget, stopping=stopping)

    async def note_used(self, stopping: asyncio.Event) -> None:
        """Write now and then which keys were used (an actor)."""

        async def turn() -> None:
            used, self._used = self._used, set()
            if used:
                async with borrow(self._pool) as conn:
                    await api_keys.note_used(conn, ids=used)

        await every(_NOTE_USED_SECONDS, turn, stopping=stopping)

    def _is_old(self, known: _Remembered) -> bool:
        told = self._bus.connected and known.connections == self._bus.connections
        most = _REMEMBER_SECONDS if told else _REMEMBER_SECONDS_UNTOLD
        return asyncio.get_running_loop().time() - known.at > most

    async def _look_up(self, digest: bytes) -> _Remembered:
        generation = self._generation
        connections = self._bus.connections
        async with borrow(self._pool) as conn:
            row = await api_keys.find_key(conn, key_sha256=digest)
        if row is None:
            raise Unauthorized("Invalid API key")
        if not row["is_active"]:
            raise Unauthorized("API key is inactive")
        known = _Remembered(
            principal=_principal(row),
            expires_at=row["expires_at"],
            at=asyncio.get_running_loop().time(),
            connections=connections,
        )
        if generation == self._generation:
            self._known[digest] = known
            self._known.move_to_end(digest)
            while len(self._known) > _KEYS_MAX:
                self._known.popitem(last=False)
        return known


def new_key() -> tuple[str, bytes]:
    """Return a new API key and its SHA-256: 32 random bytes (contract D5)."""
    key = KEY_PREFIXES[0] + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).digest()


def _principal(row: Row) -> Principal:
    return Principal(
        organization_id=row["organization_id"],
        api_key_id=row["id"],
        queues=tuple(row["queues"]),
        plan_tier=row["plan_tier"],
    )

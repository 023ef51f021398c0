"""Who asks: API keys and sessions, looked up and remembered for a while.

A key is found by its SHA-256.  A session is what an access token (a JWT) names: the
token's signature is checked each time, and the state of its session, its key and its
organization is looked up and remembered like a key's.

A key that is revoked, or a session that ended, is forgotten by every process at once:
whoever changes one says `OrganizationChanged`.  While the bus is away, or was, nothing
is remembered for longer than a second, because that word may have been lost.
"""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from libs.common.bus import Bus
from libs.common.db import Pool, Row, borrow
from libs.common.errors import Forbidden, Unauthorized
from libs.common.loops import every
from libs.common.messages import OrganizationChanged
from libs.common.plans import Plan, PlanLimits
from libs.common.quotas import DELETED, stored_plan
from libs.common.store import api_keys, sessions
from libs.common.tokens import JWT_PREFIX, Claims, Tokens

log = structlog.get_logger()

_REMEMBER_SECONDS: Final = 30.0
_REMEMBER_SECONDS_UNTOLD: Final = 1.0
_KEYS_MAX: Final = 50_000
_NOTE_USED_SECONDS: Final = 60.0
#: How a key may begin (contract D5).
KEY_PREFIXES: Final = ("sk_live_", "sk_test_", "sp_live_", "sp_test_")


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody we know, and what they may."""

    organization_id: UUID
    api_key_id: UUID
    queues: tuple[str, ...]
    plan: Plan
    #: Requests per minute that this key may make, or None.
    rate_limit: int | None = None
    #: Of who came with a token instead of a key.
    session_id: UUID | None = None
    email: str | None = None

    @property
    def unrestricted(self) -> bool:
        """Whether every queue, and the control plane, is theirs (contract 1.0)."""
        return not self.queues or "*" in self.queues

    @property
    def scope(self) -> tuple[str, ...] | None:
        """The queues that they are limited to; None for all."""
        return None if self.unrestricted else self.queues

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
    """Knows API keys and sessions; one a process.

    Without *tokens* no session is known.  *plan_limits* is what the operator says of
    the plans.
    """

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        *,
        tokens: Tokens | None = None,
        plan_limits: PlanLimits | None = None,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._tokens = tokens
        self._plan_limits = plan_limits
        #: By the SHA-256 of a key, or the id of a session.
        self._known: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._used: set[UUID] = set()
        #: Counts what was forgotten, so that an answer on its way is not kept.
        self._generation = 0

    async def principal(
        self, credential: str, *, strange: Callable[[], object] | None = None
    ) -> Principal:
        """Return who holds *credential*: an API key, or an access token.

        *strange* is called before Postgres is asked about what is not remembered, and
        may raise.  Raises `Unauthorized` with the contract's words, `Unavailable`
        when Postgres is away and the credential is not remembered.
        """
        if credential.startswith(JWT_PREFIX):
            if self._tokens is None:
                raise Unauthorized("Invalid token")
            claims = self._tokens.read(credential)
            if claims.kind != "access":
                raise Unauthorized("Invalid token type")
            return await self.of_session(claims, strange=strange)
        if not credential.startswith(KEY_PREFIXES):
            raise Unauthorized("Invalid API key")
        digest = _digest(credential)
        known = self._known.get(digest)
        if known is None or self._is_old(known):
            if known is None and strange is not None:
                strange()
            known = await self._look_up(digest, None)
        return self._admitted(known)

    async def of_session(
        self, claims: Claims, *, strange: Callable[[], object] | None = None
    ) -> Principal:
        """Return who holds a token that says *claims*, of whatever kind it is.

        Raises like `principal`: the token may be good and its session over.
        """
        known = self._known.get(claims.session_id.bytes)
        if known is None or self._is_old(known):
            if known is None and strange is not None:
                strange()
            known = await self._look_up(claims.session_id.bytes, claims)
        principal = known.principal
        if (principal.organization_id, principal.api_key_id) != (
            claims.organization_id,
            claims.api_key_id,
        ):
            raise Unauthorized("Invalid token")
        return self._admitted(known)

    async def renew(self, credentials: Iterable[str]) -> None:
        """Ask Postgres again about all of these at once, whatever is remembered.

        For who holds a door open for longer than a request, and must not depend on
        being told.  Nothing is returned: `principal` knows then.  Raises `Unavailable`.
        """
        claims: dict[bytes, Claims] = {}
        digests: list[bytes] = []
        for credential in credentials:
            if not credential.startswith(JWT_PREFIX):
                digests.append(_digest(credential))
            elif self._tokens is not None:
                with suppress(Unauthorized):
                    claimed = self._tokens.read(credential)
                    claims[claimed.session_id.bytes] = claimed
        generation, connections = self._generation, self._bus.connections
        async with borrow(self._pool) as conn:
            keys = await api_keys.find_keys(conn, key_sha256=digests)
            held = await sessions.find_sessions(
                conn,
                named=[(one.session_id, one.api_key_id) for one in claims.values()],
            )
        if generation != self._generation:
            return
        found: dict[bytes, tuple[Row, Claims | None]] = {
            row["key_sha256"]: (row, None) for row in keys
        }
        for (name, claimed), row in zip(claims.items(), held, strict=True):
            found[name] = (row, claimed)
        for name in (*digests, *claims):
            # Who comes with what opens nothing is told why: Postgres is asked again.
            self._known.pop(name, None)
            if name in found:
                with suppress(Unauthorized):
                    self._keep(name, self._remembered(*found[name], connections))

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
        return time.monotonic() - known.at > most

    def _admitted(self, known: _Remembered) -> Principal:
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            raise Unauthorized("API key has expired")
        self._used.add(known.principal.api_key_id)
        return known.principal

    async def _look_up(self, name: bytes, claims: Claims | None) -> _Remembered:
        generation = self._generation
        connections = self._bus.connections
        async with borrow(self._pool) as conn:
            row = (
                await api_keys.find_key(conn, key_sha256=name)
                if claims is None
                else await sessions.find_session(
                    conn, id_=claims.session_id, api_key_id=claims.api_key_id
                )
            )
        if row is None:
            raise Unauthorized("Invalid API key")
        known = self._remembered(row, claims, connections)
        if generation == self._generation:
            self._keep(name, known)
        return known

    def _remembered(
        self, row: Row, claims: Claims | None, connections: int
    ) -> _Remembered:
        """Return what a row says; raises `Unauthorized` when it opens nothing."""
        if claims is None:
            _check_key(row)
        else:
            _check_session(row)
        return _Remembered(
            principal=_principal(
                row, self._plan_limits, has_session=claims is not None
            ),
            expires_at=row["expires_at"],
            at=time.monotonic(),
            connections=connections,
        )

    def _keep(self, name: bytes, known: _Remembered) -> None:
        self._known[name] = known
        self._known.move_to_end(name)
        while len(self._known) > _KEYS_MAX:
            self._known.popitem(last=False)


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()


def new_key(prefix: str = "sk") -> tuple[str, bytes]:
    """Return a new API key and its SHA-256: 32 random bytes (contract D5)."""
    key = f"{prefix}_live_{secrets.token_urlsafe(32)}"
    return key, hashlib.sha256(key.encode()).digest()


def _check_key(row: Row) -> None:
    # Whose organization is gone has no active key either: the reason is said first.
    _check_organization(row)
    if not row["is_active"]:
        raise Unauthorized("API key is inactive")


def _check_session(row: Row) -> None:
    if row["id"] is None:
        raise Unauthorized("API key not found")
    _check_organization(row)
    if not row["is_active"]:
        raise Unauthorized("API key has been revoked")
    if row["session_id"] is None or row["has_ended"]:
        raise Unauthorized("Token has been revoked")


def _check_organization(row: Row) -> None:
    if row["plan_tier"] == DELETED:
        raise Unauthorized("Organization is not available")


def _principal(
    row: Row, plan_limits: PlanLimits | None, *, has_session: bool
) -> Principal:
    return Principal(
        organization_id=row["organization_id"],
        api_key_id=row["id"],
        queues=tuple(row["queues"]),
        plan=stored_plan(row, plan_limits),
        rate_limit=row["rate_limit"],
        session_id=row["session_id"] if has_session else None,
        email=row["email"] if has_session else None,
    )

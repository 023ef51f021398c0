"""``/incoming-webhooks``: whose webhooks are taken, and what becomes of them.

A secret comes in once and is never shown; it is kept sealed.  A new one takes the place
of the one before, which is good for an overlap still: there are never more than two.
"""

import hmac
from datetime import UTC, datetime, timedelta
from typing import cast

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Row, borrow
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.sealing import Sealer, Unsealable
from libs.common.store import incoming, organizations
from libs.common.store.incoming import NewSource
from services.ingest.answers import incoming as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, SEALER, SETTINGS, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.incoming.providers import PROVIDERS, ProviderName, fault_in
from services.ingest.requests.incoming import ConfigureSource


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/incoming-webhooks",
            handler=list_,
            answers={200: list[shapes.IncomingSource]},
        ),
        Route(
            method="PUT",
            path="/api/v1/incoming-webhooks/{provider}",
            handler=put,
            body=ConfigureSource,
            answers={200: shapes.IncomingSource},
        ),
        Route(
            method="DELETE",
            path="/api/v1/incoming-webhooks/{provider}",
            handler=delete,
            answers={204: None},
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the providers whose webhooks are taken, without their secrets."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await incoming.list_sources(
            conn, organization_id=principal.organization_id
        )
    return answer([_shown(request, row) for row in rows])


async def put(request: web.Request) -> web.Response:
    """Take webhooks of a provider, or change how; absent keeps what is there.

    Of a new one a secret is required.  When there is a new secret, the one before is
    good as well for ``overlap_seconds``.
    """
    principal = await _keeper(request)
    provider = _provider(request)
    asked = await read_body(request, ConfigureSource)
    if asked.secret is not None:
        fault = fault_in(provider, asked.secret)
        if fault is not None:
            raise Malformed(Fault("secret", fault, "secret"))
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        id_ = principal.organization_id
        if not await organizations.lock_organization(conn, id_=id_):
            raise NotFound("Resource not found")
        before = await incoming.lock_source(
            conn, organization_id=id_, provider=provider
        )
        source = _changed(request.app[SEALER], principal, provider, asked, before)
        row = await incoming.put_source(conn, source=source)
    await tell_changed(request, principal.organization_id)
    return answer(_shown(request, row))


async def delete(request: web.Request) -> web.Response:
    """Take no more webhooks of a provider; its secrets are deleted."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        known = await incoming.delete_source(
            conn,
            organization_id=principal.organization_id,
            provider=_provider(request),
        )
    if not known:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return web.Response(status=204)


def _changed(
    sealer: Sealer,
    principal: Principal,
    provider: str,
    asked: ConfigureSource,
    before: Row | None,
) -> NewSource:
    """Return a source as it is to be; raises `Malformed` without any secret."""
    sealed, previous, until = _secrets(sealer, principal, asked, before)
    enabled, kind, queue_name = asked.enabled, asked.as_, asked.queue_name
    if before is not None:
        if enabled is None:
            enabled = before["enabled"]
        if kind is None and before["as_message"]:
            kind = "message"
        if "queue_name" not in asked.model_fields_set:
            queue_name = before["queue_name"]
    return NewSource(
        organization_id=principal.organization_id,
        provider=provider,
        sealed=sealed,
        previous_sealed=previous,
        previous_until=until,
        enabled=enabled is not False,
        queue_name=queue_name,
        as_message=kind == "message",
    )


def _secrets(
    sealer: Sealer, principal: Principal, asked: ConfigureSource, before: Row | None
) -> tuple[bytes, bytes | None, datetime | None]:
    """Return the sealed secret, the one before it, and until when that is good."""
    owner = str(principal.organization_id)
    if before is None:
        if asked.secret is None:
            raise Malformed(Fault("secret", "is required", "missing"), unreadable=True)
        return sealer.seal(asked.secret.encode(), owner=owner), None, None
    sealed: bytes = before["sealed"]
    if asked.secret is None or _is(sealer, sealed, asked.secret, owner=owner):
        return sealed, before["previous_sealed"], before["previous_until"]
    new = sealer.seal(asked.secret.encode(), owner=owner)
    if not asked.overlap_seconds:
        return new, None, None
    overlap = timedelta(seconds=asked.overlap_seconds)
    return new, sealed, datetime.now(UTC) + overlap


def _is(sealer: Sealer, sealed: bytes, secret: str, *, owner: str) -> bool:
    """Whether *secret* is what is sealed: then there is nothing to rotate."""
    try:
        return hmac.compare_digest(sealer.unseal(sealed, owner=owner), secret.encode())
    except Unsealable:
        # Whoever gives it anew mends what nobody can open.
        return False


def _shown(request: web.Request, row: Row) -> shapes.IncomingSource:
    base_url = request.app[SETTINGS].external_url
    return shapes.incoming_source(row, base_url=base_url, now=datetime.now(UTC))


def _provider(request: web.Request) -> ProviderName:
    """Return the provider in the path; raises `NotFound` when it is none."""
    name = request.match_info["provider"]
    if name not in PROVIDERS:
        raise NotFound("Resource not found")
    return cast("ProviderName", name)


async def _keeper(request: web.Request) -> Principal:
    """Return who asks, if they may look after incoming webhooks."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return principal

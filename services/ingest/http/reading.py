"""Requests read and checked: bodies, paths, queries, credentials."""

import asyncio
import hmac
import re
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from libs.common.access import KeyRing, Principal
from libs.common.bus import Bus
from libs.common.db import Pool
from libs.common.errors import (
    Fault,
    Malformed,
    NotAdmin,
    NotFound,
    RateLimited,
    Unauthorized,
)
from libs.common.ids import parse_id
from libs.common.sealing import Sealer
from services.ingest.allowances import Allowances
from services.ingest.claims import Claims
from services.ingest.heartbeats import Heartbeats
from services.ingest.http.bodies import BODIES
from services.ingest.http.ignored import note_ignored
from services.ingest.http.rates import (
    ALLOWANCE,
    Counted,
    count_stranger,
    note_refusal,
    require_room,
)
from services.ingest.incoming.reception import Reception
from services.ingest.incoming.sources import Sources
from services.ingest.intake import Intake
from services.ingest.messages import MessageIntake
from services.ingest.producing import Producing
from services.ingest.requests.checking import Shape, checked, malformed, parsed
from services.ingest.requests.fields import QueueName
from services.ingest.settings import Settings
from services.ingest.settlement import Settlement
from services.ingest.subscribers import Subscribers

SETTINGS: Final = web.AppKey("settings", Settings)
#: For questions; and for what is on the way of a job, whose plans depend on no
#: statistics (`BY_KEY`).
POOL: Final = web.AppKey("pool", Pool)
HOT: Final = web.AppKey("hot", Pool)
BUS: Final = web.AppKey("bus", Bus)
KEYS: Final = web.AppKey("keys", KeyRing)
CLAIMS: Final = web.AppKey("claims", Claims)
SETTLEMENT: Final = web.AppKey("settlement", Settlement)
HEARTBEATS: Final = web.AppKey("heartbeats", Heartbeats)
INTAKE: Final = web.AppKey("intake", Intake)
SOURCES: Final = web.AppKey("sources", Sources)
RECEPTION: Final = web.AppKey("reception", Reception)
MESSAGES: Final = web.AppKey("messages", MessageIntake)
PRODUCING: Final = web.AppKey("producing", Producing)
SUBSCRIBERS: Final = web.AppKey("subscribers", Subscribers)
#: Set when this process is to stop: who holds a connection open lets go of it.
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
SEALER: Final = web.AppKey("sealer", Sealer)
ALLOWANCES: Final = web.AppKey("allowances", Allowances)

_PRINCIPAL: Final = web.RequestKey("principal", Principal)

_QUEUE_NAME: Final[TypeAdapter[str]] = TypeAdapter(QueueName)

#: JSON, and what is written in it (RFC 6839, section 3.1).
_JSON: Final = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)


async def whoever(request: web.Request) -> Principal:
    """Return who asks, and count the request.

    Raises `Unauthorized` when nobody we know, `RateLimited` when too fast; being wrong
    too often is too fast as well.
    """
    known: Principal | None = request.get(_PRINCIPAL)
    if known is not None:
        return known
    try:
        principal = await request.app[KEYS].principal(
            credential_of(request),
            strange=partial(require_room, request, request.app[SETTINGS]),
        )
        request[ALLOWANCE] = await request.app[ALLOWANCES].admit(principal)
    except Unauthorized:
        stranger(request)
        raise
    except RateLimited as error:
        note_refusal(request, error)
        raise
    request[_PRINCIPAL] = principal
    return principal


def known_principal(request: web.Request) -> Principal | None:
    """Return who asked, if that was found out."""
    return request.get(_PRINCIPAL)


def credential_of(request: web.Request) -> str:
    """Return the credential in the headers (D24); raises `Unauthorized`."""
    given = request.headers.get("Authorization", "")
    scheme, _, credential = given.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        credential = request.headers.get("X-API-Key", "")
    if not credential.strip():
        raise Unauthorized("Missing or invalid Authorization header")
    return credential.strip()


def stranger(request: web.Request, counted: Counted = "public") -> None:
    """Count a request that needs no credential, by its client; raises `RateLimited`."""
    count_stranger(request, request.app[SETTINGS], counted)


def require_admin(request: web.Request) -> None:
    """Raise `NotAdmin` unless the admin key is given, with the contract's words (1.0).

    Counts the request, right or wrong: raises `RateLimited`.
    """
    stranger(request, "admin")
    wanted = request.app[SETTINGS].admin_key
    if wanted is None:
        raise NotAdmin("admin_not_configured", "Admin access is not configured")
    given = request.headers.get("X-Admin-Key")
    if not given:
        raise NotAdmin("missing_admin_key", "Missing X-Admin-Key header")
    if not given.isascii():
        raise NotAdmin("invalid_header", "X-Admin-Key is not readable")
    if not hmac.compare_digest(given.encode(), wanted.get_secret_value().encode()):
        raise NotAdmin("invalid_admin_key", "Invalid admin key")


async def read_bytes(request: web.Request) -> bytes:
    """Return the body as it was sent; raises `Unavailable`, or aiohttp's 413."""
    known = known_principal(request)
    owner = None if known is None else known.organization_id
    return await request.app[BODIES].read(request, owner=owner)


async def read_json(request: web.Request) -> tuple[bytes, Any]:
    """Return the body and what it spells; raises `Malformed`, or aiohttp's 415.

    A body that does not say what it is, is taken for JSON.
    """
    if "Content-Type" in request.headers and not _JSON.fullmatch(request.content_type):
        raise web.HTTPUnsupportedMediaType(headers={"Accept": "application/json"})
    body = await read_bytes(request)
    return body, parsed(body)


async def read_optional(request: web.Request, shape: type[Shape]) -> Shape:
    """Return the body as *shape*; an empty body is an empty object."""
    if not request.can_read_body:
        return checked(shape, {})
    body = await read_bytes(request)
    if not body.strip():
        return checked(shape, {})
    return await read_body(request, shape)


async def read_body(request: web.Request, shape: type[Shape]) -> Shape:
    """Return the body as *shape*; raises `Malformed`."""
    _, data = await read_json(request)
    return understood(request, shape, data)


def understood(request: web.Request, shape: type[Shape], data: object) -> Shape:
    """Return a whole body as *shape*, and note what it ignores; raises `Malformed`."""
    note_ignored(request, shape, data)
    return checked(shape, data)


def queue_in_path(request: web.Request) -> str:
    """Return the queue named in the path; raises `Malformed` when none can be so."""
    try:
        return _QUEUE_NAME.validate_python(request.match_info["name"])
    except ValidationError as error:
        raise malformed(error, within="queue_name") from error


def id_in_path(request: web.Request, name: str = "id") -> UUID:
    """Return the id in the path; what is no id names nothing: `NotFound`."""
    found = parse_id(request.match_info[name])
    if found is None:
        raise NotFound("Resource not found")
    return found


def number(
    request: web.Request, name: str, *, default: int, least: int, most: int
) -> int:
    """Return a number of the query, moved into its range; never refused (D21)."""
    try:
        given = int(request.query.get(name, default))
    except ValueError:
        given = default
    return max(least, min(given, most))


def moment(request: web.Request, name: str) -> datetime | None:
    """Return a moment of the query, UTC when it names no zone; raises `Malformed`."""
    text = request.query.get(name)
    if not text:
        return None
    try:
        # In a query an unescaped "+" of an offset arrives as a space.
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise Malformed(Fault(name, "is not an RFC 3339 time", "time")) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def plain(request: web.Request, name: str, *, most: int = 1024) -> str | None:
    """Return a text of the query, or None when absent or empty; raises `Malformed`."""
    text = request.query.get(name)
    if not text:
        return None
    if len(text) > most or "\x00" in text:
        raise Malformed(Fault(name, f"is longer than {most} characters or has a NUL"))
    return text

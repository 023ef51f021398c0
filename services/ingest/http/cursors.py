"""Where a list goes on: opaque to clients, and theirs to hand back (an addition)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from uuid import UUID

from aiohttp import web

from libs.common.errors import Fault, Malformed

_OFFSET_MAX: Final = 2**31 - 1
_UUID_BYTES: Final = 16

#: The last job of a page whose order is that of ids; else how many were shown.
Cursor = UUID | int


def spelled(cursor: Cursor) -> str:
    """Return a cursor as clients get it."""
    data = cursor.bytes if isinstance(cursor, UUID) else cursor.to_bytes(4)
    return urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(request: web.Request) -> Cursor | None:
    """Return the cursor of the query, or None; raises `Malformed`."""
    text = request.query.get("cursor")
    if not text:
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if len(data) == _UUID_BYTES:
        return UUID(bytes=data)
    offset = int.from_bytes(data)
    if not data or offset > _OFFSET_MAX:
        raise _strange()
    return offset


def by_id(cursor: Cursor | None) -> UUID | None:
    """Return a cursor of a list whose order is that of ids; raises `Malformed`."""
    if isinstance(cursor, int):
        raise _strange()
    return cursor


def by_offset(cursor: Cursor | None) -> int | None:
    """Return a cursor of a list in another order; raises `Malformed`."""
    if isinstance(cursor, UUID):
        raise _strange()
    return cursor


def next_page(request: web.Request, cursor: Cursor | None) -> dict[str, str]:
    """Return the headers that say whether, and where, the list goes on."""
    if cursor is None:
        return {"X-Has-More": "false"}
    query = [
        (name, value)
        for name, value in request.query.items()
        if name not in ("cursor", "offset")
    ]
    following = request.rel_url.with_query([*query, ("cursor", spelled(cursor))])
    return {
        "X-Has-More": "true",
        "X-Next-Cursor": spelled(cursor),
        "Link": f'<{following}>; rel="next"',
    }


def _strange() -> Malformed:
    return Malformed(Fault("cursor", "is not one of this list", "BAD_REQUEST"))

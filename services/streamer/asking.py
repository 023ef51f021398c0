"""What a request asks for: who asks, for what, and since when (contract 3.2, 3.3)."""

import re
from datetime import datetime
from typing import Final

from aiohttp import web

from libs.common.errors import Fault, Malformed, Unauthorized
from libs.common.ids import parse_id
from services.streamer.marks import Mark, read_mark, read_since
from services.streamer.wishes import Topic, Wish

_FILTER: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_TAG_MAX: Final = 255
_NAMES_MAX: Final = 100


def credential_of(request: web.Request) -> str:
    """Return the credential; raises `Unauthorized`.

    Browsers cannot set headers on a stream, so that here, and only here, it may also
    stand in the query (decision D13).  It is never a cookie: a page that does not know
    it cannot make a browser send it, so it matters not from which origin one asks.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for given in (
        request.headers.get("X-API-Key"),
        request.query.get("token"),
        request.query.get("api_key"),
    ):
        if given:
            return given
    raise Unauthorized("Missing or invalid Authorization header")


def wish_of(request: web.Request) -> Wish:
    """Return what the query asks for; raises `Malformed`.

    A name of an event that we do not know matches nothing: it may be tomorrow's.
    """
    query = request.query
    topic = topic_of(query.get("queue"), query.get("job_id"))
    tag = query.get("tag") or None
    if tag is not None and len(tag) > _TAG_MAX:
        raise Malformed(Fault("tag", f"must be 1-{_TAG_MAX} characters"))
    return Wish(
        topics=frozenset() if topic.is_broad else frozenset({topic}),
        names=_names_of(query.get("events")),
        tag=tag,
        named=query.get("named", "").lower() in {"1", "true", "yes"},
    )


def topic_of(queue: str | None, job_id: str | None) -> Topic:
    """Return what a queue's name and a job's id are about; raises `Malformed`."""
    queue_name = _filter_of(queue, "queue")
    job = _filter_of(job_id, "job_id")
    parsed = parse_id(job) if job else None
    return Topic(queue_name, str(parsed) if parsed else job)


def since_of(request: web.Request) -> Mark | datetime | str | None:
    """Return since when the stream is wanted; None: from now on.

    A client that connects again says how far it came, and that counts more than the
    address it was given once.  What cannot be a mark of ours is given back as it is:
    the client cannot help it, and is to be told.  Raises `Malformed` for the query.
    """
    if last := request.headers.get("Last-Event-ID", "").strip():
        try:
            return read_mark(last)
        except ValueError:
            return last[:_NAMES_MAX]
    asked = request.query.get("since")
    if not asked:
        return None
    try:
        return read_since(asked)
    except ValueError:
        raise Malformed(
            Fault("since", "must be the id of an event, or a time (RFC 3339)")
        ) from None


def _names_of(asked: str | None) -> frozenset[str] | None:
    parts = [part.strip() for part in (asked or "").split(",") if part.strip()]
    if not parts or "*" in parts:
        return None
    if len(parts) > _NAMES_MAX:
        raise Malformed(Fault("events", f"must be at most {_NAMES_MAX} names"))
    for part in parts:
        _filter_of(part, "events")
    return frozenset(parts)


def _filter_of(text: str | None, field: str) -> str | None:
    if not text:
        return None
    if not _FILTER.fullmatch(text):
        raise Malformed(
            Fault(field, "must be 1-100 letters, digits, dashes, underscores or dots")
        )
    return text

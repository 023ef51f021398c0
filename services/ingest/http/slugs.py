"""``/organizations/check-slug``, ``generate-slug``: free names (contract 1.3)."""

import secrets

from aiohttp import web

from libs.common.db import Conn, borrow
from libs.common.store import organizations
from services.ingest import slugs
from services.ingest.answers import organizations as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import POOL, read_body, stranger
from services.ingest.http.routing import Route
from services.ingest.requests.organizations import CheckSlug, GenerateSlug


def routes() -> list[Route]:
    """Return the routes; they stand before ``/organizations/{id}``."""
    return [
        Route(
            method="GET",
            path="/api/v1/organizations/check-slug",
            handler=check,
            query=CheckSlug,
            answers={200: shapes.SlugCheck},
            access="anybody",
        ),
        Route(
            method="POST",
            path="/api/v1/organizations/generate-slug",
            handler=generate,
            body=GenerateSlug,
            answers={200: shapes.GeneratedSlug},
            refusals=(400, 422),
            access="anybody",
        ),
    ]


async def check(request: web.Request) -> web.Response:
    """Return whether a slug may be taken; if not, why, and which other might."""
    stranger(request, "check_slug")
    slug = request.query.get("slug", "")
    fault = slugs.fault_of(slug)
    async with borrow(request.app[POOL]) as conn:
        free = await _free(conn, slug if fault is None else slugs.slug_of(slug))
    available = fault is None and free == slug
    if fault is None and not available:
        fault = "This slug is already taken"
    shown: shapes.SlugCheck = {
        "available": available,
        "valid": slugs.fault_of(slug) is None,
        "error": fault,
        "suggestion": None if available else free,
    }
    return answer(shown)


async def generate(request: web.Request) -> web.Response:
    """Return a slug for a name that nobody has at this moment."""
    stranger(request)
    asked = await read_body(request, GenerateSlug)
    async with borrow(request.app[POOL]) as conn:
        shown: shapes.GeneratedSlug = {
            "slug": await _free(conn, slugs.slug_of(asked.name))
        }
    return answer(shown)


async def _free(conn: Conn, slug: str) -> str:
    """Return *slug*, or one like it, that nobody has."""
    tried = slugs.variants(slug)
    taken = await organizations.taken_slugs(conn, slugs=tried)
    for one in tried:
        if one not in taken:
            return one
    # Somebody took them all: a number that nobody guesses.
    ending = f"-{secrets.token_hex(4)}"
    return slug[: slugs.SLUG_LENGTH_MAX - len(ending)].rstrip("-") + ending

"""Who may create organizations: anybody, or who has the admin key."""

import hmac

from aiohttp import web

from libs.common.errors import Forbidden
from services.ingest.http.reading import SETTINGS, stranger


def require_registration(request: web.Request) -> None:
    """Raise `Forbidden` unless anybody may register or the admin key is given.

    Counts the request: who shows an admin key like the administrator, whose key is
    guessed at here as well as there.  Raises `RateLimited`.
    """
    settings = request.app[SETTINGS]
    mode = settings.registration_mode
    guessing = mode == "closed" and "X-Admin-Key" in request.headers
    stranger(request, "admin" if guessing else "register")
    if mode == "open":
        return
    if mode == "invite":
        raise Forbidden("Invite registration is not available")
    if settings.admin_key is None:
        raise Forbidden("Registration is closed, and no admin key is configured")
    given = request.headers.get("X-Admin-Key", "")
    wanted = settings.admin_key.get_secret_value()
    if not hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode()
    ):
        raise Forbidden("Registration is closed: X-Admin-Key is missing or wrong")

"""Who may create organizations: anybody, or who has the admin key."""

import hmac

from aiohttp import web

from libs.common.errors import Forbidden
from services.ingest.http.reading import SETTINGS


def require_registration(request: web.Request) -> None:
    """Raise `Forbidden` unless anybody may register or the admin key is given."""
    settings = request.app[SETTINGS]
    if settings.registration_mode == "open":
        return
    if settings.registration_mode == "invite":
        raise Forbidden("Invite registration is not available")
    if settings.admin_key is None:
        raise Forbidden("Registration is closed, and no admin key is configured")
    given = request.headers.get("X-Admin-Key", "")
    wanted = settings.admin_key.get_secret_value()
    if not hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode()
    ):
        raise Forbidden("Registration is closed: X-Admin-Key is missing or wrong")

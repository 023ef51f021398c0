"""What changed of an organization is forgotten: here at once, elsewhere when told."""

from uuid import UUID

from aiohttp import web

from libs.common.messages import OrganizationChanged
from services.ingest.http.reading import BUS, INTAKE, KEYS, MESSAGES, SOURCES


async def tell_changed(request: web.Request, organization_id: UUID) -> None:
    """Forget what is known of an organization, and let everybody forget it."""
    word = OrganizationChanged(organization_id=str(organization_id))
    # Here at once, whatever the bus does; elsewhere as soon as they hear it.
    request.app[KEYS].forget(word)
    request.app[INTAKE].forget(word)
    request.app[SOURCES].forget(word)
    request.app[MESSAGES].forget(word)
    await request.app[BUS].ring(word)
    # It may be something to tell of.
    await request.app[BUS].ring_journal()

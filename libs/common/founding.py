"""A new organization: with its first key and signing secret, or not at all."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from libs.common import keys
from libs.common.db import Conn, Row
from libs.common.ids import new_id
from libs.common.sealing import Sealer
from libs.common.store import api_keys, organizations, signing_secrets


class Founded(NamedTuple):
    """The rows of a new organization and of its first key."""

    organization: Row
    key: Row


async def found(
    conn: Conn,
    *,
    sealer: Sealer,
    name: str,
    slug: str,
    plan_tier: str,
    key_sha256: bytes,
    key_name: str,
    billing_email: str | None = None,
) -> Founded:
    """Create an organization in one transaction.

    Raises `Conflict` when slug or e-mail is taken.
    """
    organization_id = new_id()
    async with conn.transaction():
        organization = await organizations.create_organization(
            conn,
            id_=organization_id,
            name=name,
            slug=slug,
            billing_email=billing_email,
            plan_tier=plan_tier,
        )
        key = await api_keys.create_key(
            conn,
            id_=new_id(),
            organization_id=organization_id,
            key_sha256=key_sha256,
            name=key_name,
        )
        await new_secret(conn, sealer=sealer, organization_id=organization_id)
    return Founded(organization, key)


async def new_secret(
    conn: Conn,
    *,
    sealer: Sealer,
    organization_id: UUID,
    overlap: timedelta = timedelta(0),
) -> None:
    """Give an organization a new signing secret; the old one signs on for *overlap*."""
    await signing_secrets.replace_secret(
        conn,
        id_=new_id(),
        organization_id=organization_id,
        sealed=sealer.seal(keys.new_secret(), owner=str(organization_id)),
        overlap=overlap,
    )

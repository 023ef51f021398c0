"""What a new stack needs before anybody can use it: keys, and an organization.

The keys are made once and kept in ``credentials.json`` (mode 0600).  They are on the
disk before the database knows them, so a crash in between loses nothing.
"""

import hashlib
import secrets
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from libs.cli.private_files import write_private
from libs.common import founding, keys
from libs.common.access import new_key
from libs.common.db import Conn, borrow, open_pool
from libs.common.sealing import Sealer, Unsealable
from libs.common.store import api_keys, organizations, signing_secrets

_SECRET_BYTES: Final = 32


class Credentials(BaseModel):
    """The keys of one stack."""

    model_config = ConfigDict(frozen=True)

    api_key: str
    admin_key: str
    #: Seals signing secrets; 32 bytes in base64.
    secret_key: str


@dataclass(frozen=True, slots=True)
class Access:
    """What opens the API; None where the database is not one that we set up."""

    api_key: str | None
    signing_secret: str | None


def load_credentials(data_dir: Path) -> Credentials:
    """Return the stack's keys; make them if there are none."""
    path = data_dir / "credentials.json"
    try:
        return Credentials.model_validate_json(path.read_text())
    except FileNotFoundError:
        pass
    key, _ = new_key()
    made = Credentials(
        api_key=key,
        admin_key=secrets.token_urlsafe(_SECRET_BYTES),
        secret_key=b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
    )
    write_private(path, f"{made.model_dump_json(indent=2)}\n")
    return made


async def prepare(database_url: str, credentials: Credentials) -> Access:
    """Create the first organization where there is none; return what opens the API.

    A database that somebody else set up is left as it is.
    """
    sealer = Sealer(credentials.secret_key)
    digest = hashlib.sha256(credentials.api_key.encode()).digest()
    async with (
        open_pool(database_url, service="first-run", size=1) as pool,
        borrow(pool) as conn,
    ):
        if await organizations.count_organizations(conn) == 0:
            await founding.found(
                conn,
                sealer=sealer,
                name="First organization",
                slug="first",
                plan_tier="enterprise",
                key_sha256=digest,
                key_name="First key",
            )
    return await look_up(database_url, credentials)


async def look_up(database_url: str, credentials: Credentials) -> Access:
    """Return what opens the API now; changes nothing."""
    digest = hashlib.sha256(credentials.api_key.encode()).digest()
    async with (
        open_pool(database_url, service="first-run", size=1) as pool,
        borrow(pool) as conn,
    ):
        key = await api_keys.find_key(conn, key_sha256=digest)
        if key is None or not key["is_active"]:
            return Access(api_key=None, signing_secret=None)
        return Access(
            api_key=credentials.api_key,
            signing_secret=await _signing_secret(
                conn,
                organization_id=key["organization_id"],
                sealer=Sealer(credentials.secret_key),
            ),
        )


async def _signing_secret(
    conn: Conn, *, organization_id: UUID, sealer: Sealer
) -> str | None:
    found = await signing_secrets.current_secrets(
        conn, organization_ids=[organization_id]
    )
    for newest in found[organization_id][:1]:
        try:
            secret = sealer.unseal(newest.sealed, owner=str(organization_id))
        except Unsealable:
            return None
        return keys.spelled_secret(secret)
    return None

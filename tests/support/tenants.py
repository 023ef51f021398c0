"""Clients of other tenants, and of keys that may less."""

import json
from dataclasses import replace

import asyncpg

from tests.support.house import Api, new_tenant


async def scoped(api: Api, *queues: str) -> Api:
    """Return a client with a key of the same organization that is for *queues* only."""
    made = await api.ask(
        "POST", "/api-keys", json={"name": "scoped", "queues": queues}, expect=201
    )
    return Api(api.base_url, api.session, replace(api.tenant, api_key=made["key"]))


async def stranger(api: Api, database_url: str, **limits: int) -> Api:
    """Return a client of another organization, whose plan has these limits."""
    tenant = await new_tenant(database_url, slug="stranger")
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "UPDATE organizations SET custom_limits = $2::text::jsonb WHERE id = $1",
            tenant.id,
            json.dumps(limits),
        )
    finally:
        await conn.close()
    return Api(api.base_url, api.session, tenant)

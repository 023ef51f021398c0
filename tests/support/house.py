"""The house for a test: services on the test's own Postgres and NATS, and a client.

`run_house` runs the services inside the test's event loop, which is quick;
`tests.support.processes` runs them as processes that can be killed.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import aiohttp
import asyncpg

import services.delivery.service
import services.delivery.settings
import services.dispatcher.service
import services.dispatcher.settings
import services.ingest.service
import services.ingest.settings
import services.scheduler.service
import services.scheduler.settings
import services.streamer.service
import services.streamer.settings
from libs.cli.embedded.ports import free_port
from libs.common import founding, keys
from libs.common.access import new_key
from libs.common.sealing import Sealer
from libs.common.store import invariants, signing_secrets
from tests.support.waiting import until

SECRET_KEY = b64encode(b"0123456789abcdef0123456789abcdef").decode()
ADMIN_KEY = "the-admin-key-of-the-tests"


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with a key and a signing secret."""

    id: UUID
    api_key: str
    signing_secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


async def new_tenant(database_url: str, *, slug: str = "acme") -> Tenant:
    """Create an organization as the command line does it."""
    key, digest = new_key()
    sealer = Sealer(SECRET_KEY)
    conn = await asyncpg.connect(database_url)
    try:
        founded = await founding.found(
            conn,
            sealer=sealer,
            name=slug.title(),
            slug=slug,
            plan_tier="enterprise",
            key_sha256=digest,
            key_name="test",
        )
        organization_id = founded.organization["id"]
        current = await signing_secrets.current_secrets(
            conn, organization_ids=[organization_id]
        )
    finally:
        await conn.close()
    sealed = current[organization_id][0].sealed
    secret = sealer.unseal(sealed, owner=str(organization_id))
    return Tenant(organization_id, key, keys.spelled_secret(secret))


@dataclass
class Api:
    """A client of one tenant's; every answer is JSON, or None when there is no body."""

    base_url: str
    session: aiohttp.ClientSession
    tenant: Tenant

    async def ask(self, method, path, *, expect=None, headers=None, **kwargs):
        """Return (status, JSON, headers); with *expect* only the JSON."""
        async with self.session.request(
            method,
            f"{self.base_url}/api/v1{path}",
            headers={**self.tenant.headers, **(headers or {})},
            **kwargs,
        ) as answer:
            text = await answer.read()
            data = json.loads(text) if text else None
            if expect is None:
                return answer.status, data, answer.headers
            assert answer.status == expect, (answer.status, data)
            return data

    async def create(self, target=None, *, expect=201, **fields) -> str:
        """Create a job; return its id."""
        body = {"queue_name": "mail", "payload": {"n": 1}, **fields}
        if target is not None:
            body["target"] = target if isinstance(target, dict) else {"url": target}
        made = await self.ask("POST", "/jobs", json=body, expect=expect)
        return str(made["id"])

    async def job(self, job_id):
        return await self.ask("GET", f"/jobs/{job_id}", expect=200)

    async def attempts(self, job_id):
        return await self.ask("GET", f"/jobs/{job_id}/attempts", expect=200)

    async def history(self, job_id):
        rows = await self.ask("GET", f"/jobs/{job_id}/history", expect=200)
        return [row["event_type"].removeprefix("job.") for row in rows]

    async def until_status(self, job_id, status, *, at_most=15.0):
        async def check():
            job = await self.job(job_id)
            return job if job["status"] == status else None

        return await until(check, at_most=at_most)


class Reachable(Protocol):
    """Anything with an API."""

    base_url: str


@dataclass
class House:
    """Services that run, by name, and how to reach them."""

    base_url: str
    database_url: str
    nats_url: str
    running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = field(
        default_factory=dict
    )

    async def stop(self, name: str) -> None:
        """Drain one service."""
        task, stopping = self.running.pop(name)
        stopping.set()
        await asyncio.wait_for(task, 20)

    async def start(self, name: str, **knobs) -> None:
        """Start one service (more than one of a kind: ``delivery#2``)."""
        kind = name.split("#", maxsplit=1)[0]
        stopping = asyncio.Event()
        task = asyncio.create_task(
            SERVE[kind](settings_of(self, kind, **knobs), stopping), name=name
        )
        self.running[name] = (task, stopping)


SERVE: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "ingest": services.ingest.service.serve,
    "dispatcher": services.dispatcher.service.serve,
    "delivery": services.delivery.service.serve,
    "scheduler": services.scheduler.service.serve,
    "streamer": services.streamer.service.serve,
}


def settings_of(house: House, kind: str, **knobs):
    """Return the settings of a service in development on the test's ports."""
    common = {
        "environment": "development",
        "nats_url": house.nats_url,
        "health_port": 0,
        "database_url": house.database_url,
        "secret_key": SECRET_KEY,
        "admin_key": ADMIN_KEY,
        "grpc_port": 0,
        "http_port": int(house.base_url.rsplit(":", 1)[1]),
        **knobs,
    }
    module = {
        "ingest": services.ingest.settings,
        "dispatcher": services.dispatcher.settings,
        "delivery": services.delivery.settings,
        "scheduler": services.scheduler.settings,
        "streamer": services.streamer.settings,
    }[kind]
    known = module.Settings.model_fields
    return module.Settings(**{k: v for k, v in common.items() if k in known})


@asynccontextmanager
async def run_house(
    database_url: str,
    nats_url: str,
    *,
    services=("ingest", "dispatcher", "delivery", "scheduler"),
    **knobs,
) -> AsyncIterator[House]:
    """Run *services* until the block ends, then drain them in this order."""
    house = House(f"http://127.0.0.1:{free_port()}", database_url, nats_url)
    try:
        for name in services:
            await house.start(name, **knobs)
        if "ingest" in services:
            await until(lambda: answers(house.base_url), at_most=60)
        yield house
    finally:
        for name in last_to_go(house.running):
            await house.stop(name)


def last_to_go(names: Iterable[str]) -> list[str]:
    """Return *names* with the dispatchers last: the pods report to them to the end."""
    return sorted(names, key=lambda name: name.startswith("dispatcher"))


async def answers(base_url: str) -> bool:
    """Whether ingest is ready to say yes."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"{base_url}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def open_api(house: Reachable, tenant: Tenant) -> AsyncIterator[Api]:
    """Open a client."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Api(house.base_url, session, tenant)


async def assert_invariants(database_url: str) -> None:
    """Every job is in exactly one place, and its journal says how it got there."""
    conn = await asyncpg.connect(database_url)
    try:
        assert await invariants.misplaced(conn) == []
        assert await invariants.unjournaled(conn) == []
        assert await invariants.forgotten(conn) == []
        assert await invariants.out_of_turn(conn) == []
    finally:
        await conn.close()


async def all_completed(database_url, accepted, *, at_most):
    """Wait until every accepted job is completed."""
    conn = await asyncpg.connect(database_url)
    try:

        async def check():
            open_ = await conn.fetchval(
                "SELECT count(*) FROM unnest($1::uuid[]) AS id WHERE NOT EXISTS "
                "(SELECT FROM finished WHERE job_id = id AND ending = 'completed')",
                accepted,
            )
            assert open_ == 0, f"{open_} of {len(accepted)} are not completed"
            return True

        await until(check, at_most=at_most)
    finally:
        await conn.close()

"""Every door has its rule: also those of the streamer, and those outside the API.

The routes are those of the routers themselves: a new one without a rule fails here.
What is described of the API is walked in `test_tenants`.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import cast

import aiohttp
import pytest

from libs.common.health import Health
from services.ingest.http.app import build
from services.ingest.http.routing import ROUTES
from services.streamer.hall import Hall
from services.streamer.service import _app
from tests.support.furnished import QUEUE, furnish
from tests.support.house import new_tenant, open_api, run_house, settings_of
from tests.support.waiting import until
from tests.support.walking import DESCRIBED, NOWHERE
from tests.support.watching import open_gallery

TOKEN = "the token of who gathers figures"
#: Nobody's: whoever asks, nothing of anybody is in the answer.
OPEN = "open"
#: Whoever asks shows a key or an access token, and is shown what is theirs.
KEY = "key"
#: What it shows is nobody's, and yet not for everybody.
FIGURES = "figures"

HEALTH = {
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
    "GET /metrics": FIGURES,
}
STREAMS = {
    "GET /api/v1/events": KEY,
    "GET /api/v1/events/queues/{name}": KEY,
    "GET /api/v1/events/jobs/{id}": KEY,
    "GET /api/v1/ws": KEY,
}
DASHBOARD = {
    "GET /": OPEN,
    "GET /dashboard": OPEN,
    "GET /dashboard/{rest}": OPEN,
}
STREAMER = {
    **HEALTH,
    **STREAMS,
    **DASHBOARD,
    "GET /dashboard/assets/{name}": OPEN,
    "OPTIONS /api/v1/events{rest}": OPEN,
}
ALONE = {
    **HEALTH,
    "GET /": OPEN,
    "GET /health": OPEN,
    "GET /docs": OPEN,
    "GET /openapi.json": OPEN,
    "GET /asyncapi.json": OPEN,
}
#: What ingest says in the streamer's name, it passes on.
IN_FRONT = {**ALONE, **STREAMS, **DASHBOARD}


def doors(app):
    """Return the routes of an application, as its router has them."""
    return {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        # What can be got can be asked for without its body.
        if route.method != "HEAD"
    }


def ingest(**knobs):
    """Return the routes of ingest that no description has."""
    settings = settings_of(NOWHERE, "ingest", **knobs)
    app = build(settings, Health(asyncio.Event()))
    described = {f"{route.method} {route.template}" for route in DESCRIBED}
    assert described <= {f"{route.method} {route.template}" for route in app[ROUTES]}
    return doors(app) - described


async def test_every_door_of_ingest_has_a_rule():
    assert ingest() == ALONE.keys()
    assert ingest(streamer_url="http://127.0.0.1:1") == IN_FRONT.keys()


async def test_every_door_of_the_streamer_has_a_rule():
    app = _app(cast("Hall", None))
    app.add_routes(Health(asyncio.Event()).routes())
    assert doors(app) == STREAMER.keys()


async def test_every_door_beside_a_service_has_a_rule():
    app = aiohttp.web.Application()
    app.add_routes(Health(asyncio.Event()).routes())
    assert doors(app) == HEALTH.keys()


# --- behind them ----------------------------------------------------------------------


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest", "scheduler"), metrics_token=TOKEN
    ) as house:
        yield house


@pytest.fixture
async def gallery(database_url, nats_url):
    async with open_gallery(database_url, nats_url, metrics_token=TOKEN) as gallery:
        yield gallery


@pytest.fixture
async def owned(house, tenant):
    """What an organization has."""
    async with open_api(house, tenant) as api:
        return await furnish(api)


def filled(path, owned):
    """Return a path that names what is an organization's."""
    named = path.replace("{name}", QUEUE).replace("{id}", owned.claimed_id)
    return named.replace("{rest}", "")


def served(base, rules, rule):
    """Yield method and URL of what has a rule."""
    for door, which in rules.items():
        if which == rule:
            method, path = door.split(" ")
            yield method, base, path


async def test_what_is_open_shows_nothing_of_anybody(house, gallery, owned, tenant):
    secrets = {str(tenant.id), tenant.api_key, *map(str, owned.job_ids), QUEUE}
    asked = [
        *served(house.base_url, ALONE, OPEN),
        *served(gallery.url, STREAMER, OPEN),
    ]
    assert len(asked) > 12
    for method, base, path in asked:
        async with gallery.http.request(
            method, base + filled(path, owned).replace(QUEUE, "nothing")
        ) as answer:
            said = await answer.text()
        # The page is there only where it was built.
        assert answer.status in {200, 204, 404, 503}, path
        assert [one for one in secrets if one in said] == [], path


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Bearer \u00fc", 401),
        (f"bearer {TOKEN}", 401),
        (f"Bearer  {TOKEN}", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}", 200),
    ],
)
async def test_figures_are_for_who_has_their_token(house, gallery, given, status):
    headers = {} if given is None else {"Authorization": given}
    for method, base, path in (
        *served(house.base_url, ALONE, FIGURES),
        *served(gallery.url, STREAMER, FIGURES),
    ):
        async with gallery.http.request(method, base + path, headers=headers) as answer:
            said = await answer.text()
        assert (answer.status, "bellhop_" in said) == (status, status == 200)


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"headers": {"Authorization": "Bearer nobody's"}},
        {"headers": {"Authorization": "Basic bm9ib2R5Og=="}},
        {"headers": {"X-API-Key": "nobody's"}},
        {"params": {"token": "nobody's"}},
        {"params": {"api_key": "nobody's"}},
    ],
    ids=str,
)
async def test_who_shows_no_key_sees_no_events(gallery, owned, credential):
    for method, base, path in served(gallery.url, STREAMER, KEY):
        url = base + filled(path, owned)
        async with gallery.http.request(method, url, **credential) as answer:
            error = await answer.json()
        assert (answer.status, error["code"]) == (401, "UNAUTHORIZED"), path
        assert owned.claimed_id not in json.dumps(error)


async def hear(http, method, url, key, said):
    """Add to *said* all that a stream says to whoever has *key*, until cancelled."""
    lately = datetime.now(UTC) - timedelta(minutes=5)
    params = {"token": key, "since": lately.isoformat()}
    if url.endswith("/ws"):
        async with http.ws_connect(url, params=params) as socket:
            async for message in socket:
                said += message.data.encode()
    else:
        async with http.request(method, url, params=params) as answer:
            async for data in answer.content.iter_any():
                said += data


async def seen_beside(http, method, url, *, key, others, until_shown):
    """Return what *others* are shown by when *key* is shown a text, and a moment on."""
    shown, hidden = bytearray(), bytearray()
    async with asyncio.TaskGroup() as watchers:
        watching = [
            watchers.create_task(hear(http, method, url, key, shown)),
            watchers.create_task(hear(http, method, url, others, hidden)),
        ]
        await until(lambda: until_shown.encode() in shown and hidden, at_most=30)
        await asyncio.sleep(1)
        for one in watching:
            one.cancel()
    return hidden.decode()


async def test_who_shows_another_organizations_key_sees_none_of_these(
    gallery, owned, tenant, database_url
):
    stranger = await new_tenant(database_url, slug="stranger")
    for method, base, path in served(gallery.url, STREAMER, KEY):
        seen = await seen_beside(
            gallery.http,
            method,
            base + filled(path, owned),
            key=tenant.api_key,
            others=stranger.api_key,
            until_shown=owned.claimed_id,
        )
        assert [one for one in map(str, owned.job_ids) if one in seen] == [], path

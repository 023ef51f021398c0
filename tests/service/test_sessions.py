"""How sessions end: by signing out, and with the key they were made from."""

import time
from datetime import UTC, datetime

import pytest

from libs.cli.embedded.ports import free_port
from libs.common.tokens import Tokens, token_keys
from tests.support.house import SECRET_KEY, Api, new_tenant, open_api, run_house
from tests.support.sessions import add_key, bearer, login, words
from tests.support.waiting import until


@pytest.fixture
async def house(database_url, nats_url):
    """Ingest alone: who asks is its business."""
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def test_signing_out_ends_the_session_everywhere(house, api):
    await house.start("ingest#2", http_port=(port := free_port()))
    elsewhere = Api(f"http://127.0.0.1:{port}", api.session, api.tenant)
    pair, other = await login(api), await login(api)
    by_token = bearer(pair["access_token"])

    async def knows():
        status, _, _ = await elsewhere.ask("GET", "/auth/me", headers=by_token)
        return status == 200

    await until(_trying(knows))
    await api.ask(
        "POST",
        "/auth/logout",
        expect=204,
        headers=by_token,
        json={"refresh_token": other["refresh_token"]},
    )
    ended_at = time.monotonic()
    assert await words(api, headers=by_token) == (401, "Token has been revoked")
    await until(_not(knows), at_most=2)
    assert time.monotonic() - ended_at < 2

    for token in (pair["refresh_token"], other["refresh_token"]):
        for place in (api, elsewhere):
            found = await words(
                place, "/auth/refresh", method="POST", json={"refresh_token": token}
            )
            assert found == (401, "Token has been revoked")
    assert await words(api, headers=bearer(other["access_token"])) == (
        401,
        "Token has been revoked",
    )
    # The key itself stays good.
    await api.ask("GET", "/organizations", expect=200)


async def test_who_refreshes_again_and_again_has_one_session(api):
    """A refresh token that was read by others ends with the session, as all it made."""
    pair = await login(api)
    body = {"refresh_token": pair["refresh_token"]}
    made = [
        (await api.ask("POST", "/auth/refresh", json=body, expect=200))["access_token"]
        for _ in range(3)
    ]
    assert len({*made, pair["access_token"]}) == 4

    await api.ask("POST", "/auth/logout", expect=204, headers=bearer(made[1]))

    for token in (*made, pair["access_token"]):
        ended = (401, "Token has been revoked")
        assert await words(api, headers=bearer(token)) == ended
    replayed = await words(api, "/auth/refresh", method="POST", json=body)
    assert replayed == (401, "Token has been revoked")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (None, {}),
        (b"", {"Content-Type": "application/json"}),
        (b"{}", {"Content-Type": "application/json"}),
        (b'{"refresh_token": "nonsense"}', {"Content-Type": "application/json"}),
    ],
)
async def test_signing_out_takes_any_body_or_none(api, body, headers):
    pair = await login(api)
    await api.ask(
        "POST",
        "/auth/logout",
        expect=204,
        headers={**headers, **bearer(pair["access_token"])},
        data=body,
    )


async def test_another_organizations_session_is_not_ended(house, api, database_url):
    stranger = await new_tenant(database_url, slug="stranger")
    theirs = await login(api, stranger.api_key)
    pair = await login(api)
    await api.ask(
        "POST",
        "/auth/logout",
        expect=204,
        headers=bearer(pair["access_token"]),
        json={"refresh_token": theirs["refresh_token"]},
    )

    await api.ask("GET", "/auth/me", expect=200, headers=bearer(theirs["access_token"]))


async def test_a_revoked_key_takes_its_sessions_along(api, conn):
    key, id_ = await add_key(conn, api.tenant)
    pair = await login(api, key)
    by_token = bearer(pair["access_token"])
    await api.ask("GET", "/auth/me", expect=200, headers=by_token)
    await api.ask("DELETE", f"/api-keys/{id_}", expect=204)

    assert await words(api, headers=by_token) == (401, "API key has been revoked")
    found = await words(
        api,
        "/auth/refresh",
        method="POST",
        json={"refresh_token": pair["refresh_token"]},
    )
    assert found == (401, "API key has been revoked")


async def test_a_session_has_the_scope_that_its_key_has_now(api, conn):
    key, id_ = await add_key(conn, api.tenant, queues=["mail"])
    pair = await login(api, key)
    by_token = bearer(pair["access_token"])
    me = await api.ask("GET", "/auth/me", expect=200, headers=by_token)
    job = {"queue_name": "print", "payload": {}}

    assert me["queues"] == ["mail"]
    await api.ask("POST", "/jobs", json=job, expect=403, headers=by_token)
    await api.ask("GET", "/api-keys", expect=403, headers=by_token)
    await api.ask("PUT", f"/api-keys/{id_}", json={"queues": ["print"]}, expect=200)
    await api.ask("POST", "/jobs", json=job, expect=201, headers=by_token)


async def test_a_deleted_organization_opens_for_nobody(api, conn):
    pair = await login(api)
    await conn.execute("UPDATE organizations SET plan_tier = 'deleted'")
    other, _ = await add_key(conn, api.tenant)
    await conn.execute("UPDATE api_keys SET is_active = false")
    message = "Organization is not available"

    assert await words(api, "/queues", headers=bearer(other)) == (401, message)
    assert await words(api, headers=bearer(pair["access_token"])) == (401, message)


async def test_old_tokens_are_good_after_the_secret_key_changed(
    database_url, nats_url, tenant
):
    newer = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE="
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        open_api(house, tenant) as api,
    ):
        pair = await login(api)
        await house.stop("ingest")
        await house.start("ingest", secret_key=f"{newer},{SECRET_KEY}")
        me = until(_trying(_reader(api, pair["access_token"])))
        assert await me
        fresh = await login(api)

    claims = Tokens(token_keys(newer)).read(fresh["access_token"])
    assert claims.organization_id == tenant.id
    assert claims.expires_at > datetime.now(UTC)


def _reader(api, token):
    async def read():
        status, _, _ = await api.ask("GET", "/auth/me", headers=bearer(token))
        return status == 200

    return read


def _trying(check):
    """Return *check*, with nobody listening yet as a no."""

    async def trying():
        try:
            return await check()
        except OSError:
            return False

    return trying


def _not(check):
    async def opposite():
        return not await check()

    return opposite

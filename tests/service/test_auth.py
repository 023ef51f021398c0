"""Signing in: keys are changed for tokens, and who is let in is told in fixed words."""

import time
from datetime import datetime, timedelta
from urllib.parse import quote

import jwt
import pytest

from libs.common.access import new_key
from libs.common.ids import new_id
from libs.common.store import api_keys
from libs.common.tokens import derived_keys
from tests.support.described import described
from tests.support.house import SECRET_KEY, open_api, run_house
from tests.support.sessions import add_key, bearer, login, words


@pytest.fixture
async def house(database_url, nats_url):
    """Ingest alone: who asks is its business."""
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
async def api(house, tenant):
    """A client of the tenant's, to whom only what is described is said."""
    async with open_api(house, tenant) as client:
        yield described(client)


async def test_a_key_is_changed_for_tokens_and_a_token_opens_what_the_key_does(api):
    pair = await login(api)

    assert set(pair) == {
        *("access_token", "refresh_token", "token_type"),
        *("expires_in", "refresh_expires_in"),
    }
    assert pair["token_type"] == "Bearer"
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (86_400, 24 * 86_400)

    by_token = bearer(pair["access_token"])
    own = await api.ask("GET", "/organizations", expect=200, headers=by_token)
    assert own[0]["id"] == str(api.tenant.id)
    await api.ask(
        "GET",
        "/organizations",
        expect=200,
        headers={"Authorization": "", "X-API-Key": pair["access_token"]},
    )


async def test_me_is_for_sessions(api):
    pair = await login(api)
    me = await api.ask(
        "GET", "/auth/me", expect=200, headers=bearer(pair["access_token"])
    )

    assert me["organization_id"] == str(api.tenant.id)
    assert me["queues"] == []
    assert me["organization"] == {
        "id": str(api.tenant.id),
        "name": "Acme",
        "slug": "acme",
        "plan_tier": "enterprise",
        "billing_email": None,
    }
    issued, expires = (
        datetime.fromisoformat(me[name]) for name in ("issued_at", "expires_at")
    )
    assert expires - issued == timedelta(hours=24)
    assert await words(api) == (401, "Invalid token")
    assert await words(api, "/auth/logout", method="POST") == (401, "Invalid token")


async def test_the_words_of_every_refusal(api, conn):
    pair = await login(api)
    gone, gone_id = await add_key(conn, api.tenant)
    gone_pair = await login(api, gone)
    await conn.execute("DELETE FROM api_keys WHERE id = $1", gone_id)
    old, old_id = await add_key(conn, api.tenant)
    old_pair = await login(api, old)
    await conn.execute(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = $1", old_id
    )
    off, off_id = await add_key(conn, api.tenant)
    off_pair = await login(api, off)
    await conn.execute("UPDATE api_keys SET is_active = false WHERE id = $1", off_id)
    # Whoever changes a key says so; here it is said by changing a third.
    _, third = await add_key(conn, api.tenant)
    await api.ask("PUT", f"/api-keys/{third}", json={"name": "new"}, expect=200)

    for given, message in {
        "": "Missing or invalid Authorization header",
        "Basic YTpi": "Missing or invalid Authorization header",
        "Bearer nonsense": "Invalid API key",
        "Bearer sk_live_nobody": "Invalid API key",
        f"Bearer {off}": "API key is inactive",
        f"Bearer {old}": "API key has expired",
        f"Bearer {pair['access_token'][:-3]}abc": "Invalid token",
        f"Bearer {pair['refresh_token']}": "Invalid token type",
    }.items():
        found = await words(api, "/queues", headers={"Authorization": given})
        assert found == (401, message), given
    # What became of the key since is seen when it is looked up again.
    for token, message in {
        gone_pair["access_token"]: "API key not found",
        old_pair["access_token"]: "API key has expired",
        off_pair["access_token"]: "API key has been revoked",
    }.items():
        assert await words(api, headers=bearer(token)) == (401, message)


async def test_a_login_that_cannot_be(api, tenant):
    for body, status in (
        ({}, 422),
        ({"api_key": 7}, 422),
        ({"api_key": "short"}, 400),
        ({"api_key": "sk_live_nobody_at_all"}, 401),
        ({"api_key": (await login(api))["access_token"]}, 401),
    ):
        found, data, _ = await api.ask("POST", "/auth/login", json=body)
        assert found == status, (body, data)
        assert data["message"]
        assert data["code"]


async def test_one_key_is_changed_for_tokens_so_often_a_minute(
    database_url, nats_url, tenant
):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), login_rate_per_minute=3
        ) as house,
        open_api(house, tenant) as api,
    ):
        for _ in range(3):
            await login(api)
        status, data, headers = await api.ask(
            "POST", "/auth/login", json={"api_key": tenant.api_key}
        )

    assert (status, data["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 1 <= int(headers["Retry-After"]) <= 20
    assert headers["X-RateLimit-Scope"] == "key"
    assert headers["X-RateLimit-Remaining"] == "0"


async def test_a_refresh_token_gives_another_access_token(api):
    pair = await login(api)
    again = await api.ask(
        "POST",
        "/auth/refresh",
        json={"refresh_token": pair["refresh_token"]},
        expect=200,
    )

    assert set(again) == {"access_token", "token_type", "expires_in"}
    assert again["access_token"] != pair["access_token"]
    await api.ask("GET", "/auth/me", expect=200, headers=bearer(again["access_token"]))
    for token, message in (
        (pair["access_token"], "Invalid token type"),
        ("eyJ.nonsense", "Invalid token"),
        ("nonsense that is no token", "Invalid token"),
    ):
        found = await words(
            api, "/auth/refresh", method="POST", json={"refresh_token": token}
        )
        assert found == (401, message)


async def test_validate_always_answers(api):
    async def validate(token):
        return await api.ask(
            "POST", "/auth/validate", json={"token": token}, expect=200
        )

    pair = await login(api)
    good = await validate(pair["access_token"])

    assert good["valid"] is True
    assert good["claims"]["token_type"] == "access"
    assert good["claims"]["sub"] == str(api.tenant.id)
    assert (await validate(pair["refresh_token"]))["valid"] is True
    assert await validate("") == {"valid": False, "error": "Invalid token"}
    assert await validate("x.y.z") == {"valid": False, "error": "Invalid token"}
    await api.ask(
        "POST", "/auth/logout", expect=204, headers=bearer(pair["access_token"])
    )
    assert await validate(pair["refresh_token"]) == {
        "valid": False,
        "error": "Token has been revoked",
    }


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_token_that_was_not_made_here_opens_nothing(api, tenant):
    pair = await login(api)
    claims = jwt.decode(pair["access_token"], options={"verify_signature": False})
    key = derived_keys(SECRET_KEY, "tokens")[0]
    now = int(time.time())
    forged = {
        "nobody": jwt.encode(claims, "", "none"),
        "another's key": jwt.encode(claims, b"k" * 32, "HS256"),
        "another algorithm": jwt.encode(claims, key, "HS512"),
        "over": jwt.encode({**claims, "exp": now - 60}, key, "HS256"),
        "another session": jwt.encode({**claims, "sid": str(new_id())}, key, "HS256"),
        "another organization": jwt.encode(
            {**claims, "sub": str(new_id())}, key, "HS256"
        ),
    }

    for name, token in forged.items():
        status, message = await words(api, headers=bearer(token))
        assert status == 401, name
        assert message in {"Invalid token", "Token has been revoked"}, name


async def test_prefixes_of_both_houses_open_and_ours_is_a_setting(
    database_url, nats_url, tenant, conn
):
    key, digest = new_key("sp")
    await api_keys.create_key(
        conn, id_=new_id(), organization_id=tenant.id, key_sha256=digest, name="sp"
    )
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), api_key_prefix="sp"
        ) as house,
        open_api(house, tenant) as api,
    ):
        await api.ask("GET", "/queues", expect=200, headers=bearer(key))
        made = await api.ask("POST", "/api-keys", json={"name": "new"}, expect=201)

    assert made["key"].startswith("sp_live_")


async def test_the_admin_key_is_asked_for_with_the_words_of_the_contract(api):
    for given, reason in (
        ({}, "missing_admin_key"),
        ({"X-Admin-Key": "wrong"}, "invalid_admin_key"),
        ({"X-Admin-Key": "ä"}, "invalid_header"),
    ):
        status, data, _ = await api.ask("GET", "/admin/plans", headers=given)
        assert (status, data["error"]) == (401, reason)
        assert data["message"]


async def test_a_query_is_no_place_for_a_credential(api):
    token = quote((await login(api))["access_token"])
    status, _ = await words(
        api, f"/queues?token={token}&api_key={token}", headers={"Authorization": ""}
    )

    assert status == 401

"""Sign-in by e-mail: a code that came proves an address."""

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.support.described import described
from tests.support.house import ADMIN_KEY, Api, new_tenant, open_api, run_house
from tests.support.mailbox import run_mailbox

ADDRESS = "ada@example.com"


@pytest.fixture
async def mailbox():
    async with run_mailbox() as mailbox:
        yield mailbox


def by_smtp(mailbox, **knobs):
    return {
        "mail_provider": "smtp",
        "mail_from": "Bellhop <bellhop@example.com>",
        "smtp_host": "127.0.0.1",
        "smtp_port": mailbox.port,
        "smtp_security": "none",
        "registration_mode": "open",
        **knobs,
    }


@pytest.fixture
async def api(database_url, nats_url, mailbox, tenant):
    """A client of a house that sends mails."""
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), **by_smtp(mailbox)
        ) as house,
        open_api(house, tenant) as api,
    ):
        yield described(api)


async def start(api: Api, email=ADDRESS, *, expect=200):
    return await api.ask(
        "POST", "/auth/email/start", json={"email": email}, expect=expect
    )


async def verify(api: Api, code, email=ADDRESS):
    status, data, _ = await api.ask(
        "POST", "/auth/email/verify", json={"email": email, "code": code}
    )
    return status, data


def other_than(code):
    return f"{(int(code) + 1) % 1_000_000:06}"


async def test_a_stranger_founds_an_organization(api, mailbox):
    started = await start(api, "Ada@Example.com")
    assert started["message"] == "Login code sent to your email"
    assert started["email_sent_to"] == "a***@example.com"
    assert len(mailbox.letters) == 1
    assert mailbox.letters[0]["From"] == "Bellhop <bellhop@example.com>"

    status, data = await verify(api, mailbox.code_for(ADDRESS))
    assert status == 200
    assert set(data) == {"type", "signup_token", "email", "expires_in"}
    assert (data["type"], data["email"], data["expires_in"]) == ("signup", ADDRESS, 900)

    body = {"signup_token": data["signup_token"], "name": "Engines", "slug": "engines"}
    made = await api.ask("POST", "/auth/signup/complete", json=body, expect=201)
    assert made["organization"]["billing_email"] == ADDRESS
    assert made["organization"]["slug"] == "engines"
    for credential in (made["api_key"], made["access_token"]):
        headers = {"Authorization": f"Bearer {credential}"}
        own = await api.ask("GET", "/organizations", expect=200, headers=headers)
        assert own[0]["slug"] == "engines"

    status, data, _ = await api.ask(
        "POST", "/auth/signup/complete", json={**body, "slug": "engines-2"}
    )
    assert (status, data["code"]) == (409, "CONFLICT")


async def test_who_has_an_organization_signs_in(api, mailbox, conn, tenant):
    await conn.execute("UPDATE organizations SET billing_email = 'Ada@Example.com'")
    await start(api)
    status, data = await verify(api, mailbox.code_for(ADDRESS))

    assert (status, data["type"]) == (200, "login")
    me = await api.ask(
        "GET",
        "/auth/me",
        expect=200,
        headers={"Authorization": f"Bearer {data['access_token']}"},
    )
    assert me["organization_id"] == str(tenant.id)
    assert me["email"] == ADDRESS
    again = await api.ask(
        "POST",
        "/auth/refresh",
        json={"refresh_token": data["refresh_token"]},
        expect=200,
    )
    assert again["access_token"]


async def test_signing_in_works_without_a_key_that_may_do_everything(
    api, mailbox, conn, tenant
):
    await conn.execute("UPDATE organizations SET billing_email = $1", ADDRESS)
    await conn.execute("UPDATE api_keys SET queues = '{mail}'")
    await start(api)
    status, data = await verify(api, mailbox.code_for(ADDRESS))

    assert (status, data["type"]) == (200, "login")
    keys = await conn.fetch("SELECT name, queues FROM api_keys ORDER BY created_at")
    assert [(key["name"], key["queues"]) for key in keys] == [
        ("test", ["mail"]),
        ("E-mail sign-in", []),
    ]


async def test_a_code_is_good_once_and_only_the_newest(api, mailbox):
    await start(api)
    first = mailbox.code_for(ADDRESS)
    await start(api)
    second = mailbox.code_for(ADDRESS)

    if first != second:
        assert (await verify(api, first))[0] == 401
    assert (await verify(api, second))[0] == 200
    status, data = await verify(api, second)
    assert (status, data["message"]) == (401, "Invalid or expired verification code")


async def test_a_code_is_over_after_ten_minutes(api, mailbox, conn):
    await start(api)
    await conn.execute(
        "UPDATE login_codes SET expires_at = expires_at - interval '10 minutes'"
    )

    assert (await verify(api, mailbox.code_for(ADDRESS)))[0] == 401


async def test_a_code_is_good_for_its_address_only(api, mailbox):
    await start(api)
    await start(api, "bob@example.com")
    code, bobs = mailbox.code_for(ADDRESS), mailbox.code_for("bob@example.com")

    if code != bobs:
        assert (await verify(api, code, "bob@example.com"))[0] == 401
    assert (await verify(api, code, "eve@example.com"))[0] == 401
    assert (await verify(api, code))[0] == 200


async def test_five_tries_and_no_more_even_at_once(api, mailbox):
    await start(api)
    code = mailbox.code_for(ADDRESS)
    tries = await asyncio.gather(*(verify(api, other_than(code)) for _ in range(12)))
    assert {status for status, _ in tries} == {401}
    assert (await verify(api, code))[0] == 401

    # Another code does not help: the address is tried out for now.
    await start(api)
    assert (await verify(api, mailbox.code_for(ADDRESS)))[0] == 401


async def test_an_address_can_be_tried_again_after_a_while(api, mailbox, conn):
    await start(api)
    for _ in range(5):
        await verify(api, other_than(mailbox.code_for(ADDRESS)))
    await conn.execute(
        "UPDATE login_codes SET created_at = created_at - interval '10 minutes'"
    )
    await start(api)

    assert (await verify(api, mailbox.code_for(ADDRESS)))[0] == 200


async def test_only_one_of_many_at_once_gets_the_session(api, mailbox):
    await start(api)
    code = mailbox.code_for(ADDRESS)
    found = await asyncio.gather(*(verify(api, code) for _ in range(4)))

    assert sorted(status for status, _ in found) == [200, 401, 401, 401]


async def test_five_codes_an_hour_for_an_address(api, mailbox, conn):
    for _ in range(5):
        await start(api)
    status, data, headers = await api.ask(
        "POST", "/auth/email/start", json={"email": ADDRESS}
    )
    assert (status, data["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 3500 < int(headers["Retry-After"]) <= 3600
    assert len(mailbox.letters) == 5
    await start(api, "bob@example.com")

    await conn.execute(
        "UPDATE login_codes SET created_at = created_at - interval '1 hour'"
    )
    await start(api)


async def test_only_a_hash_of_the_code_is_kept(api, mailbox, conn):
    await start(api)
    code = mailbox.code_for(ADDRESS)
    rows = await conn.fetch("SELECT login_codes::text AS text FROM login_codes")

    assert all(code not in row["text"] for row in rows)


@pytest.mark.parametrize("path", ["/auth/check-email", "/auth/email/check"])
async def test_an_address_can_be_asked_for(api, conn, path):
    await conn.execute("UPDATE organizations SET billing_email = $1", ADDRESS)

    assert await api.ask("GET", f"{path}?email=ADA@example.com", expect=200) == {
        "available": False,
        "exists": True,
        "has_organizations": True,
        "signup_enabled": True,
    }
    assert await api.ask("GET", f"{path}?email=bob@example.com", expect=200) == {
        "available": True,
        "exists": False,
        "has_organizations": False,
        "signup_enabled": True,
    }


async def test_addresses_are_not_asked_for_all_day(api):
    for _ in range(10):
        await api.ask("GET", f"/auth/check-email?email={ADDRESS}", expect=200)
    status, data, headers = await api.ask("GET", f"/auth/email/check?email={ADDRESS}")

    assert (status, data["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert headers["X-RateLimit-Scope"] == "ip"
    assert headers["X-RateLimit-Limit"] == "10"


async def test_what_is_no_address_or_no_code_is_refused(api, mailbox):
    for email in ("", "ada", "ada@example", "a da@example.com", "a@b.c\r\nBcc: x@y.z"):
        await start(api, email, expect=400)
    for body, status in (
        ({"email": ADDRESS}, 422),
        ({"email": ADDRESS, "code": "12345"}, 400),
        ({"email": ADDRESS, "code": "1234567"}, 400),
        ({"email": ADDRESS, "code": "12345\n"}, 400),
        ({"email": ADDRESS, "code": 123456}, 422),
    ):
        await api.ask("POST", "/auth/email/verify", json=body, expect=status)
    await api.ask("GET", "/auth/check-email?email=ada", expect=400)
    assert mailbox.letters == []


async def test_an_address_that_the_mail_server_refuses(api, mailbox):
    mailbox.refused.add("nobody@example.com")
    data = await start(api, "nobody@example.com", expect=400)

    assert data["details"][0]["field"] == "email"


async def test_a_signup_that_cannot_be(api, mailbox):
    await start(api)
    _, data = await verify(api, mailbox.code_for(ADDRESS))
    good = {"signup_token": data["signup_token"], "name": "Engines", "slug": "engines"}
    login = await api.ask(
        "POST", "/auth/login", json={"api_key": api.tenant.api_key}, expect=200
    )

    for changes, status in (
        ({"slug": "acme"}, 409),
        ({"slug": "admin"}, 400),
        ({"slug": "No Slug"}, 400),
        ({"name": "x"}, 400),
        ({"signup_token": login["access_token"]}, 401),
        ({"signup_token": data["signup_token"][:-4] + "abcd"}, 401),
    ):
        await api.ask(
            "POST", "/auth/signup/complete", json={**good, **changes}, expect=status
        )
    await api.ask("POST", "/auth/signup/complete", json=good, expect=201)


async def test_closed_registration_asks_for_the_admin_key(
    database_url, nats_url, mailbox, tenant
):
    knobs = by_smtp(mailbox, registration_mode="closed", smtp_username="bellhop")
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), smtp_password="s", **knobs
        ) as house,
        open_api(house, tenant) as api,
    ):
        asked = await api.ask("GET", f"/auth/check-email?email={ADDRESS}", expect=200)
        assert asked["signup_enabled"] is False
        await start(api)
        _, data = await verify(api, mailbox.code_for(ADDRESS))
        body = {"signup_token": data["signup_token"], "name": "Eng", "slug": "eng"}
        await api.ask("POST", "/auth/signup/complete", json=body, expect=403)
        await api.ask(
            "POST",
            "/auth/signup/complete",
            json=body,
            expect=201,
            headers={"X-Admin-Key": ADMIN_KEY},
        )
    assert mailbox.users == [("bellhop", "s")]


async def test_in_development_the_code_stands_in_the_log(
    database_url, nats_url, tenant
):
    with capture_logs() as logs:
        async with (
            run_house(database_url, nats_url, services=("ingest",)) as house,
            open_api(house, tenant) as api,
        ):
            await start(api)
    mails = [entry for entry in logs if entry["event"] == "mail.printed"]

    assert [mail["to"] for mail in mails] == [ADDRESS]


async def test_without_anybody_to_carry_it_no_code_is_sent(
    database_url, nats_url, tenant
):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), environment="production"
        ) as house,
        open_api(house, tenant) as api,
    ):
        data = await start(api, expect=403)

    assert data["code"] == "FEATURE_DISABLED"
    assert "E-mail sign-in is not configured" in data["message"]


async def test_a_mail_server_that_is_away_is_passing_trouble(
    database_url, nats_url, mailbox, tenant
):
    async with (
        run_house(
            database_url,
            nats_url,
            services=("ingest",),
            **by_smtp(mailbox, smtp_port=1),
        ) as house,
        open_api(house, tenant) as api,
    ):
        data = await start(api, expect=503)

    assert data["code"] == "SERVICE_UNAVAILABLE"


async def test_an_address_of_a_deleted_organization_is_free_of_it(
    api, mailbox, conn, database_url
):
    await new_tenant(database_url, slug="gone")
    await conn.execute(
        "UPDATE organizations SET billing_email = $1, plan_tier = 'deleted'"
        " WHERE slug = 'gone'",
        ADDRESS,
    )
    await start(api)
    _, data = await verify(api, mailbox.code_for(ADDRESS))

    assert data["type"] == "signup"

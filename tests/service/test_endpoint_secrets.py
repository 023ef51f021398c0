"""What signs for an endpoint, and what shows who we are: sealed, and shown once."""

from base64 import b64decode

import orjson
import pytest

from libs.common.endpoints import decode_auth
from libs.common.sealing import Sealer
from tests.support.endpoints import create_endpoint, signing, versions
from tests.support.house import SECRET_KEY, run_house


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def test_a_secret_is_sealed_and_shown_only_once(api, conn):
    made = await create_endpoint(api)
    id_ = made["id"]

    assert await signing(conn, id_) == [
        ("v1", b64decode(made["secret"].removeprefix("whsec_")))
    ]
    stored = await conn.fetchval("SELECT sealed FROM endpoint_secrets")
    assert b64decode(made["secret"].removeprefix("whsec_")) not in stored
    for path in (f"/endpoints/{id_}", "/endpoints"):
        assert "whsec_" not in str(await api.ask("GET", path, expect=200))
    assert (await api.ask("GET", f"/endpoints/{id_}/secret"))[0] == 404


async def test_a_v1a_endpoint_shows_a_public_key_and_no_secret(api, conn):
    made = await create_endpoint(api, signature_scheme="v1a")

    assert "secret" not in made
    assert made["public_key"].startswith("whpk_")
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert shown["public_key"] == made["public_key"]
    [(scheme, seed)] = await signing(conn, made["id"])
    assert (scheme, len(seed)) == ("v1a", 32)


async def test_a_receiver_keeps_the_secret_it_has(api, conn):
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    private = (
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ"
        "6p9lMicMFs6Kvg=="
    )

    made = await create_endpoint(api, secret=given)
    other = await create_endpoint(api, signature_scheme="v1a", secret=private)

    assert made["secret"] == given
    assert other["public_key"] == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    assert "secret" not in other


async def test_auth_is_sealed_and_only_what_is_no_secret_is_shown(api, conn):
    shown = {
        "basic": {"kind": "basic", "username": "ada"},
        "bearer": {"kind": "bearer"},
        "api_key": {"kind": "api_key", "header": "X-Key"},
        "oauth2": {
            "kind": "oauth2",
            "token_url": "https://id.example.com/token",
            "client_id": "us",
            "scope": "hooks",
        },
    }
    secrets = {
        "basic": {"password": "s3cret"},
        "bearer": {"token": "s3cret"},
        "api_key": {"value": "s3cret"},
        "oauth2": {"client_secret": "s3cret"},
    }
    for kind, told in shown.items():
        made = await create_endpoint(api, auth={**told, **secrets[kind]})
        assert made["auth"] == told
        assert "s3cret" not in str(
            await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
        )
        sealed = await conn.fetchval(
            "SELECT auth FROM endpoints WHERE id = $1", made["id"]
        )
        assert b"s3cret" not in sealed
        opened = Sealer(SECRET_KEY).unseal(sealed, owner=made["id"])
        assert orjson.loads(opened) == {**told, **secrets[kind]}
        assert decode_auth(opened)


async def test_a_rotated_secret_leaves_the_old_one_its_overlap(api, conn):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}/secret/rotate"
    before = await versions(conn, made["id"])

    second = await api.ask("POST", path, json={"overlap_seconds": 3600}, expect=200)

    assert second["secret"] != made["secret"]
    assert await versions(conn, made["id"]) == (before[0] + 1, before[1] + 1)
    [previous] = second["previous"]
    assert previous["signature_scheme"] == "v1"
    assert previous["expires_at"] > previous["created_at"]
    raw = [b64decode(one["secret"].removeprefix("whsec_")) for one in (second, made)]
    assert [key for _, key in await signing(conn, made["id"])] == raw

    # By default it is a day; what is left of an older one is not made longer.
    third = await api.ask("POST", path, expect=200)
    assert len(third["previous"]) == 2
    assert third["previous"][1]["expires_at"] == previous["expires_at"]
    only = await api.ask("POST", path, json={"overlap_seconds": 0}, expect=200)
    assert only["previous"] == []
    assert len(await signing(conn, made["id"])) == 1


async def test_rotating_may_change_the_scheme_and_both_sign(api, conn):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}"

    rotated = await api.ask(
        "POST", f"{path}/secret/rotate", json={"signature_scheme": "v1a"}, expect=200
    )

    assert "secret" not in rotated
    assert rotated["public_key"].startswith("whpk_")
    shown = await api.ask("GET", path, expect=200)
    assert shown["signature_scheme"] == "v1a"
    assert shown["public_key"] == rotated["public_key"]
    assert [scheme for scheme, _ in await signing(conn, made["id"])] == ["v1a", "v1"]


async def test_ten_secrets_sign_at_once_and_no_more(api, conn):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}/secret/rotate"
    for _ in range(9):
        await api.ask("POST", path, expect=200)

    await api.ask("POST", path, expect=409)

    assert len(await signing(conn, made["id"])) == 10
    await api.ask("POST", path, json={"overlap_seconds": 0}, expect=200)
    assert len(await signing(conn, made["id"])) == 1

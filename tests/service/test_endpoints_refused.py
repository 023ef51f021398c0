"""What no endpoint may be: refused by the name of the field, and no secret is told."""

import json
from datetime import timedelta

import pytest

from tests.support.certificates import Authority
from tests.support.house import House, new_tenant, open_api, run_house

URL = "https://hooks.example.com/in"
AUTHORITY = Authority()
OURS = AUTHORITY.issue("us.example.com")
OTHER = AUTHORITY.issue("others.example.com")
OVER = AUTHORITY.issue("old.example.com", lasts=-timedelta(minutes=1))


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


def tls(**parts):
    return {"tls": parts}


def auth(kind, **parts):
    return {"auth": {"kind": kind, **parts}}


OAUTH2 = {
    "token_url": "https://id.example.com/token",
    "client_id": "us",
    "client_secret": "s3cret",
}

WRONG = [
    ({"url": ...}, 422, "url"),
    ({"url": ""}, 400, "url"),
    ({"url": 5}, 422, "url"),
    ({"url": "hooks.example.com"}, 400, "url"),
    ({"url": "ftp://example.com/"}, 400, "url"),
    ({"url": "https://ada:s3cret@example.com/"}, 400, "url"),
    ({"url": "https://example.com/" + "x" * 2048}, 400, "url"),
    ({"url": "https://0x7f.1/"}, 400, "url"),
    ({"description": "x" * 1001}, 400, "description"),
    ({"description": "\x00"}, 400, "description"),
    ({"event_types": []}, 400, "event_types"),
    ({"event_types": "*"}, 422, "event_types"),
    ({"event_types": ["invoice.", "a"]}, 400, "event_types.0"),
    ({"event_types": ["a", "*.paid"]}, 400, "event_types.1"),
    ({"event_types": ["a"] * 101}, 400, "event_types"),
    ({"event_types": ["x" * 257]}, 400, "event_types.0"),
    ({"filter": []}, 422, "filter"),
    ({"filter": {"$nor": []}}, 400, "filter.$nor"),
    ({"filter": {"$or": [{"a": 1}, {"a": {"$gt": []}}]}}, 400, "filter.$or.1.a.$gt"),
    ({"filter": {"a": "\x00"}}, 400, "filter"),
    ({"filter": {"a": "x" * 20_000}}, 400, "filter"),
    ({"headers": {"a b": "x"}}, 400, "headers"),
    ({"headers": {"X": "a\r\nY: b"}}, 400, "headers"),
    ({"headers": {"Webhook-Id": "x"}}, 400, "headers"),
    ({"headers": {"Content-Length": "1"}}, 400, "headers"),
    ({"headers": {f"X-{n}": "" for n in range(33)}}, 400, "headers"),
    ({"headers": {"X": 1}}, 422, "headers"),
    ({"format": "json"}, 400, "format"),
    ({"enabled": "perhaps"}, 422, "enabled"),
    ({"disabled_reason": "x" * 256}, 400, "disabled_reason"),
    ({"timeout_seconds": 0}, 400, "timeout_seconds"),
    ({"timeout_seconds": 121}, 400, "timeout_seconds"),
    ({"retry": {"strategy": "hope"}}, 422, "retry.strategy"),
    ({"retry": {"strategy": "schedule", "schedule_seconds": []}}, 400, "retry"),
    ({"max_retries": 101}, 400, "max_retries"),
    ({"rate_limit_per_second": 0}, 400, "rate_limit_per_second"),
    ({"rate_limit_per_second": -1}, 400, "rate_limit_per_second"),
    ({"max_concurrency": 0}, 400, "max_concurrency"),
    ({"max_concurrency": 10_001}, 400, "max_concurrency"),
    ({"max_concurrency": 1.5}, 422, "max_concurrency"),
    ({"signature_scheme": "v2"}, 400, "signature_scheme"),
    ({"secret": "whsec_dG9vIHNob3J0"}, 400, "secret"),
    ({"secret": "whsec_" + "A" * 100}, 400, "secret"),
    ({"secret": "whsec_…"}, 400, "secret"),
    ({"signature_scheme": "v1a", "secret": "whsk_AAAA"}, 400, "secret"),
    ({"metadata": []}, 422, "metadata"),
    ({"metadata": {"a": "x" * 70_000}}, 400, "metadata"),
    ({"metadata": {"a": ["\x00"]}}, 400, "metadata"),
    ({"colour": "red"}, 400, "colour"),
    ({"stats": {}}, 400, "stats"),
    ({"auth": "basic"}, 422, "auth"),
    ({"auth": {}}, 422, "auth.kind"),
    (auth("digest"), 422, "auth.kind"),
    (auth("basic", username="a:b", password="s3cret"), 400, "auth"),
    (auth("basic", username="a", password="s3cret\n"), 400, "auth.password"),
    (auth("basic", username="a"), 422, "auth.password"),
    (auth("bearer", token="s3cret s3cret"), 400, "auth.token"),
    (auth("bearer", token="s3cret\u00e9"), 400, "auth.token"),
    (auth("bearer", token=""), 400, "auth.token"),
    (auth("bearer", token="s3cret", colour=1), 400, "auth.colour"),
    (auth("api_key", header="Host", value="s3cret"), 400, "auth"),
    (auth("api_key", header="X Y", value="s3cret"), 400, "auth"),
    (auth("api_key", header="X", value="s3cret\r\n"), 400, "auth.value"),
    (auth("oauth2", **{**OAUTH2, "token_url": "id"}), 400, "auth.token_url"),
    (auth("oauth2", **{**OAUTH2, "client_id": ""}), 400, "auth.client_id"),
    (tls(), 400, "tls"),
    (tls(client_certificate=OURS.certificate), 400, "tls"),
    (tls(client_key=OURS.key), 400, "tls"),
    (
        tls(client_certificate=OURS.certificate, client_key=OTHER.key),
        400,
        "tls.client_key",
    ),
    (
        tls(client_certificate="-----BEGIN", client_key=OURS.key),
        400,
        "tls.client_certificate",
    ),
    (tls(client_certificate=OURS.certificate, client_key="x"), 400, "tls.client_key"),
    (
        tls(client_certificate=OVER.certificate, client_key=OVER.key),
        400,
        "tls.client_certificate",
    ),
    (tls(ca=OVER.certificate), 400, "tls.ca"),
    (tls(ca="x"), 400, "tls.ca"),
    (tls(ca="x" * 70_000), 400, "tls.ca"),
]


async def test_what_is_wrong_is_named_and_no_secret_is_told(api):
    made = await api.ask("POST", "/endpoints", json={"url": URL}, expect=201)
    wrong = []
    for change, status, field in WRONG:
        body = {k: v for k, v in {"url": URL, **change}.items() if v is not ...}
        asked = [("POST", "/endpoints", body)]
        if not {"secret"} & set(change) and change.get("url") is not ...:
            asked.append(("PATCH", f"/endpoints/{made['id']}", change))
        for method, path, sent in asked:
            if sent == {"signature_scheme": "v2"}:
                continue
            got, error, _ = await api.ask(method, path, json=sent)
            named = [fault["field"] for fault in (error or {}).get("details", [])]
            told = json.dumps(error)
            if (
                got != status
                or not any(one.startswith(field) for one in named)
                or "s3cret" in told
                or "PRIVATE KEY" in told
            ):
                wrong.append((method, sent, got, error))

    assert wrong == []
    unchanged = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert unchanged["updated_at"] == made["updated_at"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"overlap_seconds": -1}, 400, "overlap_seconds"),
        ({"overlap_seconds": 604_801}, 400, "overlap_seconds"),
        ({"overlap": 5}, 400, "overlap"),
        ({"secret": "whsec_AAAA"}, 400, "secret"),
        ({"signature_scheme": "v1a", "secret": "whsec_" + "A" * 44}, 400, "secret"),
    ],
)
async def test_a_bad_rotation_is_named(api, body, status, field):
    made = await api.ask("POST", "/endpoints", json={"url": URL}, expect=201)
    path = f"/endpoints/{made['id']}/secret/rotate"

    error = await api.ask("POST", path, json=body, expect=status)

    assert [fault["field"] for fault in error["details"]] == [field]


async def test_a_scheme_changes_with_a_secret_and_not_alone(api):
    made = await api.ask("POST", "/endpoints", json={"url": URL}, expect=201)
    path = f"/endpoints/{made['id']}"

    error = await api.ask("PATCH", path, json={"signature_scheme": "v1a"}, expect=400)

    assert "secret/rotate" in error["message"]
    await api.ask("PATCH", path, json={"signature_scheme": "v1"}, expect=200)


async def test_certificates_are_sealed_and_only_their_names_are_shown(api, conn):
    body = {
        "url": URL,
        **tls(
            client_certificate=OURS.certificate,
            client_key=OURS.key,
            ca=AUTHORITY.pem,
        ),
    }

    made = await api.ask("POST", "/endpoints", json=body, expect=201)

    assert made["tls"].pop("not_after")
    assert made["tls"] == {
        "has_client_certificate": True,
        "subject": "CN=us.example.com",
        "has_ca": True,
    }
    sealed = await conn.fetchval("SELECT tls FROM endpoints")
    assert b"PRIVATE KEY" not in sealed
    assert "BEGIN" not in json.dumps(made)
    only_ca = tls(ca=AUTHORITY.pem)
    path = f"/endpoints/{made['id']}"
    changed = await api.ask("PATCH", path, json=only_ca, expect=200)
    assert changed["tls"] == {
        "has_client_certificate": False,
        "subject": None,
        "not_after": None,
        "has_ca": True,
    }
    gone = await api.ask("PATCH", path, json={"tls": None}, expect=200)
    assert gone["tls"] is None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://metadata.google.internal/",
        "https://postgres/",
    ],
)
async def test_in_production_nothing_is_sent_into_the_house(
    database_url, nats_url, url
):
    tenant = await new_tenant(database_url)
    house: House
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), environment="production"
        ) as house,
        open_api(house, tenant) as api,
    ):
        error = await api.ask("POST", "/endpoints", json={"url": url}, expect=400)
        assert error["details"][0]["field"] == "url"
        token = {**OAUTH2, "kind": "oauth2", "token_url": url}
        body = {"url": URL, "auth": token}
        error = await api.ask("POST", "/endpoints", json=body, expect=400)
        assert error["details"][0]["field"] == "auth.token_url"

"""What is the same of every request: errors, versions, origins, sizes, time."""

import asyncio
import gzip
import json
from uuid import UUID

import aiohttp
import asyncpg
import brotli
import pytest
import zstandard

from tests.support.house import new_tenant, open_api, run_house
from tests.support.waiting import until

JOB = {"queue_name": "mail", "payload": {"n": 1}}
UNPACK = {
    "zstd": zstandard.decompress,
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    None: bytes,
}
PREFLIGHT = {
    "Origin": "https://app.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-mine",
}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
async def production(database_url, nats_url):
    """A client of an ingest in production, with one page that may read it."""
    tenant = await new_tenant(database_url, slug="production")
    async with (
        run_house(
            database_url,
            nats_url,
            services=("ingest",),
            environment="production",
            cors_allowed_origins="https://app.example.com, https://two.example.com:8443",
            enable_hsts=True,
        ) as house,
        open_api(house, tenant) as api,
    ):
        yield api


async def fetch(api, method, path, **kwargs):
    """Return (status, body, headers) of any path, without a credential."""
    async with api.session.request(method, api.base_url + path, **kwargs) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_an_error_is_a_problem_for_who_asks_for_one(api):
    asked = {"Accept": "application/problem+json", "x-request-id": "the one/of mine"}

    status, plain, headers = await api.ask("POST", "/jobs", json={})
    assert headers["Content-Type"].startswith("application/json")
    status, problem, headers = await api.ask("POST", "/jobs", json={}, headers=asked)

    assert (status, headers["Content-Type"]) == (422, "application/problem+json")
    assert problem.items() >= plain.items()
    assert problem["type"] == "/docs#VALIDATION_ERROR"
    assert (problem["title"], problem["status"]) == ("Unprocessable Entity", 422)
    assert problem["detail"] == problem["message"]
    assert problem["instance"] == "the%20one%2Fof%20mine"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND", "No route matches this path"),
        ("GET", "/api/v1/nothing", 404, "NOT_FOUND", "No route matches this path"),
        ("GET", "/api/v1/jobs/x", 404, "NOT_FOUND", "Resource not found"),
        (
            "PATCH",
            "/api/v1/jobs",
            405,
            "METHOD_NOT_ALLOWED",
            "This path does not support the request method",
        ),
    ],
)
async def test_a_refusal_has_the_words_of_the_contract(
    api, method, path, status, code, message
):
    got, body, headers = await fetch(
        api, method, path, headers={**api.tenant.headers, "x-request-id": "mine"}
    )

    error = json.loads(body)
    assert (got, error["code"], error["message"]) == (status, code, message)
    assert error["error"] == code.lower()
    assert headers["x-request-id"] == "mine"
    assert ("Allow" in headers) == (status == 405)


async def test_every_answer_has_an_id_and_is_safe_in_a_browser(api):
    for path in ("/health", "/api/v1/jobs", "/nothing", "/docs", "/metrics"):
        _, _, headers = await fetch(api, "GET", path)
        assert UUID(headers["x-request-id"])
        assert headers["x-api-version"] == "1"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "camera=()" in headers["Permissions-Policy"]
        assert "Strict-Transport-Security" not in headers
    _, _, headers = await fetch(
        api, "GET", "/health", headers={"x-request-id": "ü" * 9}
    )
    assert headers["x-request-id"] == "ü" * 9
    _, _, headers = await fetch(
        api, "GET", "/health", headers={"x-request-id": "x" * 129}
    )
    assert UUID(headers["x-request-id"])


@pytest.mark.parametrize(
    ("asked", "status"),
    [("1", 200), ("2", 400), ("1.0", 400), ("v1", 400), ("x" * 17, 400), ("", 400)],
)
async def test_a_version_that_there_is_not_is_refused(api, asked, status):
    got, body, _ = await api.ask("GET", "/jobs", headers={"X-API-Version": asked})

    assert got == status
    if asked == "2":
        assert body["code"] == "BAD_REQUEST"
        assert body["message"] == ("Unsupported API version: 2. Supported versions: 1")


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON", 201),
        ("application/vnd.acme+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
    ],
)
async def test_a_body_says_that_it_is_json(api, media, status):
    got, body, headers = await api.ask(
        "POST", "/jobs", data=json.dumps(JOB), headers={"Content-Type": media}
    )

    assert got == status
    if status == 415:
        assert body["code"] == "UNSUPPORTED_MEDIA_TYPE"
        assert headers["Accept"] == "application/json"


async def test_a_body_that_does_not_say_what_it_is_is_taken_for_json(api):
    reader, writer = await asyncio.open_connection(*address_of(api))
    body = json.dumps(JOB).encode()
    writer.write(
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
        % (api.tenant.api_key.encode(), len(body), body)
    )
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 201 ")


async def test_any_page_may_read_answers_in_development(api):
    status, body, headers = await fetch(
        api, "OPTIONS", "/api/v1/jobs", headers=PREFLIGHT
    )
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert (
        headers["Access-Control-Allow-Headers"] == "authorization, content-type, x-mine"
    )
    assert "PATCH" in headers["Access-Control-Allow-Methods"]

    # Refusals can be read, too: the words are what helps.
    credentials: tuple[dict[str, str], ...] = ({}, api.tenant.headers)
    for credential in credentials:
        _, _, headers = await fetch(
            api,
            "GET",
            "/api/v1/jobs",
            headers={"Origin": "http://localhost:4321", **credential},
        )
        assert headers["Access-Control-Allow-Origin"] == "*"
        exposed = headers["Access-Control-Expose-Headers"]
        for name in ("x-request-id", "X-RateLimit-Remaining", "X-Has-More", "Link"):
            assert name in exposed


async def test_production_lets_only_the_listed_pages_read(production):
    for origin in ("https://app.example.com", "https://two.example.com:8443"):
        status, _, headers = await fetch(
            production,
            "OPTIONS",
            "/api/v1/jobs",
            headers={**PREFLIGHT, "Origin": origin},
        )
        assert status == 204
        assert headers["Access-Control-Allow-Origin"] == origin
        assert "X-Admin-Key" in headers["Access-Control-Allow-Headers"]
        assert "x-mine" not in headers["Access-Control-Allow-Headers"]
    for origin in ("https://evil.example.com", "http://app.example.com", "null"):
        for method in ("OPTIONS", "GET"):
            _, _, headers = await fetch(
                production, method, "/health", headers={**PREFLIGHT, "Origin": origin}
            )
            assert "Access-Control-Allow-Origin" not in headers
            assert "Origin" in headers["Vary"]


async def test_production_says_neither_its_version_nor_http(production, house, tenant):
    status, body, headers = await fetch(production, "GET", "/health")
    assert status == 200
    assert json.loads(body) == {
        "status": "healthy",
        "database": True,
        "cache": True,
        "bus": True,
    }
    assert headers["Strict-Transport-Security"].startswith("max-age=31536000")
    async with open_api(house, tenant) as api:
        _, body, _ = await fetch(api, "GET", "/health")
        assert json.loads(body)["version"]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip; q=0.000, *;q=0", None),
        ("br;q=1.0, gzip;q=0.5", "br"),
        ("br;q=0.2, GZIP ;q=0.5", "gzip"),
        ("zstd;q=much", None),
        ("", None),
    ],
)
async def test_long_answers_are_packed_for_who_can_unpack(api, accepted, coding):
    job_id = await api.create(payload={"text": "bell " * 1000})
    headers = {**api.tenant.headers, "Accept-Encoding": accepted}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        url = f"{api.base_url}/api/v1/jobs/{job_id}"
        async with session.get(url, headers=headers) as answer:
            body = await answer.read()
            assert answer.headers.get("Content-Encoding") == coding
            assert "Accept-Encoding" in answer.headers["Vary"]
            assert int(answer.headers["Content-Length"]) == len(body)
        async with session.get(f"{api.base_url}/health", headers=headers) as answer:
            assert "Content-Encoding" not in answer.headers
    job = json.loads(UNPACK[coding](body))
    assert job["id"] == job_id


async def test_heads_are_answered_without_a_body(api):
    status, body, headers = await fetch(api, "HEAD", "/docs")

    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1024


async def test_too_long_heads_are_refused_in_json(api):
    for head in (
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/9.1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(*address_of(api))
        writer.write(head)
        answer = await reader.read()
        writer.close()
        top, _, body = answer.partition(b"\r\n\r\n")
        assert b" 400 " in top.split(b"\r\n")[0]
        assert b"application/json" in top, top
        error = json.loads(body)
        assert error["code"] == "BAD_REQUEST", error
        assert error["message"]


async def test_a_body_that_does_not_arrive_in_time_is_told_so(database_url, nats_url):
    tenant = await new_tenant(database_url)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), request_timeout_seconds=0.5
        ) as house,
        open_api(house, tenant) as api,
    ):
        reader, writer = await asyncio.open_connection(*address_of(api))
        writer.write(
            b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: 100\r\n\r\n{" % tenant.api_key.encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        error = json.loads(await reader.readexactly(length_of(head)))
        writer.close()

    assert head.startswith(b"HTTP/1.1 408 ")
    assert error["code"] == "REQUEST_TIMEOUT"
    assert "did not arrive" in error["message"]


async def test_a_create_that_takes_too_long_is_not_said_to_have_failed(
    database_url, nats_url
):
    tenant = await new_tenant(database_url)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), request_timeout_seconds=0.5
        ) as house,
        open_api(house, tenant) as api,
    ):
        await api.create()
        conn = await asyncpg.connect(database_url)
        async with conn.transaction():
            await conn.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            status, error, _ = await api.ask(
                "POST", "/jobs", json={**JOB, "idempotency_key": "once"}
            )
        assert (status, error["code"]) == (408, "REQUEST_TIMEOUT")
        assert "not known whether it was carried out" in error["message"]

        async def committed():
            return await conn.fetchval("SELECT count(*) FROM jobs") == 2

        # Giving up on the answer is not giving up on the job.
        await until(committed)
        body = {**JOB, "idempotency_key": "once"}
        made = await api.ask("POST", "/jobs", json=body, expect=200)
        assert made["created"] is False
        await conn.close()


async def test_the_figures_tell_known_methods_apart(api):
    await fetch(api, "PROPFIND", "/coffee")

    _, text, _ = await fetch(api, "GET", "/metrics")

    assert b'method="OTHER"' in text
    assert b"PROPFIND" not in text


async def test_readiness_that_is_refused_says_why(api, house, own_or_foreign_nats):
    status, body, _ = await fetch(api, "GET", "/health/ready")
    assert (status, body) == (200, b"")
    status, body, _ = await fetch(api, "GET", "/health/live")
    assert (status, body) == (200, b"")


async def test_the_figures_may_ask_for_a_token(database_url, nats_url):
    tenant = await new_tenant(database_url)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), metrics_token="secret"
        ) as house,
        open_api(house, tenant) as api,
    ):
        status, body, _ = await fetch(api, "GET", "/metrics")
        assert (status, json.loads(body)["code"]) == (401, "UNAUTHORIZED")
        bearer = {"Authorization": "Bearer secret"}
        status, body, _ = await fetch(api, "GET", "/metrics", headers=bearer)
        assert (status, b"bellhop_api_requests_total" in body) == (200, True)


def address_of(api):
    host, port = api.base_url.removeprefix("http://").split(":")
    return host, int(port)


def length_of(head):
    (line,) = [
        line
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    return int(line.split(b":")[1])

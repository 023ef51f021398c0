"""The sender shows who it is: tokens that are asked for, used again, and refused."""

import asyncio
import json
from base64 import b64encode
from urllib.parse import parse_qs

import pytest

from libs.common.endpoints import ApiKey, Basic, Bearer, OAuth2
from libs.common.ids import new_id
from libs.common.messages import Verdict
from services.delivery.manners import Manner, Manners
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from tests.support.delivery import SEALER, SECRET_KEY, WHSEC, job, receiver
from tests.support.endpoint import DROP, HANG, Answer, run_endpoint
from tests.support.receivers import run_receiver, saying
from tests.support.waiting import until

CLIENT_SECRET = "hunter2&:+ü"
JSON = {"Content-Type": "application/json"}


def settings(**knobs):
    return Settings(secret_key=SECRET_KEY, **{"environment": "development", **knobs})


@pytest.fixture
async def sender():
    async with open_sender(settings()) as sender:
        yield sender


@pytest.fixture
async def tokens():
    """A token server: it gives T1, T2, … for an hour."""
    async with run_endpoint() as server:
        server.otherwise = lambda _: token(f"T{len(server.requests)}")
        yield server


def token(text="T1", **fields):
    answer = {
        "access_token": text,
        "token_type": "Bearer",
        "expires_in": 3600,
        **fields,
    }
    return Answer(200, json.dumps(answer).encode(), JSON)


def manner_of(auth) -> Manner:
    endpoint_id = str(new_id())
    return Manners(SEALER).of_receiver(endpoint_id, receiver(endpoint_id, auth=auth))


def account_at(url, **fields) -> Manner:
    return manner_of(
        OAuth2(token_url=url, client_id="our id", client_secret=CLIENT_SECRET, **fields)
    )


async def attempt(sender: Sender, url: str, manner: Manner, **fields) -> Verdict:
    return await sender.attempt(
        job(url, b"{}", endpoint_id="e-1", **fields), b"{}", manner, lease_id="lease-1"
    )


def shown(requests) -> list[str]:
    return [request.headers["Authorization"] for request in requests]


# --- what does not change ------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (Basic(username="u", password="p"), "Authorization", "Basic dTpw"),
        (Bearer(token="t"), "Authorization", "Bearer t"),
        (ApiKey(header="X-Api-Key", value="k"), "X-Api-Key", "k"),
    ],
)
async def test_a_credential_goes_with_every_request(
    sender, endpoint, auth, name, value
):
    verdict = await attempt(sender, endpoint.url, manner_of(auth))

    (request,) = endpoint.requests
    request.verify(WHSEC)
    assert (verdict.status, verdict.endpoint_id) == (200, "e-1")
    assert request.headers[name] == value


# --- tokens --------------------------------------------------------------------------


async def test_a_token_is_asked_for_once_and_used_by_all(sender, endpoint, tokens):
    manner = account_at(tokens.url, scope="a b", audience="https://a.example/")
    tokens.answers = [Answer(200, token().body, JSON, delay_seconds=0.1)]

    verdicts = await asyncio.gather(
        *(attempt(sender, endpoint.url, manner) for _ in range(50))
    )
    await attempt(sender, endpoint.url, manner)

    assert {verdict.status for verdict in verdicts} == {200}
    assert set(shown(endpoint.requests)) == {"Bearer T1"}
    (asked,) = tokens.requests
    assert asked.method == "POST"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["https://a.example/"],
    }
    known_as = "our+id:hunter2%26%3A%2B%C3%BC"
    assert shown([asked]) == ["Basic " + b64encode(known_as.encode()).decode()]
    # A token server gets no signature and nothing of the job.
    assert not [name for name in asked.headers if name.lower().startswith("webhook")]


async def test_a_server_that_wants_to_know_us_by_the_form_gets_the_form(
    sender, endpoint, tokens
):
    manner = account_at(tokens.url)
    tokens.answers = [Answer(401), token(expires_in=0.02), token("T2")]

    await attempt(sender, endpoint.url, manner)
    await asyncio.sleep(0.05)
    verdict = await attempt(sender, endpoint.url, manner)

    assert verdict.status == 200
    assert shown(endpoint.requests) == ["Bearer T1", "Bearer T2"]
    by_header, *by_form = tokens.requests
    assert "Authorization" in by_header.headers
    # It is remembered how it wants to be asked.
    assert len(by_form) == 2
    for request in by_form:
        assert "Authorization" not in request.headers
        fields = parse_qs(request.body.decode())
        assert fields["client_id"] == ["our id"]
        assert fields["client_secret"] == [CLIENT_SECRET]


@pytest.mark.parametrize("expires_in", [0.1, "0.1"])
async def test_a_token_is_not_used_when_it_is_about_to_expire(
    sender, endpoint, tokens, expires_in
):
    manner = account_at(tokens.url)
    tokens.answers = [token("T1", expires_in=expires_in)]

    await attempt(sender, endpoint.url, manner)
    await asyncio.sleep(0.06)
    await attempt(sender, endpoint.url, manner)

    assert shown(endpoint.requests) == ["Bearer T1", "Bearer T2"]


async def test_a_token_that_does_not_say_how_long_it_is_good_is_used(
    sender, endpoint, tokens
):
    manner = account_at(tokens.url)
    tokens.answers = [Answer(200, b'{"access_token":"T1","token_type":"bearer"}')]

    await attempt(sender, endpoint.url, manner)
    await attempt(sender, endpoint.url, manner)

    assert shown(endpoint.requests) == ["Bearer T1", "Bearer T1"]


async def test_a_token_that_is_refused_is_replaced_once(sender, endpoint, tokens):
    manner = account_at(tokens.url)
    await attempt(sender, endpoint.url, manner)
    endpoint.otherwise = lambda request: (
        200 if request.headers["Authorization"] == "Bearer T2" else 401
    )

    verdicts = await asyncio.gather(
        *(attempt(sender, endpoint.url, manner) for _ in range(20))
    )

    assert {verdict.status for verdict in verdicts} == {200}
    assert len(tokens.requests) == 2
    for request in endpoint.requests:
        request.verify(WHSEC)


async def test_a_receiver_that_refuses_every_token_is_asked_twice_at_most(
    sender, endpoint, tokens
):
    manner = account_at(tokens.url)
    endpoint.otherwise = Answer(401, b"no", {"Retry-After": "9"})

    first = await attempt(sender, endpoint.url, manner)
    # A new token was refused: another one would not be better.
    assert (len(endpoint.requests), len(tokens.requests)) == (1, 1)
    second = await attempt(sender, endpoint.url, manner)

    assert (len(endpoint.requests), len(tokens.requests)) == (3, 2)
    for verdict in (first, second):
        assert (verdict.status, verdict.body) == (401, b"no")
        assert verdict.retry_after == "9"


async def test_no_header_of_a_job_is_taken_for_the_token(sender, endpoint, tokens):
    manner = account_at(tokens.url)

    await attempt(
        sender, endpoint.url, manner, headers={"authorization": "Bearer theirs"}
    )

    assert endpoint.requests[0].headers.getall("Authorization") == ["Bearer T1"]


# --- no token ------------------------------------------------------------------------


def failed(verdict: Verdict) -> str:
    """Check that this was a failed attempt that tells nothing, and return why."""
    assert verdict.sent
    assert verdict.status is None
    assert verdict.body == b""
    assert verdict.headers is None
    assert verdict.error is not None
    assert verdict.error.startswith("token server: ")
    for word in ("hunter2", "our id", "127.0.0.1", "leak"):
        assert word not in verdict.error
    return verdict.error.removeprefix("token server: ")


NO_TOKEN = "its answer is no token"
NOT_OURS = "its answer is no token that we can use"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(400, b'{"error":"leak"}', JSON), "HTTP 400"),
        (Answer(401, b"leak"), "HTTP 401"),
        (Answer(500, b"leak"), "HTTP 500"),
        (Answer(302, b"", {"Location": "http://127.0.0.1/leak"}), "HTTP 302"),
        (Answer(204), "HTTP 204"),
        (Answer(200, b"leak"), NO_TOKEN),
        (Answer(200, b""), NO_TOKEN),
        (Answer(200, b"{}"), NO_TOKEN),
        (Answer(200, b'{"access_token":7}'), NO_TOKEN),
        (Answer(200, b"[" * 16_000), NO_TOKEN),
        (Answer(200, b" " * 1_000_000 + token().body), NO_TOKEN),
        (token(expires_in="leak"), NO_TOKEN),
        (token(""), NOT_OURS),
        (token("a\r\nX-Leak: b"), NOT_OURS),
        (token("a b"), NOT_OURS),
        (token("ü"), NOT_OURS),
        (token("x" * 8001), NOT_OURS),
        (token(token_type="mac"), NOT_OURS),
        (token(expires_in="nan"), NOT_OURS),
        (DROP, "connection closed before the answer"),
    ],
    ids=repr,
)
async def test_without_a_token_nothing_is_sent_and_nothing_is_told(
    sender, endpoint, tokens, answer, why
):
    tokens.otherwise = answer

    verdict = await attempt(sender, endpoint.url, account_at(tokens.url))

    assert failed(verdict) == why
    assert endpoint.requests == []


async def test_a_token_server_that_hangs_costs_the_attempts_time_and_no_more(
    sender, endpoint, tokens
):
    manner = account_at(tokens.url)
    tokens.answers = [HANG]
    began = asyncio.get_running_loop().time()

    verdicts = await asyncio.gather(
        *(attempt(sender, endpoint.url, manner, timeout_seconds=0.3) for _ in range(9))
    )

    assert {verdict.error for verdict in verdicts} == {"timeout after 0.3 s"}
    assert asyncio.get_running_loop().time() - began < 5
    # It has recovered, and so do we.
    assert (await attempt(sender, endpoint.url, manner)).status == 200


async def test_a_refusal_is_not_asked_for_again_at_once(sender, endpoint, tokens):
    manner = account_at(tokens.url)
    tokens.answers = [Answer(503, b"", {}, delay_seconds=0.1)]

    verdicts = await asyncio.gather(
        *(attempt(sender, endpoint.url, manner) for _ in range(30))
    )

    assert {failed(verdict) for verdict in verdicts} == {"HTTP 503"}
    assert len(tokens.requests) == 1

    async def delivered():
        return (await attempt(sender, endpoint.url, manner)).status == 200

    await until(delivered)


@pytest.mark.parametrize("body", [b"x" * 1024, b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_token_server_that_never_ends_is_cut(sender, endpoint, body):
    async def talk(_, writer):
        if body.startswith(b"x"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(body)
            await writer.drain()

    async with run_receiver(talk) as server:
        verdict = await attempt(sender, endpoint.url, account_at(server.url))

    assert failed(verdict) in {
        NO_TOKEN,
        "answer is malformed or its headers are too large",
    }


async def test_the_way_to_a_token_server_is_guarded_too(endpoint):
    async with (
        run_receiver(saying(b"")) as server,
        open_sender(settings(delivery_allowed_cidrs="127.0.0.1/32")) as sender,
    ):
        url = f"http://127.0.0.2:{server.port}/"
        verdict = await attempt(sender, endpoint.url, account_at(url))
        assert failed(verdict) == "address not allowed"

        verdict = await attempt(sender, endpoint.url, account_at("nonsense"))
        assert failed(verdict) == "address not allowed"

    assert (server.connections, endpoint.requests) == (0, [])


async def test_no_secret_is_written_down(sender, endpoint, tokens, capsys):
    tokens.answers = [Answer(400, b"hunter2"), Answer(400), token("s3cr3t")]
    manner = account_at(tokens.url)

    verdicts = [await attempt(sender, endpoint.url, manner) for _ in range(2)]

    said = "".join(capsys.readouterr()) + repr(verdicts) + repr(manner)
    for secret in ("hunter2", "s3cr3t", "our id"):
        assert secret not in said

"""Webhooks that are signed: each provider's becomes a job, once, as it came."""

import asyncio
import json
import socket
import time
from base64 import b64encode
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from uuid import uuid4

import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support import senders
from tests.support.house import new_tenant, run_house
from tests.support.senders import EXAMPLES, SECRET, STANDARD_SECRET, configure, deliver


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
def send(api):
    """Send (provider, headers, body) to the organization, or to another *org*."""
    return partial(deliver, api)


async def logged(api):
    return await api.ask("GET", "/webhooks/deliveries", expect=200)


async def jobs(api):
    return await api.ask("GET", "/jobs", expect=200)


async def stored(conn, job_id):
    return await conn.fetchval("SELECT payload FROM jobs WHERE id = $1::uuid", job_id)


async def test_d30_what_each_signs_becomes_a_job_once(api, send, conn):
    for provider, example in EXAMPLES.items():
        sign, secret, body, event, id_, queue, type_ = example
        assert (await send(provider, sign(body), body))[0] == 401
        await configure(api, provider, secret=secret)

        first = await send(provider, sign(body), body)
        again = await send(provider, sign(body), body)

        assert first == (
            200,
            {
                "job_id": first[1]["job_id"],
                "message_id": None,
                "queue_name": queue,
                "status": "created",
            },
        )
        assert again == (200, {**first[1], "status": "duplicate"})
        job_id = first[1]["job_id"]
        assert await stored(conn, job_id) == body.decode()
        job = await api.job(job_id)
        assert job["queue_name"] == queue
        shop = {"shop": "acme.myshopify.com"} if provider == "shopify" else {}
        assert job["tags"] == {
            "provider": provider,
            "event": event,
            "delivery_id": id_,
            **shop,
        }
        assert job["idempotency_key"] == f"incoming:{provider}:{id_}"
        (listed,) = await api.ask("GET", f"/jobs?job_type={type_}", expect=200)
        assert listed["id"] == job_id
        repeat, line = (await logged(api))[:2]
        assert [line["status"], repeat["status"]] == ["created", "duplicate"]
        assert {
            name: (line[name], repeat[name])
            for name in ("provider", "event_type", "delivery_id", "job_id")
        } == {
            "provider": (provider, provider),
            "event_type": (event, event),
            "delivery_id": (id_, id_),
            "job_id": (job_id, job_id),
        }


async def test_whatever_is_not_signed_rightly_is_refused_alike(api, send, database_url):
    other = await new_tenant(database_url, slug="other")
    words = set()
    for provider, (sign, secret, body, *_) in EXAMPLES.items():
        await configure(api, provider, secret=secret)
        good = sign(body)
        await send(provider, good, body)
        for headers, sent, org in (
            (good, body + b" ", api.tenant.id),
            (good, body, other.id),
            (good, body, uuid4()),
        ):
            status, refused = await send(provider, headers, sent, org=org)
            assert (status, refused["code"]) == (401, "UNAUTHORIZED")
            words.add(refused["message"])
        status, refused = await send(provider, {}, body)
        assert (status, refused["code"]) == (401, "UNAUTHORIZED")
        assert (await send(provider, good, body, org="nobody"))[0] == 404

    assert words == {"Authentication failed"}
    assert len(await jobs(api)) == len(EXAMPLES) == len(await logged(api))


async def test_what_was_signed_long_ago_or_far_ahead_is_refused(api, send):
    for provider in ("stripe", "slack", "standard"):
        sign, secret, body, *_ = EXAMPLES[provider]
        await configure(api, provider, secret=secret)
        now = int(time.time())
        for off, status in ((-320, 401), (320, 401), (-280, 200), (280, 200)):
            found, said = await send(provider, sign(body, at=now + off), body)
            assert found == status, (provider, off)
            if status == 401:
                assert "300 seconds" in said["message"]


async def test_a_header_that_comes_twice_proves_nothing(api, send, house):
    """Of two ids one might be proven and the other be taken for the delivery's."""
    await configure(api, "standard", secret=STANDARD_SECRET)
    sign, _, body, *_ = EXAMPLES["standard"]
    headers = sign(body)
    for name, value in list(headers.items())[1:]:
        for twice in ([(name, "x"), (name, value)], [(name, value), (name, "x")]):
            rest = [(k, v) for k, v in headers.items() if k != name]
            status, _ = await send("standard", [*rest, *twice], body)
            assert status == 401, name
    assert await jobs(api) == []


async def test_slack_asks_first_and_is_told(api, send):
    await configure(api, "slack", secret=SECRET)
    body = b'{"type":"url_verification","challenge":"3eZbrw1aB10FEMAGAZd4FyFQ"}'

    asked = await send("slack", senders.slack(body), body)
    forged = await send("slack", senders.slack(body, secret="forged"), body)

    assert asked == (200, {"challenge": "3eZbrw1aB10FEMAGAZd4FyFQ"})
    assert forged[0] == 401
    assert await jobs(api) == await logged(api) == []


async def test_a_command_of_slack_is_json_and_answered_with_nothing(api, send, conn):
    await configure(api, "slack", secret=SECRET)
    body = senders.form(command="/deploy", text="now \u00fc", trigger_id="1.2.3")
    headers = senders.slack(body, media=senders.FORM)

    assert await send("slack", headers, body) == (200, None)
    assert await send("slack", headers, body) == (200, None)

    (job,) = await jobs(api)
    assert job["queue_name"] == "slack-slash_command"
    assert json.loads(await stored(conn, job["id"])) == {
        "command": "/deploy",
        "text": "now \u00fc",
        "trigger_id": "1.2.3",
    }
    assert [line["status"] for line in await logged(api)] == ["duplicate", "created"]


async def test_a_form_of_github_is_the_json_in_it(api, send, conn):
    await configure(api, "github", secret=SECRET)
    body = senders.form(payload='{"zen": 1.0}')

    status, taken = await send("github", senders.github(body, media=senders.FORM), body)

    assert status == 200
    assert await stored(conn, taken["job_id"]) == '{"zen": 1.0}'


@pytest.mark.parametrize("library", [standardwebhooks, svix])
async def test_what_others_sign_by_their_libraries_is_believed(api, send, library):
    await configure(api, "standard", secret=STANDARD_SECRET)
    body, now = '{"type": "user.created", "name": "\u00fc"}', datetime.now(UTC)
    prefix = "svix" if library is svix else "webhook"
    headers = {
        "Content-Type": senders.JSON,
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": str(int(now.timestamp())),
        f"{prefix}-signature": library.Webhook(STANDARD_SECRET).sign(
            "msg_1", now, body
        ),
    }

    assert (await send("standard", headers, body.encode()))[0] == 200
    headers[f"{prefix}-id"] = "msg_2"
    assert (await send("standard", headers, body.encode()))[0] == 401


async def test_a_public_key_proves_what_its_owner_signed(api, send):
    key = Ed25519PrivateKey.generate()
    public = "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()
    await configure(api, "standard", secret=public)
    body = EXAMPLES["standard"][2]
    headers = senders.standard(body)
    signed = f"msg_1.{headers['webhook-timestamp']}.".encode() + body
    signature = b64encode(key.sign(signed)).decode()

    assert (await send("standard", headers, body))[0] == 401
    headers["webhook-signature"] += f" v1a,{signature}"
    assert (await send("standard", headers, body))[0] == 200


async def test_what_is_believed_and_makes_no_sense_is_refused_in_words(api, send):
    await configure(api, "github", secret=SECRET)
    body = b"no json"
    status, refused = await send("github", senders.github(body), body)
    assert (status, refused["code"]) == (400, "INVALID_JSON")
    body = b"{}"
    headers = senders.github(body)
    del headers["X-GitHub-Event"]
    status, refused = await send("github", headers, body)
    assert (status, refused["details"][0]["field"]) == (400, "X-GitHub-Event")
    assert await jobs(api) == []


async def test_strange_words_are_kept_as_they_can_be(api, send):
    await configure(api, "stripe", secret=SECRET)
    body = senders.spelled({"id": "\x00" * 300, "type": "\u00fc/\x00" * 300})

    first = await send("stripe", senders.stripe(body), body)
    again = await send("stripe", senders.stripe(body), body)

    assert first[0] == 200
    assert again == (200, {**first[1], "status": "duplicate"})
    (line, _) = await logged(api)
    assert line["event_type"].isascii()
    assert line["delivery_id"].startswith("sha256:")


async def test_a_body_that_is_too_large_is_not_read(api, send):
    await configure(api, "github", secret=SECRET)
    body = b'"' + b"x" * (2 * 1024 * 1024) + b'"'

    status, refused = await send("github", senders.github(body), BytesIO(body))

    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_headers_and_bodies_of_any_bytes_end_in_a_refusal(api, house, tenant):
    """Over a bare connection: nobody's client would send these."""
    for provider, (_, secret, *_) in EXAMPLES.items():
        await configure(api, provider, secret=secret)
    hostile = [
        b"\xff\xfe\x80",
        b"v1,\xc3\x28 v1 v1,, v1a,=",
        b"t=\xd9\xa1,v1=\xff",
        b"sha256=" + b"0" * 4000,
        b"v0=" + b"\xf0\x9f\x92\xa9",
        b",=,=,;",
    ]
    port = int(house.base_url.rsplit(":", 1)[1])
    for provider in EXAMPLES:
        for value in hostile:
            for body in (b"", b"\x00\xff", b'{"type":'):
                status = await asyncio.to_thread(
                    bare, port, tenant.id, provider, value, body
                )
                assert status in {400, 401}, (provider, value, body)
    assert await jobs(api) == []


def bare(port, org, provider, value, body):
    names = (
        "X-Hub-Signature-256",
        "X-GitHub-Event",
        "X-GitHub-Delivery",
        "Stripe-Signature",
        "X-Shopify-Hmac-Sha256",
        "X-Slack-Signature",
        "webhook-signature",
        "webhook-id",
    )
    now = str(int(time.time())).encode()
    head = [
        f"POST /api/v1/webhooks/{org}/{provider} HTTP/1.1".encode(),
        b"Host: x",
        b"Connection: close",
        f"Content-Length: {len(body)}".encode(),
        b"X-Slack-Request-Timestamp: " + now,
        b"webhook-timestamp: " + now,
        *(name.encode() + b": " + value for name in names),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(b"\r\n".join([*head, b"", body]))
        return int(wire.recv(100).split(b" ", 2)[1])


async def test_what_came_of_webhooks_is_counted_and_nothing_of_them_is_told(
    api, send, capfd
):
    async def counted():
        async with api.session.get(f"{api.base_url}/metrics") as answer:
            return [
                line
                for line in (await answer.text()).splitlines()
                if line.startswith("bellhop_incoming_webhooks_total{")
            ]

    await configure(api, "github", secret=SECRET)
    body = senders.spelled({"private": "body of the tests"})
    await send("github", senders.github(body, delivery="counted"), body)
    await send("github", senders.github(body, secret="forged"), body)
    await send("github", {}, body)

    lines = " ".join(await counted())
    said = capfd.readouterr()
    assert "body of the tests" not in said.out + said.err
    assert SECRET not in said.out + said.err
    for outcome in ("created", "forged", "unsigned"):
        assert f'outcome="{outcome}",provider="github"' in lines

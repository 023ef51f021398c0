"""No log says what only its owner may know, whatever goes wrong.

The services run as processes, at the level that is logged by default, through what
works and what fails; then all that they wrote is searched for what was a secret.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from functools import partial
from urllib.parse import quote, urlsplit

import aiohttp
import nats
import pytest

from libs.cli.embedded.ports import free_port
from libs.common.subjects import ingest_subject
from tests.support.endpoint import DROP, Answer
from tests.support.house import ADMIN_KEY, SECRET_KEY
from tests.support.processes import ROOT
from tests.support.sessions import bearer, login
from tests.support.waiting import until

#: Stands in all that is said and must not be written.
MARK = "m4rked"
HOUSE_SECRETS = {"secret key": SECRET_KEY, "admin key": ADMIN_KEY}


def marked(what):
    return f"{MARK}-{what}"


AUTHS = {
    "basic": {"kind": "basic", "username": "u", "password": marked("password")},
    "bearer": {"kind": "bearer", "token": marked("bearer")},
    "api_key": {"kind": "api_key", "header": "X-Key", "value": marked("key")},
}


@pytest.fixture
async def streamer(processes):
    """Where streams are."""
    port = free_port()
    await processes.start("streamer", http_port=port)
    return f"http://127.0.0.1:{port}"


async def carry(api, endpoint):
    """Let webhooks of all kinds succeed, fail, and be refused; return more secrets."""
    found = {"signing secret": api.tenant.signing_secret, "key": api.tenant.api_key}
    oauth = {
        "kind": "oauth2",
        "token_url": endpoint.url_of(f"/token/{marked('path')}"),
        "client_id": "c",
        "client_secret": marked("client"),
    }
    endpoint.otherwise = Answer(500, body=marked("answer").encode())
    endpoint.answers = [200, DROP, Answer(401, body=marked("refusal").encode())]
    for name, auth in {**AUTHS, "oauth2": oauth, "none": None}.items():
        made = await api.ask(
            "POST",
            "/endpoints",
            json={
                "url": endpoint.url_of(f"/{name}?token={marked('query')}"),
                "headers": {"X-Own": marked("header")},
                **({"auth": auth} if auth else {}),
            },
            expect=201,
        )
        found[f"secret of {name}"] = made["secret"]
        await api.ask("POST", f"/endpoints/{made['id']}/test")
    body = {"event_type": "a.b", "payload": {"n": marked("payload")}}
    await api.ask("POST", "/messages", json=body, expect=201)
    target = {
        "url": endpoint.url_of(f"/?key={marked('query')}"),
        "headers": {"X-Own": marked("header")},
    }
    jobs = [
        await api.create(target, payload={"n": marked("payload")}, max_retries=0),
        await api.create(
            {"url": f"http://127.0.0.1:{free_port()}/{marked('path')}"},
            payload={"n": marked("payload")},
            max_retries=0,
        ),
    ]
    for job in jobs:
        await until(partial(has_ended, api, job), at_most=60)
    await until(lambda: len(endpoint.requests) >= 8, at_most=60)
    return found


async def has_ended(api, job_id):
    job = await api.job(job_id)
    return job["status"] in {"completed", "deadletter"}


async def come_in(api):
    """Let a webhook in that is not signed, and what is no JSON."""
    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    body = {"secret": marked("source-secret-0123456789")}
    await api.ask("PUT", "/incoming-webhooks/github", json=body, expect=200)
    path = f"/webhooks/{api.tenant.id}/github"
    await api.ask(
        "POST",
        path,
        data=json.dumps({"a": marked("payload")}),
        headers={
            "X-Hub-Signature-256": "sha256=" + "0" * 64,
            "X-Webhook-Token": made["webhook_token"],
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": "1",
        },
    )
    for data in (b'{"queue_name": "mail", "payload": "m4rked', b"\xff m4rked"):
        headers = {"Content-Type": "application/json"}
        await api.ask("POST", "/jobs", data=data, headers=headers, expect=400)
    return {"webhook token": made["webhook_token"]}


async def knock(api, streamer):
    """Show credentials, good and bad, in all the places where they may stand."""
    pair = await login(api)
    bad = f"sk_live_{marked('0' * 30)}"
    forged = f"{pair['access_token'].rpartition('.')[0]}.{MARK}"
    for credential in (api.tenant.api_key, pair["access_token"], bad, forged):
        await api.ask("GET", "/jobs", headers=bearer(credential))
        for door in ("/api/v1/events", "/api/v1/ws"):
            url = f"{streamer}{door}?token={quote(credential)}"
            # Who is let in stays: the first byte is enough.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(5), api.session.get(url) as answer:
                    await answer.content.readany()
    await api.ask("GET", "/admin/organizations", headers={"X-Admin-Key": bad})
    await api.ask("POST", "/auth/login", json={"api_key": bad})
    await api.ask("POST", "/auth/refresh", json={"refresh_token": forged})
    return {name: pair[name] for name in ("access_token", "refresh_token")}


async def say(api, nats_url):
    """Say over NATS what no service says, and ask with a bad key."""
    client = await nats.connect(nats_url)
    said = json.dumps({"pod": marked("payload"), "verdicts": marked("payload")})
    for subject in (
        "bellhop.results.any",
        "bellhop.work.delivery",
        "bellhop.attempt",
        "bellhop.bodies",
        "bellhop.wake.push",
        f"bellhop.events.{api.tenant.id}.mail.x.completed",
    ):
        await client.publish(subject, said.encode())
        await client.publish(subject, marked("payload").encode())
    subject = ingest_subject(str(api.tenant.id), "mail")
    headers = {"Bellhop-Key": marked("key")}
    await client.request(subject, b'{"payload": {}}', headers=headers, timeout=30)
    await client.close()


async def misconfigured(nats_url, database_url, logs):
    """Start services that cannot work; return when they have said so."""
    wrong = {
        "keys": {"BELLHOP_SECRET_KEY": marked("secret"), "DATABASE_URL": database_url},
        "database": {"DATABASE_URL": f"{MARK}://u:{MARK}@127.0.0.1:9/x"},
        "password": {"DATABASE_URL": with_password(database_url)},
        "nats": {"DATABASE_URL": database_url, "NATS_URL": f"nats://u:{MARK}@[x"},
    }
    await asyncio.gather(
        *(
            fail_to_start(nats_url, environment, logs / f"without-{what}.log")
            for what, environment in wrong.items()
        )
    )


async def fail_to_start(nats_url, environment, path):
    """Start an ingest that cannot work; return when it has said so, or gone."""
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.ingest"),
            cwd=ROOT,
            env={
                **os.environ,
                "NATS_URL": with_password(nats_url),
                "BELLHOP_SECRET_KEY": SECRET_KEY,
                "BELLHOP_HEALTH_PORT": "0",
                "BELLHOP_HTTP_PORT": "0",
                "BELLHOP_GRPC_PORT": "0",
                **environment,
            },
            stderr=log,
            stdout=log,
        )
        await until(
            lambda: process.returncode is not None or path.stat().st_size, at_most=120
        )
        if process.returncode is None:
            # It keeps trying, as it should.
            process.terminate()
            await process.wait()


def with_password(url):
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}"
    return parts._replace(netloc=f"{parts.username}:{MARK}@{host}").geturl()


@pytest.mark.timeout(600)
async def test_no_secret_is_logged(
    api, streamer, endpoint, processes, nats_server, database_url, tmp_path
):
    secrets = {
        **HOUSE_SECRETS,
        "password of Postgres": urlsplit(database_url).password,
        "password of NATS": urlsplit(nats_server.url).password,
        **await carry(api, endpoint),
        **await come_in(api),
        **await knock(api, streamer),
    }
    await say(api, nats_server.url)
    await nats_server.kill()
    await api.create(payload={"n": marked("payload")})
    await nats_server.start()
    await until(lambda: api.create(endpoint.url, payload={"n": MARK}), at_most=30)
    await misconfigured(nats_server.url, database_url, tmp_path)

    written = {log.name: log.read_text() for log in tmp_path.glob("*.log")}
    assert {"ingest.log", "dispatcher.log", "delivery.log"} <= written.keys()
    assert "attempt.ended" in written["delivery.log"]
    assert "bus.unreadable" in written["dispatcher.log"]
    assert "BELLHOP_SECRET_KEY" in written["without-keys.log"]
    found = [
        (name, what, line[:300])
        for name, text in written.items()
        for line in text.splitlines()
        for what, secret in {**secrets, "mark": MARK}.items()
        if secret and any(spelled in line for spelled in spellings(secret))
    ]
    assert found == []


def spellings(secret):
    """Return a secret as it is, and as it goes into URLs and headers."""
    return secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()

"""Messages to endpoints that want to know who we are, from the API to the wire."""

import json

import svix.webhooks

from libs.common.verification import Verifier
from tests.support.certificates import Authority
from tests.support.endpoint import Answer, run_endpoint
from tests.support.endpoints import create_endpoint, send
from tests.support.waiting import until


async def ended(api, sent):
    """Return the deliveries of a message when none of them is open."""

    async def found():
        message = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
        deliveries = message["deliveries"]
        assert {one["status"] for one in deliveries} <= {"completed", "deadletter"}
        return deliveries

    return await until(found, at_most=20)


async def test_a_message_goes_over_mutual_tls_to_a_private_authority(api, carrying):
    ours, theirs = Authority("ours"), Authority("theirs")
    client = ours.issue("bellhop")
    tls = {
        "client_certificate": client.certificate,
        "client_key": client.key,
        "ca": theirs.pem,
    }
    async with run_endpoint(tls=theirs.server(clients_of=ours)) as server:
        made = await create_endpoint(api, url=server.url, tls=tls)
        # Nobody believes that authority but the endpoint that named it.
        other = await create_endpoint(api, url=server.url, max_retries=0)
        assert client.key not in json.dumps([made, other])

        sent = await send(api, "invoice.paid", {"n": 1})
        deliveries = {one["endpoint_id"]: one for one in await ended(api, sent)}

        assert deliveries[made["id"]]["status"] == "completed"
        assert deliveries[other["id"]]["status"] == "deadletter"
        (request,) = server.requests
    svix.webhooks.Webhook(made["secret"]).verify(request.body, dict(request.headers))
    assert request.id == sent["id"]
    attempts = await api.attempts(deliveries[other["id"]]["job_id"])
    assert [one["error"] for one in attempts] == [
        "TLS: unable to get local issuer certificate"
    ]


async def test_a_message_shows_a_token_that_was_asked_for(api, endpoint):
    async with run_endpoint() as tokens:
        tokens.otherwise = lambda _: Answer(
            200,
            json.dumps(
                {"access_token": f"T{len(tokens.requests)}", "token_type": "Bearer"}
            ).encode(),
        )
        endpoint.otherwise = lambda request: (
            200 if request.headers["Authorization"] == "Bearer T2" else 401
        )
        auth = {
            "kind": "oauth2",
            "token_url": tokens.url,
            "client_id": "c",
            "client_secret": "s",
        }
        await create_endpoint(
            api,
            url=endpoint.url,
            auth=auth,
            retry={"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0},
        )

        (delivery,) = await ended(api, await send(api, "a.b", {}))

    # The first token was new, and refused; the second attempt asked for another.
    assert delivery["status"] == "completed"
    attempts = await api.attempts(delivery["job_id"])
    assert [one["status_code"] for one in attempts] == [401, 200]
    shown = [request.headers["Authorization"] for request in endpoint.requests]
    assert shown == ["Bearer T1", "Bearer T1", "Bearer T2"]


async def test_a_message_is_signed_by_a_key_that_only_we_have(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url, signature_scheme="v1a")

    (delivery,) = await ended(api, await send(api, "a.b", {"n": 1}))

    assert delivery["status"] == "completed"
    (request,) = endpoint.requests
    Verifier([made["public_key"]]).verify(request.body, request.headers)

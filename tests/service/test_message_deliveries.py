"""Messages as their receivers get them, and what is kept of it."""

import io
import json
from datetime import datetime

import pytest
import standardwebhooks
import svix.webhooks

from libs.common.verification import Verifier
from tests.support.endpoint import Answer, run_endpoint
from tests.support.endpoints import create_endpoint, send
from tests.support.waiting import until

JSON = {"Content-Type": "application/json"}


async def settled(api, sent, *, status="completed"):
    """Return the deliveries of a message when all have ended so."""

    async def check():
        shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
        found = shown["deliveries"]
        return found if all(one["status"] == status for one in found) else None

    return await until(check, at_most=20)


async def test_every_endpoint_gets_the_bytes_signed_with_its_own_key(api, endpoint):
    async with run_endpoint() as second:
        one = await create_endpoint(api, url=endpoint.url, headers={"X-Team": "ledger"})
        other = await create_endpoint(api, url=second.url, signature_scheme="v1a")
        spelled = b'{ "b":1.50, "a" : "\\u00fc" }'
        body = b'{"event_type":"invoice.paid","payload":' + spelled + b"}"
        status, sent, _ = await api.ask(
            "POST", "/messages", data=io.BytesIO(body), headers=JSON
        )
        assert (status, sent["deliveries"]) == (201, 2)

        [first], [asymmetric] = (
            await endpoint.received(1),
            await second.received(1),
        )
        deliveries = await settled(api, sent)

    assert first.body == asymmetric.body == spelled
    assert first.id == asymmetric.id == sent["id"]
    assert first.method == "POST"
    assert first.headers["X-Team"] == "ledger"
    assert first.headers["Content-Type"] == "application/json"
    # As strangers see it.
    first.verify(one["secret"])
    svix.webhooks.Webhook(one["secret"]).verify(spelled, dict(first.headers))
    Verifier([other["public_key"]]).verify(spelled, asymmetric.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        asymmetric.verify(one["secret"])
    for delivery in deliveries:
        assert (delivery["last_status_code"], delivery["last_error"]) == (200, None)
        assert delivery["attempts"] == 1
        assert delivery["completed_at"]


@pytest.mark.parametrize(
    "spelled",
    [b'[ 1.50, {"b":2, "a":"\\u00fc"} ]', f'"{"ü" * 400_000}"'.encode()],
    ids=["small", "fetched by the pod"],
)
async def test_an_envelope_goes_around_the_untouched_payload(
    api, endpoint, conn, spelled
):
    made = await create_endpoint(api, url=endpoint.url, format="envelope")
    body = b'{"payload":' + spelled + b',"event_type":"invoice.paid"}'

    _, sent, _ = await api.ask("POST", "/messages", data=io.BytesIO(body), headers=JSON)
    [got] = await endpoint.received(1)

    got.verify(made["secret"])
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    envelope = json.loads(got.body)
    assert list(envelope) == ["type", "timestamp", "data"]
    assert envelope["type"] == "invoice.paid"
    moment = datetime.fromisoformat(envelope["timestamp"])
    assert moment == datetime.fromisoformat(shown["created_at"])
    assert got.body.endswith(b'"data":' + spelled + b"}")
    assert shown["payload"] == json.loads(spelled)
    # The job shows what it sends, and nobody stores it.
    job = await api.job(shown["deliveries"][0]["job_id"])
    assert job["payload"] == envelope
    assert await conn.fetchval("SELECT payload FROM jobs") is None


async def test_a_cloud_event_has_its_attributes_in_headers(api, endpoint):
    made = await create_endpoint(
        api, url=endpoint.url, format="cloudevents", headers={"X-Team": "ledger"}
    )

    sent = await send(api, "invoice.paid", {"n": 1}, ordering_key='50 % "é"')
    [got] = await endpoint.received(1)

    got.verify(made["secret"])
    assert json.loads(got.body) == {"n": 1}
    attributes = {
        name.lower(): value
        for name, value in got.headers.items()
        if name.lower().startswith("ce-")
    }
    assert attributes.pop("ce-time").endswith("Z")
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-id": sent["id"],
        "ce-source": f"/organizations/{api.tenant.id}",
        "ce-type": "invoice.paid",
        "ce-partitionkey": "50%20%25%20%22%C3%A9%22",
    }
    assert got.headers["X-Team"] == "ledger"


async def test_a_change_counts_from_the_next_attempt_on(api, endpoint):
    """URL, headers and secret are the endpoint's, not the job's."""
    endpoint.otherwise = 503
    made = await create_endpoint(
        api,
        url=endpoint.url_of("/old"),
        headers={"X-V": "1"},
        retry={"strategy": "schedule", "schedule_seconds": [1]},
        max_retries=5,
    )
    sent = await send(api, "a", {"n": 1})
    [first] = await endpoint.received(1)

    path = f"/endpoints/{made['id']}"
    change = {"url": endpoint.url_of("/new"), "headers": {"X-V": "2"}}
    await api.ask("PATCH", path, json=change, expect=200)
    rotated = await api.ask(
        "POST", f"{path}/secret/rotate", json={"overlap_seconds": 0}, expect=200
    )
    endpoint.otherwise = 200
    await settled(api, sent)

    last = endpoint.requests[-1]
    assert (first.path, first.headers["X-V"]) == ("/old", "1")
    assert (last.path, last.headers["X-V"]) == ("/new", "2")
    first.verify(made["secret"])
    last.verify(rotated["secret"])
    assert first.id == last.id == sent["id"]


async def test_while_two_secrets_sign_both_receivers_believe(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url)
    rotated = await api.ask(
        "POST", f"/endpoints/{made['id']}/secret/rotate", expect=200
    )
    await send(api, "a", {"n": 1})

    [got] = await endpoint.received(1)

    got.verify(made["secret"])
    got.verify(rotated["secret"])
    current, old = got.headers["webhook-signature"].split(" ")
    assert current.startswith("v1,")
    assert old.startswith("v1,")


async def test_what_an_endpoint_was_sent_is_listed_the_latest_first(api, endpoint):
    made = await create_endpoint(
        api,
        url=endpoint.url,
        retry={"strategy": "schedule", "schedule_seconds": [0.2]},
        max_retries=1,
    )
    other = await create_endpoint(api, url=endpoint.url, event_types=["other"])
    endpoint.answers = [Answer(500, b"no \xff", {"X-Why": "because"}), 200]
    sent = await send(api, "invoice.paid", {"n": 1})
    await settled(api, sent)
    path = f"/endpoints/{made['id']}/attempts"

    listed = await api.ask("GET", path, expect=200)

    assert [(one["attempt"], one["outcome"]) for one in listed] == [
        (2, "delivered"),
        (1, "refused"),
    ]
    for one in listed:
        assert one["message_id"] == one["webhook_id"] == sent["id"]
        assert one["event_type"] == "invoice.paid"
    assert listed[1]["status_code"] == 500
    assert listed[1]["response_body"] == "no \N{REPLACEMENT CHARACTER}"
    assert listed[1]["response_headers"]["x-why"] == "because"
    for query, attempts in {
        "?status=failed": [1],
        "?status=delivered": [2],
        "?status=nonsense": [2, 1],
        "?limit=1": [2],
        "?limit=1&offset=1": [1],
        "?status=failed&offset=1": [],
    }.items():
        status, page, headers = await api.ask("GET", path + query)
        assert status == 200
        assert [one["attempt"] for one in page] == attempts, query
        more = "true" if query == "?limit=1" else "false"
        assert headers["X-Has-More"] == more, query
    assert await api.ask("GET", f"/endpoints/{other['id']}/attempts", expect=200) == []


# --- tests ---------------------------------------------------------------------------


async def tried(api, made, **body):
    """Return how a test went, as soon as a pod is there to make it."""
    path = f"/endpoints/{made['id']}/test"

    async def check():
        said = await api.ask("POST", path, json=body, expect=200)
        return None if said["error"] == "no delivery pod is up" else said

    return await until(check, at_most=10)


async def test_a_test_is_made_like_a_delivery_and_is_none(api, endpoint, conn):
    made = await create_endpoint(
        api,
        url=endpoint.url,
        enabled=False,
        format="envelope",
        event_types=["invoice.*"],
        auth={"kind": "bearer", "token": "s3cret"},
    )
    endpoint.otherwise = Answer(202, b"thanks")

    said = await tried(api, made)

    assert said.pop("response_time_ms") > 0
    assert said == {
        "success": True,
        "status_code": 202,
        "error": None,
        "response_body": "thanks",
    }
    got = endpoint.requests[-1]
    got.verify(made["secret"])
    assert got.headers["Authorization"] == "Bearer s3cret"
    body = json.loads(got.body)
    assert body["type"] == "endpoint.test"
    assert body["data"] == {"test": True, "endpoint_id": made["id"]}
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0
    assert await conn.fetchval("SELECT count(*) FROM attempts") == 0


async def test_a_test_may_bring_its_own_words(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url, format="cloudevents")

    await tried(api, made, event_type="invoice.paid", payload=None)

    got = endpoint.requests[-1]
    assert got.body == b"null"
    assert got.headers["ce-type"] == "invoice.paid"


async def test_a_test_tells_what_went_wrong(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url)
    endpoint.otherwise = Answer(418, b"short and stout")
    said = await tried(api, made)
    assert (said["success"], said["status_code"]) == (False, 418)
    assert said["response_body"] == "short and stout"
    assert said["error"]

    nobody = await create_endpoint(api, url="http://127.0.0.1:9/")
    said = await tried(api, nobody)
    assert (said["success"], said["status_code"]) == (False, None)
    assert said["error"]
    assert said["response_body"] is None


async def test_without_a_pod_a_test_says_so(house, api):
    await house.stop("delivery") if "delivery" in house.running else None
    made = await create_endpoint(api)

    said = await api.ask("POST", f"/endpoints/{made['id']}/test", expect=200)

    assert said == {
        "success": False,
        "status_code": None,
        "response_time_ms": 0.0,
        "error": "no delivery pod is up",
        "response_body": None,
    }


async def test_a_test_has_the_size_of_a_message_on_the_bus(api):
    made = await create_endpoint(api)
    path = f"/endpoints/{made['id']}/test"

    error = await api.ask("POST", path, json={"payload": "x" * 300_000}, expect=400)

    assert error["details"][0]["field"] == "payload"

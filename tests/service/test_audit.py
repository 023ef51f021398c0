"""What guards something is never changed, nor shown, without a line in the log."""

import json

import structlog

from tests.support.endpoints import create_endpoint
from tests.support.house import ADMIN_KEY

ADMIN = {"X-Admin-Key": ADMIN_KEY}


async def told(asking):
    """Return what is told of while *asking* runs, and what it returned."""
    with structlog.testing.capture_logs() as logs:
        returned = await asking
    return [one for one in logs if one["event"] == "request.audited"], returned


async def test_a_change_is_told_with_who_made_it_and_no_secret(api, tenant):
    made = await create_endpoint(api)

    lines, answers = await told(
        api.ask(
            "POST",
            f"/endpoints/{made['id']}/secret/rotate",
            json={"overlap_seconds": 60},
            headers={"x-request-id": "it was me"},
        )
    )

    assert lines == [
        {
            "event": "request.audited",
            "log_level": "info",
            "route": "endpoint_secrets_rotate",
            "of": {"id": made["id"]},
            "status": 200,
            "organization_id": str(tenant.id),
            "api_key_id": lines[0]["api_key_id"],
            "by": "key",
            "client": "127.0.0.1",
            "request_id": "it was me",
        }
    ]
    [key] = await api.ask("GET", "/api-keys", expect=200)
    assert lines[0]["api_key_id"] == key["id"]
    assert answers[1]["secret"] not in json.dumps(lines)


async def test_what_shows_a_secret_is_told(api):
    lines, _ = await told(api.ask("GET", "/organizations/signing-secret", expect=200))
    more, _ = await told(api.ask("GET", "/organizations/webhook-token", expect=200))

    assert [one["route"] for one in lines] == ["signing_secrets_read"]
    assert [one["route"] for one in more] == ["webhook_tokens_read"]


async def test_who_may_not_is_told_and_nobody_is_not(api):
    made = await api.ask("POST", "/api-keys", json={"name": "n", "queues": ["a"]})
    scoped = {"Authorization": f"Bearer {made[1]['key']}"}
    nobody = {"Authorization": "Bearer sk_live_nobody"}

    refused, _ = await told(
        api.ask("POST", "/api-keys", json={"name": "m"}, headers=scoped)
    )
    unknown, _ = await told(
        api.ask("POST", "/api-keys", json={"name": "m"}, headers=nobody)
    )

    assert [(one["api_key_id"], one["status"]) for one in refused] == [
        (made[1]["id"], 403)
    ]
    assert unknown == []


async def test_the_administrator_is_told_as_such(api, tenant):
    path = f"/admin/organizations/{tenant.id}"

    lines, _ = await told(
        api.ask("PATCH", path, json={"weight": 2}, headers=ADMIN, expect=200)
    )
    wrong, _ = await told(
        api.ask("PATCH", path, json={"weight": 3}, headers={"X-Admin-Key": "guess"})
    )

    assert [(one["route"], one["by"], one["of"]) for one in lines] == [
        ("admin_change", "admin", {"id": str(tenant.id)})
    ]
    assert wrong == []


async def test_work_is_not(api):
    async def work():
        job_id = await api.create()
        await api.ask(
            "POST", "/jobs/claim", json={"queue_name": "mail", "worker_id": "w"}
        )
        await api.ask("POST", f"/jobs/{job_id}/complete", json={"worker_id": "w"})
        await api.ask("GET", "/api-keys", expect=200)

    assert await told(work()) == ([], None)

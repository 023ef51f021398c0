"""Where releases and clients of the compatible API disagree: one test a decision.

The numbers are those of the contract's table.  What is pushed to watchers (D12 to D14),
workflows (D7) and webhooks that come in (D30) have their tests where they are served;
gRPC's (D2 to D4, D22) are at the gRPC door.
"""

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.house import ADMIN_KEY, open_api, run_house

WORKER = "worker-1"
ADMIN = {"X-Admin-Key": ADMIN_KEY}


def test_every_decision_has_its_test():
    texts = [file.read_text() for file in Path(__file__).parent.glob("test_*.py")]
    tested = {
        int(row) for text in texts for row in re.findall(r"def test_d(\d+)_", text)
    }

    assert tested == set(range(1, 31))


async def claim(api, *, worker=WORKER, **fields):
    body = {"queue_name": "mail", "worker_id": worker, **fields}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


def settle(api, job_id, how, *, worker=WORKER, **fields):
    needed: dict[str, dict[str, Any]] = {
        "fail": {} if "reason" in fields else {"error": "no"},
        "heartbeat": {"lease_duration_secs": 30},
        "complete": {},
    }
    body = {"worker_id": worker, **needed[how], **fields}
    return api.ask("POST", f"/jobs/{job_id}/{how}", json=body)


@pytest.mark.parametrize("how", ["complete", "fail", "heartbeat"])
async def test_d1_a_lease_id_is_optional_and_strict_when_given(api, how):
    await api.create()
    (job,) = await claim(api)

    wrong, refusal, _ = await settle(api, job["id"], how, lease_id=str(uuid4()))
    without, said, _ = await settle(api, job["id"], how)

    assert (wrong, refusal["code"]) == (409, "LEASE_EXPIRED")
    assert "does not match the job's current lease" in refusal["message"]
    assert (without, said) == (200, {"success": True})


async def test_d1_a_setting_asks_for_the_lease_id(database_url, nats_url, tenant):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), require_lease_id=True
        ) as house,
        open_api(house, tenant) as api,
    ):
        await api.create()
        (job,) = await claim(api)

        status, body, _ = await settle(api, job["id"], "complete")
        done, _, _ = await settle(api, job["id"], "complete", lease_id=job["lease_id"])

    assert (status, body["details"][0]["field"], done) == (400, "lease_id", 200)


@pytest.mark.parametrize("prefix", ["sk", "sp"])
async def test_d5_the_prefix_of_keys_is_a_setting(
    database_url, nats_url, tenant, prefix
):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), api_key_prefix=prefix
        ) as house,
        open_api(house, tenant) as api,
    ):
        made = await api.ask("POST", "/api-keys", json={"name": "n"}, expect=201)
        status, _, _ = await api.ask(
            "GET", "/jobs", headers={"Authorization": f"Bearer {made['key']}"}
        )

    assert made["key"].startswith(f"{prefix}_live_")
    assert len(made["key"].removeprefix(f"{prefix}_live_")) == 43
    assert status == 200


async def test_d6_the_webhook_token_can_be_cleared_in_development_only(
    api, database_url, nats_url, tenant
):
    path = "/organizations/webhook-token/clear"
    await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    cleared, _, _ = await api.ask("POST", path)
    token = await api.ask("GET", "/organizations/webhook-token", expect=200)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), environment="production"
        ) as house,
        open_api(house, tenant) as production,
    ):
        refused, _, _ = await production.ask("POST", path, json={"confirm": True})

    assert (cleared, token["webhook_token"], refused) == (200, None, 400)


@pytest.mark.parametrize("path", ["/auth/check-email", "/auth/email/check"])
async def test_d8_an_address_is_checked_at_two_paths(api, path):
    body = await api.ask("GET", path, params={"email": "a@example.com"}, expect=200)

    assert body["exists"] is False
    assert {"available", "signup_enabled"} <= body.keys()


@pytest.mark.parametrize("query", ["hard=true", "hard_delete=true"])
async def test_d9_an_organization_is_deleted_hard_by_either_name(api, query):
    made = await api.ask(
        "POST",
        "/admin/organizations",
        json={"name": "Gone", "slug": "gone"},
        headers=ADMIN,
        expect=201,
    )
    path = f"/admin/organizations/{made['organization']['id']}"

    await api.ask("DELETE", f"{path}?{query}", headers=ADMIN, expect=204)

    status, _, _ = await api.ask("GET", path, headers=ADMIN)
    assert status == 404


@pytest.mark.parametrize(
    "field", ["depends_on", "dependency_job_ids", "depends_on_job_ids"]
)
async def test_d10_dependencies_have_three_names_and_one_answer(api, field):
    parent, child = await api.create(), await api.create()

    body = await api.ask(
        "POST", f"/jobs/{child}/dependencies", json={field: [parent]}, expect=200
    )

    assert body["job_id"] == child
    assert body["dependencies_met"] is False
    assert body["dependencies_added"] == body["added_count"] == 1
    assert "added" in body


async def test_d11_a_webhook_token_has_two_names_and_an_address(api):
    body = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)

    assert body["webhook_token"] == body["token"]
    assert body["webhook_url"].startswith("http")


@pytest.mark.parametrize("name", ["token", "api_key"])
async def test_d13_a_credential_in_the_address_opens_streams_only(
    house, tenant, api, name
):
    async with api.session.get(
        f"{house.base_url}/api/v1/jobs", params={name: tenant.api_key}
    ) as answer:
        assert answer.status == 401


async def test_d15_summaries_say_retries_under_both_names(api):
    await api.create(payload={"job_type": "t"}, tags=["x"])

    (job,) = await api.ask("GET", "/jobs", expect=200)

    assert (job["retry_count"], job["attempt"], job["max_retries"]) == (0, 0, 3)
    assert (job["job_type"], job["tags"], job["last_error"]) == ("t", ["x"], None)


async def test_d16_a_quota_is_429_without_retry_after(api, house):
    made = await api.ask(
        "POST",
        "/admin/organizations",
        json={"name": "Free", "slug": "free-one", "plan_tier": "free"},
        headers=ADMIN,
        expect=201,
    )
    key = {"Authorization": f"Bearer {made['api_key']['key']}"}
    jobs = {"queue_name": "q", "jobs": [{"payload": n} for n in range(11)]}

    status, body, headers = await api.ask("POST", "/jobs/bulk", json=jobs, headers=key)
    listed = await api.ask("GET", "/jobs", headers=key, expect=200)

    assert (status, body["code"], body["error"]) == (
        429,
        "QUOTA_EXCEEDED",
        "limit_exceeded",
    )
    assert (body["resource"], body["limit"], body["plan"]) == (
        "active_jobs",
        10,
        "free",
    )
    assert "Retry-After" not in headers
    assert listed == []


async def test_d17_an_unknown_queue_cannot_be_paused(api):
    status, body, _ = await api.ask("POST", "/queues/nobody/pause")

    assert (status, body["code"]) == (404, "NOT_FOUND")


async def test_d18_deleting_queues(api):
    await api.create(queue_name="implicit")
    await api.ask("PUT", "/queues/busy/config", json={}, expect=200)
    await api.create(queue_name="busy")
    await api.ask("PUT", "/queues/idle/config", json={}, expect=200)

    async def delete(name):
        return (await api.ask("DELETE", f"/queues/{name}"))[0]

    assert await delete("unknown") == 404
    assert await delete("implicit") == 409
    assert await delete("busy") == 409
    assert await delete("idle") == 204
    assert await delete("busy?delete_jobs=true") == 204
    left = await api.ask("GET", "/queues", expect=200)
    assert [queue["queue_name"] for queue in left] == ["implicit"]


@pytest.mark.parametrize("how", ["complete", "fail", "heartbeat"])
async def test_d19_another_worker_finds_no_such_job(api, how):
    await api.create()
    (job,) = await claim(api)

    status, body, _ = await settle(api, job["id"], how, worker="somebody-else")

    assert (status, body["code"]) == (404, "NOT_FOUND")


async def test_d20_a_second_complete_is_a_conflict(api):
    await api.create()
    (job,) = await claim(api)
    await settle(api, job["id"], "complete")

    status, body, _ = await settle(api, job["id"], "complete")

    assert (status, body["code"]) == (409, "CONFLICT")
    assert body["message"] == "Job is already completed"


async def test_d21_a_limit_is_moved_into_its_range(api):
    await asyncio.gather(*(api.create() for _ in range(3)))

    for limit, expected in (("200", 3), ("0", 1), ("-5", 1), ("many", 3)):
        assert len(await api.ask("GET", f"/jobs?limit={limit}", expect=200)) == expected


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"queue_name": "", "payload": {}}', 400, "VALIDATION_ERROR"),
        (b'{"payload": {}}', 422, "VALIDATION_ERROR"),
        (b'{"queue_name": 7, "payload": {}}', 422, "VALIDATION_ERROR"),
        (b'{"queue_name": ', 400, "INVALID_JSON"),
    ],
)
async def test_d23_what_is_wrong_with_a_body(api, body, status, code):
    got, said, _ = await api.ask(
        "POST", "/jobs", data=body, headers={"Content-Type": "application/json"}
    )

    assert (got, said["code"]) == (status, code)


@pytest.mark.parametrize(
    "header", [("Authorization", "Bearer {}"), ("X-API-Key", "{}")]
)
async def test_d24_a_key_comes_in_either_header(house, tenant, api, header):
    name, form = header
    async with api.session.get(
        f"{house.base_url}/api/v1/jobs", headers={name: form.format(tenant.api_key)}
    ) as answer:
        assert answer.status == 200


async def test_d25_logins_of_a_key_are_limited_by_a_setting(
    database_url, nats_url, tenant
):
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), login_rate_per_minute=5
        ) as house,
        open_api(house, tenant) as api,
    ):
        answers = [
            await api.ask("POST", "/auth/login", json={"api_key": tenant.api_key})
            for _ in range(8)
        ]

    assert [status for status, _, _ in answers].count(200) == 5
    assert answers[-1][1]["code"] == "RATE_LIMIT_EXCEEDED"


async def test_d26_no_cache_is_a_cache_that_works(house, api):
    async with api.session.get(f"{house.base_url}/health") as answer:
        body = await answer.json()

    assert (body["status"], body["database"], body["cache"]) == ("healthy", True, True)


async def test_d27_a_bulk_names_the_queue_once_or_for_each(api):
    body = {
        "queue_name": "one",
        "jobs": [{"payload": 1}, {"payload": 2, "queue_name": "two"}],
    }

    await api.ask("POST", "/jobs/bulk", json=body, expect=200)

    listed = await api.ask("GET", "/jobs", expect=200)
    assert sorted(job["queue_name"] for job in listed) == ["one", "two"]


@pytest.mark.parametrize("field", ["default_timeout", "timeout_seconds"])
async def test_d28_a_queues_timeout_has_two_names(api, field):
    body = await api.ask("PUT", "/queues/mail/config", json={field: 77}, expect=200)

    assert body["default_timeout"] == 77


@pytest.mark.parametrize("field", ["error", "reason"])
async def test_d29_a_failure_says_why_under_two_names(api, field):
    job_id = await api.create()
    (job,) = await claim(api)

    status, _, _ = await settle(api, job["id"], "fail", **{field: "because"})

    assert status == 200
    assert (await api.job(job_id))["last_error"] == "because"


@pytest.mark.parametrize("more", [{"no_retry": True}, {"retry": False}])
async def test_d29_a_failure_can_be_the_last(api, more):
    job_id = await api.create(max_retries=5)
    (job,) = await claim(api)

    await settle(api, job["id"], "fail", **more)

    assert (await api.job(job_id))["status"] == "deadletter"

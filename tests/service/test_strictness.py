"""What a body says and we do not know: refused where it would hurt, else told."""

import pytest

from tests.support.house import ADMIN_KEY, new_tenant, open_api, run_house

ADMIN = {"X-Admin-Key": ADMIN_KEY}
GOOD = {"queue_name": "mail", "payload": {"n": 1}}


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
async def api(house):
    tenant = await new_tenant(house.database_url)
    async with open_api(house, tenant) as api:
        yield api


async def dead_in(api, queue):
    """Make a dead letter; return its id."""
    job = await api.create(queue_name=queue, max_retries=0)
    (claimed,) = (
        await api.ask(
            "POST",
            "/jobs/claim",
            json={"queue_name": queue, "worker_id": "w"},
            expect=200,
        )
    )["jobs"]
    await api.ask(
        "POST",
        f"/jobs/{job}/fail",
        json={"worker_id": "w", "lease_id": claimed["lease_id"], "error": "no"},
        expect=200,
    )
    await api.until_status(job, "deadletter")
    return job


async def letters(api):
    return {row["id"] for row in await api.ask("GET", "/jobs/dlq", expect=200)}


async def test_a_misspelt_filter_neither_purges_nor_retries(api):
    one, other = await dead_in(api, "dead"), await dead_in(api, "mail")

    for path, body, field in (
        ("/jobs/dlq/purge", {"confirm": True, "queues": "dead"}, "queues"),
        ("/jobs/dlq/retry", {"jobids": [one]}, "jobids"),
    ):
        status, refused, _ = await api.ask("POST", path, json=body)
        assert (status, refused["code"]) == (400, "VALIDATION_ERROR")
        assert refused["details"][0]["field"] == field
    assert await letters(api) == {one, other}

    purged = await api.ask(
        "POST",
        "/jobs/dlq/purge",
        json={"confirm": True, "queue": "dead"},
        expect=200,
    )
    assert purged == {"purged_count": 1}
    assert await letters(api) == {other}
    retried = await api.ask(
        "POST", "/jobs/dlq/retry", json={"queue": "mail"}, expect=200
    )
    assert retried["retried_jobs"] == [other]


async def test_the_administrator_is_told_of_a_field_that_there_is_not(api):
    path = "/admin/organizations"
    made = await api.ask(
        "POST",
        path,
        headers=ADMIN,
        json={
            "name": "Mine",
            "slug": "mine",
            "plan_tier": "enterprise",
            "settings": {"a": 1},
            "custom_limits": {"max_queues": 3},
        },
        expect=201,
    )
    assert made["organization"]["plan_tier"] == "enterprise"
    one = f"{path}/{made['organization']['id']}"
    key = {"name": "k", "rate_limit": 7, "expires_at": "2999-01-01T00:00:00Z"}
    new = await api.ask("POST", f"{one}/api-keys", headers=ADMIN, json=key, expect=201)
    assert new["expires_at"].startswith("2999-01-01")

    for method, where, body in (
        ("POST", path, {"name": "Other", "slug": "other", "plan": "enterprise"}),
        ("PATCH", one, {"plan": "free"}),
        ("PUT", one, {"plan": "free"}),
        ("POST", f"{one}/api-keys", {**key, "queue": ["mail"]}),
    ):
        status, refused, _ = await api.ask(method, where, headers=ADMIN, json=body)
        assert (status, refused["code"]) == (400, "VALIDATION_ERROR"), where
    there = await api.ask("GET", one, headers=ADMIN, expect=200)
    assert there["plan_tier"] == "enterprise"


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "/jobs", {**GOOD, "prio": 1, "delay_seconds": 5}, "prio, del"),
        ("POST", "/jobs", GOOD, None),
        ("POST", "/jobs", {**GOOD, "a\r\nb,c\u20ac": 1, "": 1}, "a??b?c?, ?"),
        ("POST", "/jobs", {**GOOD, **{f"x{n}": n for n in range(20)}}, "x0, x1"),
        ("POST", "/jobs", {"prio": 1}, "prio"),
        ("POST", "/jobs", [1], None),
        ("POST", "/jobs/bulk", {"jobs": [GOOD], "default_prio": 1}, "default_prio"),
        ("POST", "/jobs/claim", {"wait_secs": 1}, "wait_secs"),
        ("PUT", "/queues/mail/config", {"concurrency": 1}, "concurrency"),
        ("PUT", "/queues/mail/config", {"settings": {"concurrency": 1}}, None),
        ("POST", "/queues/mail/pause", {"why": "x"}, "why"),
    ],
)
async def test_an_answer_names_the_fields_that_were_ignored(
    api, method, path, body, said
):
    _, _, headers = await api.ask(method, path, json=body)

    ignored = headers.get("X-Ignored-Fields")
    if said is None:
        assert ignored is None
    else:
        assert ignored.startswith(said)
        assert ignored.isascii()
        assert len(ignored.split(", ")) <= 10


async def test_a_name_of_a_job_that_has_two_is_not_taken_for_ignored(api):
    job = await api.create()

    for word in ("reason", "error"):
        body = {"worker_id": "w", word: "no"}
        _, _, headers = await api.ask("POST", f"/jobs/{job}/fail", json=body)
        assert "X-Ignored-Fields" not in headers


async def test_a_script_may_read_what_was_ignored(api):
    _, _, headers = await api.ask("POST", "/jobs", json=GOOD, headers={"Origin": "x"})

    assert "X-Ignored-Fields" in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"retry": {}}, "retry.strategy", "must be exponential or schedule"),
        (
            {"retry": {"strategy": "never"}},
            "retry.strategy",
            "must be exponential or schedule",
        ),
        (
            {"retry": {"strategy": "exponential", "max_retries": 1}},
            "retry.max_retries",
            "is not a field we know here",
        ),
        ({"retry": 5}, "retry", "must be a JSON object"),
        (
            {"retry": {"strategy": "schedule", "schedule_seconds": []}},
            "retry.schedule_seconds",
            "must have at least 1 item",
        ),
        (
            {"retry": {"strategy": "schedule", "schedule_seconds": [1] * 101}},
            "retry.schedule_seconds",
            "must have at most 100 items",
        ),
        (
            {"idempotency_key": "k" * 256},
            "idempotency_key",
            "must have at most 255 characters",
        ),
        ({"priority": 101}, "priority", "must be at most 100"),
        ({"queue_name": ""}, "queue_name", "Queue name must be 1-100 characters"),
    ],
)
async def test_a_fault_is_said_where_it_is_and_in_plain_words(
    api, change, field, words
):
    status, refused, _ = await api.ask("POST", "/jobs", json={**GOOD, **change})

    assert status in {400, 422}
    assert refused["code"] == "VALIDATION_ERROR"
    (fault,) = refused["details"]
    assert (fault["field"], fault["message"]) == (field, words)


async def test_a_body_that_is_no_object_is_told_what_to_be(api):
    status, refused, _ = await api.ask("POST", "/jobs", json=[1])

    assert (status, refused["message"]) == (422, "body: must be a JSON object")


async def test_a_job_that_spoils_no_other_is_told_what_is_wrong_with_it(api):
    bulk = {
        "queue_name": "mail",
        "jobs": [{"payload": 1}, {"payload": 1, "priority": 101}],
    }

    done = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)

    (failed,) = done["failed"]
    assert failed == {
        "index": 1,
        "code": "VALIDATION_ERROR",
        "error": "jobs.1.priority: must be at most 100",
        "details": [
            {
                "field": "jobs.1.priority",
                "message": "must be at most 100",
                "code": "less_than_equal",
            }
        ],
    }

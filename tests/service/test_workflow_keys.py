"""One key, one workflow, whoever asks and however often at once."""

import asyncio

import pytest

from tests.support.flows import claim, complete, create, read, step
from tests.support.house import new_tenant, open_api
from tests.support.tenants import scoped, stranger

JOBS = [step("a"), step("b", "a"), step("c", "a", "b")]
BODY = {"name": "Flow", "metadata": {"n": 1.5}, "jobs": JOBS}


async def ask(api, key, *, header=True, **changes):
    """Ask for the workflow under a key; return the status and what is said."""
    body = {**BODY, **changes}
    headers = {"Idempotency-Key": key} if header else {}
    if not header:
        body["idempotency_key"] = key
    status, said, _ = await api.ask("POST", "/workflows", json=body, headers=headers)
    return status, said


async def counts(conn):
    """Return how many there are of what a workflow consists of."""
    tables = ("workflows", "workflow_jobs", "jobs", "dependencies", "journal")
    return {
        name: await conn.fetchval(f"SELECT count(*) FROM {name}") for name in tables
    }


@pytest.mark.parametrize("header", [True, False])
async def test_the_same_request_gets_the_same_workflow(api, conn, header):
    status, first = await ask(api, "k", header=header)
    before = await counts(conn)
    again, second = await ask(api, "k", header=header)

    assert (status, again) == (200, 200)
    assert (first["created"], second["created"]) == (True, False)
    assert {**second, "created": True} == first
    assert [one["key"] for one in first["job_ids"]] == ["a", "b", "c"]
    assert await counts(conn) == before
    assert before["workflows"] == 1


async def test_it_is_the_same_when_it_has_come_further(api):
    _, first = await ask(api, "k")
    jobs = await claim(api)
    more = {"worker_id": "worker-1", "jobs": [step("d")]}
    await api.ask("POST", f"/workflows/{first['id']}/jobs", json=more, expect=200)
    await complete(api, jobs["a"])

    _, second = await ask(api, "k")

    assert (second["id"], second["created"]) == (first["id"], False)
    # The jobs that were asked for, and how it stands now.
    assert second["job_ids"] == first["job_ids"]
    assert (second["status"], second["completed_jobs"]) == ("running", 1)
    assert second["total_jobs"] == 4


async def test_a_key_may_be_quoted_and_members_in_any_order(api):
    _, first = await ask(api, '"order-7"')
    status, second = await ask(
        api, "order-7", jobs=[dict(reversed(one.items())) for one in JOBS]
    )

    assert (status, second["id"]) == (200, first["id"])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Another"},
        {"metadata": None},
        {"policy": "fail_fast"},
        {"jobs": JOBS[:2]},
        {"jobs": [step("a", priority=1), *JOBS[1:]]},
        {"jobs": [step("a", payload={"step": "z"}), *JOBS[1:]]},
    ],
)
async def test_under_the_header_another_request_is_refused(api, conn, changes):
    await ask(api, "k")
    before = await counts(conn)

    status, said = await ask(api, "k", **changes)

    assert (status, said["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await counts(conn) == before


async def test_under_the_field_it_is_answered_with_the_workflow_there_is(api):
    _, first = await ask(api, "k", header=False)

    status, second = await ask(api, "k", header=False, jobs=[step("z")])

    assert (status, second["created"]) == (200, False)
    assert (second["id"], second["job_ids"]) == (first["id"], first["job_ids"])


async def test_header_and_field_must_agree_and_be_keys(api):
    headers = {"Idempotency-Key": "b"}
    for body, sent in (
        ({**BODY, "idempotency_key": "a"}, headers),
        ({**BODY, "idempotency_key": "x" * 256}, {}),
        (BODY, {"Idempotency-Key": "x" * 256}),
        (BODY, {"Idempotency-Key": '""'}),
    ):
        status, said, _ = await api.ask("POST", "/workflows", json=body, headers=sent)
        assert (status, said["details"][0]["field"]) == (400, "idempotency_key"), sent


async def test_what_was_refused_has_taken_no_key(api, conn):
    status, _ = await ask(api, "k", jobs=[step("a", "unknown")])
    assert status == 400

    status, said = await ask(api, "k")

    assert (status, said["created"]) == (200, True)


@pytest.mark.parametrize("limits", [None, {"max_workflows": 1, "max_active_jobs": 3}])
async def test_twenty_at_once_make_one_workflow(api, conn, database_url, limits):
    one = api if limits is None else await stranger(api, database_url, **limits)

    answers = await asyncio.gather(*(ask(one, "storm") for _ in range(20)))

    assert {status for status, _ in answers} == {200}
    assert sorted(said["created"] for _, said in answers) == [False] * 19 + [True]
    assert len({said["id"] for _, said in answers}) == 1
    assert len({str(said["job_ids"]) for _, said in answers}) == 1
    found = await counts(conn)
    assert (found["workflows"], found["jobs"], found["workflow_jobs"]) == (1, 3, 3)
    if limits is not None:
        # A repeat costs nothing, and there is no room for another.
        usage = await one.ask("GET", "/organizations/usage", expect=200)
        assert usage["usage"]["jobs_today"]["current"] == 3
        status, said = await ask(one, "another")
        assert (status, said["code"]) == (429, "QUOTA_EXCEEDED")


async def test_of_two_requests_for_a_key_at_once_one_is_refused(api, conn):
    answers = await asyncio.gather(
        *(ask(api, "k", name=f"Flow {n % 2}") for n in range(20))
    )

    made = {said["name"] for status, said in answers if status == 200}
    assert len(made) == 1
    assert sorted(status for status, _ in answers) == [200] * 10 + [422] * 10
    assert (await counts(conn))["workflows"] == 1


async def test_jobs_and_workflows_have_keys_of_their_own(api):
    job = await api.create(idempotency_key="k")

    status, said = await ask(api, "k")

    assert (status, said["created"]) == (200, True)
    assert job not in {one["job_id"] for one in said["job_ids"]}


async def test_another_organizations_key_is_another_key(api, house, database_url):
    _, ours = await ask(api, "k")
    other = await new_tenant(database_url, slug="stranger")
    async with open_api(house, other) as theirs:
        status, said = await ask(theirs, "k")

    assert (status, said["created"]) == (200, True)
    assert said["id"] != ours["id"]


async def test_who_may_not_see_it_is_told_nothing_of_it(api):
    await ask(api, "k", header=False)
    for_mail = await scoped(api, "mail")

    status, said = await ask(
        for_mail, "k", header=False, jobs=[step("a", queue_name="mail")]
    )

    assert (status, said["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert "id" not in said


async def test_without_a_key_each_request_is_another_workflow(api):
    first, second = await create(api, step("a")), await create(api, step("a"))

    assert first["id"] != second["id"]
    assert (first["created"], second["created"]) == (True, True)
    assert (await read(api, first["id"]))["total_jobs"] == 1

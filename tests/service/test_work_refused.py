"""Who does not hold a job, and what they are told (contract 1.0, 4.2)."""

from dataclasses import replace

import pytest

from libs.common.ids import new_id
from tests.support.endpoint import HANG
from tests.support.house import new_tenant, open_api
from tests.support.waiting import until
from tests.support.work import (
    BODIES,
    EXPIRED,
    MISMATCH,
    all_refused,
    claim,
    claimed_job,
    let_leases_run_out,
    refused,
    say,
)

NOT_FOUND = dict.fromkeys(BODIES, ("NOT_FOUND", "Resource not found"))
NOT_ITS_LEASE = dict.fromkeys(BODIES, ("LEASE_EXPIRED", MISMATCH))
TOO_LATE = {verb: ("LEASE_EXPIRED", words) for verb, words in EXPIRED.items()}


async def test_an_unknown_job_is_not_found(still):
    for name in (str(new_id()), "nonsense"):
        assert await all_refused(still, name, 404) == NOT_FOUND


async def test_a_job_that_nobody_has_begun_is_not_found(still):
    job_id = await still.create()

    for said in ({}, {"lease_id": str(new_id())}):
        assert await all_refused(still, job_id, 404, **said) == NOT_FOUND


async def test_another_worker_finds_nothing_without_a_lease_id(still):
    job = await claimed_job(still)

    assert await all_refused(still, job, 404, worker="w2") == NOT_FOUND
    named = {"worker": "w2", "lease_id": job["lease_id"]}
    assert await all_refused(still, job, 409, **named) == NOT_ITS_LEASE


async def test_another_lease_id_is_not_the_jobs(still):
    job = await claimed_job(still)

    for lease_id in (str(new_id()), "nonsense", "x\x00y"):
        named = {"lease_id": lease_id}
        assert await all_refused(still, job, 409, **named) == NOT_ITS_LEASE
    assert (await still.job(job["id"]))["status"] == "processing"


async def test_a_lease_that_ran_out_settles_nothing(still, still_house):
    job = await claimed_job(still)
    await let_leases_run_out(still_house)

    for said in ({}, {"lease_id": job["lease_id"]}):
        assert await all_refused(still, job, 409, **said) == TOO_LATE


async def test_who_lost_a_job_that_waits_again_is_told_so(still):
    job = await claimed_job(still)
    await say(still, "fail", job)

    for said in ({}, {"lease_id": job["lease_id"]}):
        assert await all_refused(still, job, 409, **said) == TOO_LATE
    # Who never had it is told no more than that it is not theirs.
    assert await all_refused(still, job, 404, worker="w2") == NOT_FOUND
    named = {"worker": "w2", "lease_id": job["lease_id"]}
    assert await all_refused(still, job, 409, **named) == NOT_ITS_LEASE


@pytest.mark.parametrize("status", ["completed", "deadletter", "cancelled"])
async def test_what_has_ended_stays_so(still, status):
    if status == "cancelled":
        job = {"id": await still.create(), "lease_id": str(new_id())}
        await still.ask("DELETE", f"/jobs/{job['id']}", expect=204)
    else:
        job = await claimed_job(still)
        given_up = {"no_retry": True} if status == "deadletter" else {}
        await say(still, "fail" if given_up else "complete", job, **given_up)
    conflict = dict.fromkeys(BODIES, ("CONFLICT", f"Job is already {status}"))

    for said in ({}, {"lease_id": job["lease_id"]}, {"worker": "w2"}):
        assert await all_refused(still, job, 409, **said) == conflict


async def test_the_jobs_of_others_are_not_found(still_house, still):
    job = await claimed_job(still)
    stranger = await new_tenant(still_house.database_url, slug="stranger")

    async with open_api(still_house, stranger) as other:
        for said in ({}, {"lease_id": job["lease_id"]}):
            assert await all_refused(other, job, 404, **said) == NOT_FOUND

    assert (await still.job(job["id"]))["status"] == "processing"


async def test_a_key_for_other_queues_finds_nothing(still):
    job = await claimed_job(still)
    key = await still.ask(
        "POST", "/api-keys", json={"name": "other", "queues": ["other"]}, expect=201
    )
    scoped = replace(still, tenant=replace(still.tenant, api_key=key["key"]))

    for said in ({}, {"lease_id": job["lease_id"]}):
        assert await all_refused(scoped, job, 404, **said) == NOT_FOUND
    await say(still, "complete", job)


async def test_a_webhooks_job_is_no_workers(api, endpoint):
    endpoint.otherwise = HANG
    job_id = await api.create(endpoint.url)
    shown = await api.until_status(job_id, "processing")
    said = {"worker": shown["assigned_worker_id"]}

    assert await all_refused(api, job_id, 404, **said) == NOT_FOUND
    said["lease_id"] = shown["lease_id"]
    assert await all_refused(api, job_id, 409, **said) == NOT_ITS_LEASE


async def test_the_first_owner_is_refused_and_the_second_unharmed(api, house):
    job_id = await api.create()
    [first] = await claim(api)
    await let_leases_run_out(house)
    [second] = await until(lambda: claim(api, worker="w2"), at_most=10)

    for verb in BODIES:
        late = await refused(api, verb, job_id, 409, lease_id=first["lease_id"])
        assert late == ("LEASE_EXPIRED", MISMATCH)
        assert (await refused(api, verb, job_id, 404))[0] == "NOT_FOUND"

    await say(api, "complete", second, worker="w2", lease_id=second["lease_id"])
    assert (await api.job(job_id))["status"] == "completed"

"""Queues are deleted: with what stands in them, when that is asked for (D18)."""

from tests.service.test_queues import claim, complete, configure, names


async def test_a_queue_without_open_jobs_is_deleted_and_its_history_stays(api):
    job_id = await api.create()
    await configure(api, max_retries=9)
    status, body, _ = await api.ask("DELETE", "/queues/mail")
    assert (status, body["code"]) == (409, "CONFLICT")
    [job] = await claim(api)
    assert (await api.ask("DELETE", "/queues/mail"))[0] == 409
    await complete(api, job)

    await api.ask("DELETE", "/queues/mail", expect=204)

    assert await names(api) == []
    assert (await api.ask("GET", "/queues/mail"))[0] == 404
    assert (await api.ask("DELETE", "/queues/mail"))[0] == 404
    assert (await api.job(job_id))["status"] == "completed"


async def test_a_deleted_queue_comes_back_with_its_next_job(api):
    """Ingest remembers lanes, and must not remember this one."""
    await api.create()
    await configure(api, max_retries=9)
    await api.ask("DELETE", "/queues/mail?delete_jobs=true", expect=204)
    assert await names(api) == []

    job_id = await api.create()

    assert await names(api) == ["mail"]
    assert (await api.job(job_id))["max_retries"] == 3
    assert (await api.ask("GET", "/queues/mail", expect=200))["id"] == "implicit:mail"
    assert [job["id"] for job in await claim(api)] == [job_id]


async def test_a_queue_that_exists_by_its_jobs_goes_only_with_them(api):
    job = await api.create()
    status, body, _ = await api.ask("DELETE", "/queues/mail")
    assert (status, body["code"]) == (409, "CONFLICT")

    await api.ask("DELETE", "/queues/mail?delete_jobs=true", expect=204)

    assert (await api.job(job))["status"] == "cancelled"
    assert await api.history(job) == ["created", "cancelled"]


async def test_with_its_jobs_it_goes_wherever_they_stand(api, endpoint):
    """Ready, scheduled, waiting, in work, dead, finished, push or not."""
    first = await api.create()
    [job] = await claim(api, limit=1)
    await api.ask(
        "POST",
        f"/jobs/{first}/fail",
        json={"worker_id": "w-1", "error": "no", "retry": False},
        expect=200,
    )
    done = await api.create()
    [job] = await claim(api, limit=1)
    await complete(api, job)
    in_work = await api.create()
    [held] = await claim(api, limit=1)
    ready = await api.create()
    child = await api.create(parent_job_id=ready)
    other_child = await api.create(queue_name="other")
    later = await api.create(scheduled_at="2040-01-01T00:00:00Z")
    pushed = await api.create(endpoint.url, scheduled_at="2040-01-01T00:00:00Z")
    await configure(api)

    await api.ask("DELETE", "/queues/mail?delete_jobs=true", expect=204)

    for job_id in (in_work, ready, child, later, pushed):
        assert (await api.job(job_id))["status"] == "cancelled", job_id
    assert (await api.ask("GET", f"/jobs/{first}"))[0] == 404
    assert (await api.job(done))["status"] == "completed"
    assert (await api.job(other_child))["status"] == "pending"
    # Whoever worked on it did so in vain.
    status, body, _ = await api.ask(
        "POST",
        f"/jobs/{in_work}/complete",
        json={"worker_id": "w-1", "lease_id": held["lease_id"]},
    )
    assert (status, body["code"]) == (409, "CONFLICT")
    assert await names(api) == ["other"]
    stats = await api.ask("GET", "/jobs/stats?queue=mail", expect=200)
    assert (stats["cancelled"], stats["completed"], stats["total"]) == (5, 1, 6)


async def test_many_jobs_go_in_batches(api):
    for _ in range(13):
        await api.ask(
            "POST",
            "/jobs/bulk",
            json={"queue_name": "mail", "jobs": [{"payload": 1}] * 100},
            expect=200,
        )

    await api.ask("DELETE", "/queues/mail?delete_jobs=1", expect=204)

    stats = await api.ask("GET", "/jobs/stats", expect=200)
    assert (stats["cancelled"], stats["pending"]) == (1300, 0)

"""Lists of jobs: filtered, sorted, a page at a time; and many jobs in few words."""

from itertools import chain
from urllib.parse import urlsplit

import pytest

from libs.common.ids import new_id
from tests.support.house import run_house
from tests.support.tenants import scoped, stranger


@pytest.fixture
async def house(database_url, nats_url):
    """Nobody but ingest: what waits goes on waiting."""
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def listed(api, query=""):
    return await api.ask("GET", f"/jobs?{query}", expect=200)


async def ids(api, query=""):
    return [job["id"] for job in await listed(api, query)]


async def pages(api, query):
    """Return the ids on each page, by following the headers."""
    found, path = [], f"/jobs?{query}"
    while True:
        status, jobs, headers = await api.ask("GET", path)
        assert status == 200
        found.append([job["id"] for job in jobs])
        assert headers["X-Has-More"] == ("true" if "Link" in headers else "false")
        assert ("X-Next-Cursor" in headers) == ("Link" in headers)
        if "Link" not in headers:
            return found
        target, _, relation = headers["Link"].partition("; ")
        assert relation == 'rel="next"'
        parts = urlsplit(target.strip("<>"))
        path = f"{parts.path}?{parts.query}".removeprefix("/api/v1")
        assert f"cursor={headers['X-Next-Cursor']}" in path


async def claim(api, queue="mail", limit=1):
    body = {"queue_name": queue, "worker_id": "w", "limit": limit}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


async def settle(api, job, how="complete", **fields):
    body = {"worker_id": "w", "lease_id": job["lease_id"], **fields}
    await api.ask("POST", f"/jobs/{job['id']}/{how}", json=body, expect=200)


@pytest.fixture
async def mixed(api):
    """Jobs in every state, by name."""
    made = {"completed": await api.create(priority=100)}
    [job] = await claim(api)
    await settle(api, job)
    made["deadletter"] = await api.create(priority=100)
    [job] = await claim(api)
    await settle(api, job, "fail", error="no", retry=False)
    made["retrying"] = await api.create(priority=100)
    [job] = await claim(api)
    await settle(api, job, "fail", error="again")
    made["processing"] = await api.create(priority=100)
    await claim(api)
    made["scheduled"] = await api.create(
        scheduled_at="2040-01-01T00:00:00Z", priority=-5
    )
    made["pending"] = await api.create(priority=3)
    made["waiting"] = await api.create(parent_job_id=made["pending"], priority=2)
    made["cancelled"] = await api.create()
    await api.ask("DELETE", f"/jobs/{made['cancelled']}", expect=204)
    made["elsewhere"] = await api.create(queue_name="other", priority=50)
    return made


def names_of(mixed, found):
    by_id = {job_id: name for name, job_id in mixed.items()}
    return [by_id[job_id] for job_id in found]


# --- states ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", ["elsewhere", "waiting", "pending", "retrying"]),
        ("scheduled", ["scheduled"]),
        ("processing", ["processing"]),
        ("deadletter", ["deadletter"]),
        ("completed", ["completed"]),
        ("cancelled", ["cancelled"]),
        ("failed", []),
        ("failed,processing", ["processing"]),
        (
            "pending,scheduled",
            ["elsewhere", "waiting", "pending", "scheduled", "retrying"],
        ),
        (
            "completed,pending",
            ["elsewhere", "waiting", "pending", "retrying", "completed"],
        ),
    ],
)
async def test_a_list_has_the_jobs_in_a_state_newest_first(
    api, mixed, status, expected
):
    assert names_of(mixed, await ids(api, f"status={status}")) == expected


async def test_without_a_state_or_with_one_there_is_not_it_has_all(api, mixed):
    everything = list(reversed(mixed.values()))

    assert await ids(api) == everything
    assert await ids(api, "status=sleepy") == everything


async def test_filters_narrow_both_the_history_and_the_open_jobs(api):
    tagged = await api.create(tags=["a", "b"], payload={"job_type": "Send"})
    keyed = await api.create(tags={"a": 1}, queue_name="other")
    await api.create(tags=["c"])

    for status in ("", "&status=pending", "&order_by=priority"):
        assert await ids(api, f"tag=a{status}") == [keyed, tagged]
        assert await ids(api, f"job_type=Send{status}") == [tagged]
        assert await ids(api, f"q=seN{status}") == [tagged]
        assert await ids(api, f"q=oth{status}") == [keyed]
        assert (await ids(api, f"q={tagged[:30]}{status}"))[-1:] == [tagged]
        assert await ids(api, f"queue=other{status}") == [keyed]
        assert await ids(api, f"queue_name=mail&tag=a{status}") == [tagged]


async def test_times_are_inclusive_and_exclusive(api):
    made = [await api.create() for _ in range(3)]
    middle = (await api.job(made[1]))["created_at"].replace("+", "%2B")

    for status in ("", "&status=pending", "&order_by=priority"):
        assert await ids(api, f"created_after={middle}{status}") == made[:0:-1]
        assert await ids(api, f"created_before={middle}{status}") == made[:1]
        # No job is older than its id can be.
        assert await ids(api, f"created_after=1960-01-01{status}") == made[::-1]
        assert await ids(api, f"created_before=1960-01-01{status}") == []


# --- order ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scope", ["", "&status=pending,scheduled,processing,deadletter"]
)
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    "key",
    [
        "created_at",
        "updated_at",
        "scheduled_at",
        "completed_at",
        "priority",
        "status",
        "queue_name",
        "retry_count",
    ],
)
async def test_order_by_really_sorts(api, mixed, key, direction, scope):
    jobs = await listed(api, f"order_by={key}&order_dir={direction}{scope}")

    expected = await listed(api, scope[1:])
    if key == "updated_at":
        values = {
            job["id"]: (await api.job(job["id"]))["updated_at"] for job in expected
        }
    else:
        values = {job["id"]: job[key] for job in expected}
    known = [job["id"] for job in expected if values[job["id"]] is not None]
    unknown = [job["id"] for job in expected if values[job["id"]] is None]
    # Sorting is stable: of two that are equal the newer one comes first.
    known.sort(key=values.__getitem__, reverse=direction == "desc")
    if direction == "desc":
        groups: dict[object, list[str]] = {}
        for job in expected:
            groups.setdefault(values[job["id"]], []).append(job["id"])
        known = [
            job_id
            for value in dict.fromkeys(map(values.get, known))
            for job_id in groups[value]
        ]
    assert len(jobs) == len(expected) > 3
    assert [job["id"] for job in jobs] == known + unknown


async def test_an_order_there_is_not_is_ignored(api):
    made = [await api.create() for _ in range(3)]

    assert await ids(api, "order_by=payload&order_dir=sideways") == made[::-1]


# --- pages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["", "status=pending", "order_by=created_at&order_dir=asc", "order_by=priority"],
)
async def test_cursors_lead_through_the_whole_list(api, query):
    made = [await api.create(priority=n // 2) for n in range(7)]

    found = await pages(api, f"{query}&limit=3&queue=mail")

    assert [len(page) for page in found] == [3, 3, 1]
    assert list(chain(*found)) == await ids(api, query)
    assert set(chain(*found)) == set(made)


async def test_a_cursor_does_not_slip_when_jobs_come(api):
    made = [await api.create() for _ in range(4)]
    _, first, headers = await api.ask("GET", "/jobs?limit=2")
    new = await api.create()

    rest = await ids(api, f"limit=9&cursor={headers['X-Next-Cursor']}")

    assert [job["id"] for job in first] + rest == made[::-1]
    assert new not in rest


async def test_the_last_page_says_so(api):
    for _ in range(2):
        await api.create()

    for query in ("limit=2", "limit=2&status=pending", "limit=1&offset=1"):
        _, jobs, headers = await api.ask("GET", f"/jobs?{query}")
        assert jobs
        assert headers["X-Has-More"] == "false"
        assert "X-Next-Cursor" not in headers
        assert "Link" not in headers


@pytest.mark.parametrize("cursor", ["x", "!!", "AAAA", "AAAAAA", "é", "A" * 500])
async def test_a_cursor_of_another_list_is_refused(api, cursor):
    status, body, _ = await api.ask("GET", f"/jobs?cursor={cursor}")

    assert (status, body["code"]) == (400, "BAD_REQUEST")


async def test_a_page_has_a_hundred_at_most_and_one_at_least(api):
    for _ in range(2):
        await api.ask(
            "POST",
            "/jobs/bulk",
            json={"queue_name": "mail", "jobs": [{"payload": 1}] * 60},
            expect=200,
        )

    assert len(await ids(api)) == 50
    assert len(await ids(api, "limit=1000")) == 100
    assert len(await ids(api, "limit=0")) == 1
    assert len(await ids(api, "limit=many")) == 50


async def test_the_dead_letters_are_a_list_like_the_others(api, mixed):
    _, jobs, headers = await api.ask("GET", "/jobs/dlq?order_by=priority")

    assert names_of(mixed, [job["id"] for job in jobs]) == ["deadletter"]
    assert headers["X-Has-More"] == "false"


# --- many at once ---------------------------------------------------------------------


async def test_the_state_of_many_jobs_is_told_at_once(api, mixed, database_url):
    other = await stranger(api, database_url)
    theirs = await other.create()
    asked = [mixed["completed"], str(new_id()), "none", theirs, mixed["retrying"]]

    found = await api.ask("GET", f"/jobs/status?ids={','.join(asked)}", expect=200)

    assert [job["id"] for job in found] == [mixed["completed"], mixed["retrying"]]
    done, retrying = found
    assert (done["status"], done["queue_name"]) == ("completed", "mail")
    assert done["completed_at"] >= done["started_at"] >= done["created_at"]
    assert (retrying["status"], retrying["retry_count"]) == ("pending", 1)
    assert (retrying["attempt"], retrying["max_retries"]) == (1, 3)
    assert retrying["last_error"] == "again"
    assert await api.ask("GET", "/jobs/status?ids=", expect=200) == []
    assert await api.ask("GET", "/jobs/status", expect=200) == []


async def test_no_more_than_a_hundred_are_asked_for(api):
    many = ",".join(str(new_id()) for _ in range(101))

    status, body, _ = await api.ask("GET", f"/jobs/status?ids={many}")

    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert await api.ask("GET", f"/jobs/status?ids={many[37:]}", expect=200) == []


async def test_jobs_are_counted_by_state(api, mixed):
    expected = {
        "pending": 3,
        "scheduled": 1,
        "processing": 1,
        "completed": 1,
        "failed": 0,
        "deadletter": 1,
        "cancelled": 1,
        "expired": 0,
        "total": 8,
    }

    # There is nobody who announces, and so nobody who counts: still they are exact.
    for query in ("queue_name=mail", "queue=mail"):
        assert await api.ask("GET", f"/jobs/stats?{query}", expect=200) == expected
    everything = await api.ask("GET", "/jobs/stats", expect=200)
    assert everything == {**expected, "pending": 4, "total": 9}
    nothing = await api.ask("GET", "/jobs/stats?queue=none", expect=200)
    assert set(nothing.values()) == {0}


async def test_a_key_for_some_queues_lists_and_counts_those(api, mixed):
    other = await scoped(api, "other")

    assert names_of(mixed, await ids(other)) == ["elsewhere"]
    assert names_of(mixed, await ids(other, "status=pending")) == ["elsewhere"]
    assert names_of(mixed, await ids(other, "order_by=status")) == ["elsewhere"]
    assert await ids(other, "queue=mail") == []
    stats = await other.ask("GET", "/jobs/stats", expect=200)
    assert (stats["pending"], stats["total"]) == (1, 1)
    stats = await other.ask("GET", "/jobs/stats?queue=mail", expect=200)
    assert stats["total"] == 0
    both = f"{mixed['pending']},{mixed['elsewhere']}"
    found = await other.ask("GET", f"/jobs/status?ids={both}", expect=200)
    assert names_of(mixed, [job["id"] for job in found]) == ["elsewhere"]


async def test_a_history_reads_from_either_end_and_in_pages(api, mixed):
    path = f"/jobs/{mixed['deadletter']}/history"
    status, forth, headers = await api.ask("GET", path)
    _, back, _ = await api.ask("GET", f"{path}?order_dir=desc")
    _, page, more = await api.ask("GET", f"{path}?order_dir=desc&limit=1&offset=1")

    assert (status, headers["X-Has-More"], more["X-Has-More"]) == (200, "false", "true")
    assert [row["event_type"] for row in forth] == [
        "job.created",
        "job.started",
        "job.deadlettered",
    ]
    assert back == forth[::-1]
    assert page == forth[1:2]
    assert forth[1]["details"]["waited_ms"] >= 0

"""Lists that go on, or are narrowed: nothing is lost in them, and nothing feigned."""

from playwright.async_api import expect

from tests.support.endpoints import create_endpoint

AT_ONCE = {"strategy": "schedule", "schedule_seconds": [0.01], "jitter": 0}


async def create_many(api, number, *, queue="mail"):
    """Create jobs in bulk; return their ids, the oldest first."""
    ids = []
    for at in range(0, number, 100):
        jobs = [{"payload": {"n": n}} for n in range(at, min(number, at + 100))]
        body = {"queue_name": queue, "jobs": jobs}
        made = await api.ask("POST", "/jobs/bulk", json=body, expect=200)
        ids += [one["job_id"] for one in made["succeeded"]]
    return ids


async def test_a_long_list_is_shown_on_without_a_gap_while_others_come(window, api):
    page = window.page
    first = await create_many(api, 120)
    await window.go("/jobs")
    rows = page.locator("tbody tr")
    more = page.get_by_role("button", name="Show more")
    await expect(rows).to_have_count(50)
    await more.click()
    await expect(rows).to_have_count(100)

    await create_many(api, 60)
    anew = page.get_by_role("button", name="50 or more new: show them")
    await expect(anew).to_be_visible()
    await expect(rows).to_have_count(100)
    await more.click()
    await expect(rows).to_have_count(120)
    await expect(more).to_have_count(0)
    links = await rows.locator("a.strong").evaluate_all(
        "(all) => all.map((one) => one.href.split('/').pop())"
    )
    assert sorted(links) == sorted(first)

    await anew.click()
    await expect(rows).to_have_count(50)
    await expect(anew).to_have_count(0)


async def test_attempts_at_an_endpoint_are_told_apart(window, api, endpoint):
    page = window.page
    made = await create_endpoint(api, url=endpoint.url)
    endpoint.answers = [500, 200, 200]
    for status in ("deadletter", "completed", "completed"):
        id_ = await api.create({"endpoint_id": made["id"]}, max_retries=0)
        await api.until_status(id_, status)
    await window.go(f"/endpoints/{made['id']}")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(3)
    which = page.get_by_label("Which attempts")
    await which.select_option("failed")
    await expect(rows).to_have_count(1)
    await expect(rows.locator(".badge")).to_have_text("refused")
    await which.select_option("delivered")
    await expect(rows).to_have_count(2)
    assert await which.locator("option").count() == 3


async def test_a_job_that_was_tried_often_shows_its_end_and_its_beginning(
    window, api, endpoint
):
    page = window.page
    endpoint.otherwise = 500
    id_ = await api.create(endpoint.url, max_retries=55, retry=AT_ONCE)
    await api.until_status(id_, "deadletter", at_most=60)
    await window.go(f"/jobs/{id_}")
    told = page.locator(".moment-what")
    await expect(told).to_have_count(100)
    await expect(told.last).to_have_text("Given up: a dead letter")
    await page.get_by_role("button", name="Show earlier").click()
    await expect(told.first).to_have_text("Created")
    await expect(told.last).to_have_text("Given up: a dead letter")

    attempts = page.locator(".attempts > li")
    await expect(attempts).to_have_count(50)
    await expect(attempts.first.locator(".tally")).to_have_text("56")
    await page.get_by_role("button", name="Show more").click()
    await expect(attempts).to_have_count(56)
    await expect(attempts.last.locator(".tally")).to_have_text("1")


async def test_a_rare_event_is_kept_among_many_others(window, api):
    page = window.page
    await window.go("/events")
    await page.get_by_label("Only with these words").fill("jobcreated rare")
    rows = page.locator(".tail > li")
    await api.create(queue_name="rare")
    await expect(rows).to_have_count(1)
    await create_many(api, 600)
    await api.create(queue_name="rare")
    await expect(rows).to_have_count(2)


async def test_endpoints_that_cannot_be_asked_are_not_said_to_be_well(window, api):
    page = window.page
    sick = await create_endpoint(api, description="the oldest of all")
    body = {"enabled": False}
    await api.ask("PATCH", f"/endpoints/{sick['id']}", json=body, expect=200)
    for _ in range(100):
        await create_endpoint(api)
    await window.go("/")
    failing = page.locator(".card").filter(has_text="What is failing")
    await expect(failing.locator(".rows > li")).to_have_count(1)
    await expect(failing).to_contain_text("disabled")

    fault = {"code": "UNAVAILABLE", "message": "Not now"}
    await page.route(
        "**/api/v1/endpoints*", lambda route: route.fulfill(status=503, json=fault)
    )
    await page.reload()
    await expect(failing.get_by_role("alert")).to_contain_text("Not now")
    await expect(failing).not_to_contain_text("Nothing is failing.")

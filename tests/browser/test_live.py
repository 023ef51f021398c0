"""What happens is seen without a reload: jobs, dead letters, workflows, schedules."""

import re

from playwright.async_api import expect

from tests.support import flows
from tests.support.endpoint import Answer


async def test_only_who_has_a_key_comes_in_and_who_leaves_is_out(
    house, tenant, browser, window
):
    page = window.page
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    kept = await page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    assert tenant.api_key not in kept

    await page.reload()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0

    await page.get_by_label("API key").fill("sk_live_this-is-nobodys-key-at-all")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("No such key")


async def test_a_job_is_seen_going_through(window, api, endpoint):
    page = window.page
    endpoint.answers = [Answer(503, b"not now"), Answer(200, b'{"thanks": true}')]
    await window.go("/jobs")
    await expect(page.get_by_text("No jobs yet.")).to_be_visible()

    retry = {"strategy": "schedule", "schedule_seconds": [0.5], "jitter": 0}
    id_ = await api.create(endpoint.url, payload={"order": 4711}, retry=retry)

    row = page.get_by_role("row").filter(has_text=id_[-12:])
    await expect(row.locator(".badge")).to_have_text("completed")
    await row.get_by_role("link").click()
    told = page.locator(".moment-what")
    await expect(told).to_have_text(
        [
            "Created",
            "Work begun",
            "Failed; tried again later",
            "Its time has come",
            "Work begun",
            "Completed",
        ]
    )
    attempts = page.locator(".attempts > li")
    await expect(attempts).to_have_count(2)
    await expect(attempts.first).to_contain_text("HTTP 200")
    await expect(attempts.first).to_contain_text('"thanks": true')
    await attempts.last.locator("summary").click()
    await expect(attempts.last).to_contain_text("not now")
    await expect(attempts.last).to_contain_text(endpoint.requests[0].id)
    await expect(page.get_by_role("region", name="payload")).to_contain_text("4711")


async def test_a_dead_letter_is_retried_and_a_job_says_why_it_does_not_run(
    window, api, endpoint
):
    page = window.page
    endpoint.answers = [410]
    id_ = await api.create(endpoint.url, max_retries=0)
    await api.until_status(id_, "deadletter")
    await window.go(f"/jobs/{id_}")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator("main h1 .badge")).to_have_text("completed")

    ids = [await api.create(queue_name="slow") for _ in range(3)]
    await api.ask("POST", "/queues/slow/pause", expect=200)
    await window.go(f"/jobs/{ids[2]}")
    why = page.locator(".callout")
    await expect(why).to_contain_text("paused")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel it").click()
    await expect(page.locator("main h1 .badge")).to_have_text("cancelled")
    await expect(why).to_have_count(0)


async def test_a_workflow_is_drawn_and_changes_its_colours(window, api):
    page = window.page
    made = await flows.create(
        api,
        flows.step("fetch"),
        flows.step("resize", "fetch"),
        flows.step("scan", "fetch"),
        flows.step("publish", "resize", "scan"),
    )
    await window.go(f"/workflows/{made['workflow_id']}")
    nodes = page.locator(".graph .node")
    await expect(nodes).to_have_count(4)
    await expect(page.locator(".graph .edge")).to_have_count(4)
    where = {
        (await node.text_content()).split()[0]: await node.bounding_box()
        for node in await nodes.all()
    }
    assert where["fetch"]["x"] < where["resize"]["x"] < where["publish"]["x"]
    assert where["resize"]["x"] == where["scan"]["x"]

    claimed = await flows.claim(api)
    await expect(page.get_by_role("link", name="fetch processing")).to_be_visible()
    await flows.complete(api, claimed["fetch"])
    node = page.get_by_role("link", name="fetch completed")
    await expect(node).to_have_class(re.compile("is-completed"))
    claimed = await flows.claim(api)
    await flows.complete(api, claimed["resize"])
    await flows.give_up(api, claimed["scan"])
    await expect(page.get_by_role("link", name="scan dead letter")).to_be_visible()
    await expect(page.locator("main h1 .badge")).to_have_text("failed")

    await page.evaluate("globalThis.loaded = 'once'")
    await page.get_by_role("link", name="scan dead letter").click()
    await expect(page.locator("main h1 .badge")).to_have_text("dead letter")
    assert await page.evaluate("globalThis.loaded") == "once"


async def test_a_schedule_is_triggered_and_paused(window, api):
    page = window.page
    body = {
        "name": "Nightly report",
        "queue_name": "reports",
        "cron_expression": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "payload_template": {"kind": "nightly"},
    }
    made = await api.ask("POST", "/schedules", json=body, expect=201)
    await window.go("/schedules")
    await page.get_by_role("link", name="Nightly report").click()
    fires = page.locator(".rows > li")
    await expect(fires).to_have_count(8)
    await expect(fires.first).to_contain_text("03:00")

    await page.get_by_role("button", name="Trigger now").click()
    await expect(page.get_by_role("row").filter(has_text="trigger")).to_be_visible()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("main h1 .badge")).to_have_text("paused")
    shown = await api.ask("GET", f"/schedules/{made['id']}", expect=200)
    assert shown["is_active"] is False
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("main h1 .badge")).to_have_text("active")


async def test_the_tail_of_events_can_be_narrowed_and_held(window, api):
    page = window.page
    await window.go("/events")
    await page.get_by_label("Only with these words").fill("jobcreated mail")
    await api.create(queue_name="sms")
    await api.create(queue_name="mail")
    rows = page.locator(".tail > li")
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Hold").click()
    await api.create(queue_name="mail")
    await expect(page.get_by_role("button", name="Go on (1 new)")).to_be_visible()
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Go on").click()
    await expect(rows).to_have_count(2)

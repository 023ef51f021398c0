"""What is shown is what there is: numbers, figures, requests, times to come."""

import json
from datetime import datetime, timedelta

from playwright.async_api import expect

from tests.support.endpoint import Answer
from tests.support.endpoints import create_endpoint

LARGE = 9007199254740993


async def test_a_number_is_shown_and_copied_digit_by_digit(window, api, endpoint):
    page = window.page
    await window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    endpoint.answers = [Answer(500, f'{{"seen": {LARGE}}}'.encode())]
    payload = {"order": LARGE, "share": 0.1, "parts": [1, 2.5, -LARGE]}
    id_ = await api.create(
        endpoint.url, payload=payload, tags={"order": LARGE}, max_retries=0
    )
    await api.until_status(id_, "deadletter")
    await window.go(f"/jobs/{id_}")
    shown = page.get_by_role("region", name="payload")
    assert json.loads(await shown.inner_text()) == payload
    answer = page.get_by_role("region", name="response body of attempt 1")
    await expect(answer).to_contain_text(str(LARGE))
    await expect(page.locator(".tags")).to_contain_text(f"order: {LARGE}")
    await page.get_by_role("button", name="Copy payload").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert json.loads(copied) == payload


async def test_it_copies_where_the_browser_has_no_clipboard_for_pages(window, api):
    page = window.page
    id_ = await api.create()
    await window.context.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )
    await window.go(f"/jobs/{id_}")
    await page.get_by_role("button", name="Copy the job's id").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    await page.locator("#find").focus()
    await page.keyboard.press("Control+V")
    await expect(page.locator("#find")).to_have_value(id_)


async def test_an_attempt_shows_what_was_signed(window, api, endpoint):
    page = window.page
    made = await create_endpoint(api, url=endpoint.url)
    id_ = await api.create({"endpoint_id": made["id"]})
    [request] = await endpoint.received(1)
    await api.until_status(id_, "completed")
    await window.go(f"/jobs/{id_}")
    attempt = page.locator(".attempts > li")
    await expect(attempt).to_contain_text(request.id)
    await expect(attempt).to_contain_text("v1, HMAC-SHA256")
    await expect(attempt).to_contain_text(endpoint.url)
    sent = int(request.headers["webhook-timestamp"])
    told = await attempt.locator("code").all_inner_texts()
    assert any(text.isdigit() and abs(int(text) - sent) <= 1 for text in told)


async def test_the_next_fires_are_those_that_come(window, api):
    page = window.page
    end = "2099-01-01T02:40:00Z"
    body = {
        "name": "Now and then",
        "queue_name": "reports",
        "cron_expression": "@every 50m",
        "payload_template": {},
        "start_at": "2099-01-01T00:10:00Z",
        "end_at": end,
    }
    made = await api.ask("POST", "/schedules", json=body, expect=201)
    first = datetime.fromisoformat(made["next_run_at"])
    every = [first + timedelta(minutes=50 * n) for n in range(8)]
    expected = [at for at in every if at < datetime.fromisoformat(end)]
    assert 1 < len(expected) < 5

    await window.go(f"/schedules/{made['id']}")
    fires = page.locator(".rows > li time")
    await expect(fires).to_have_count(len(expected))
    shown = await fires.evaluate_all("(all) => all.map((one) => one.dateTime)")
    assert [datetime.fromisoformat(at) for at in shown] == expected


async def test_a_plot_can_be_read_as_a_table(window, api):
    page = window.page
    await api.create()
    await window.go("/")
    plot = page.locator(".plot").first
    await plot.get_by_text("As a table").click()
    table = plot.get_by_role("table", name="Jobs a second")
    names = await table.get_by_role("columnheader").all_inner_texts()
    assert names == ["Time", "created", "completed", "failed"]
    await expect(table.locator("tbody tr")).to_have_count(12)
    await expect(table.locator("tbody tr").first.locator("td").first).to_contain_text(
        "/s"
    )

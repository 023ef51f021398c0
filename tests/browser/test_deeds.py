"""What can be done from the dashboard: to one, to those chosen, and to all of them."""

import re
from datetime import UTC, datetime, timedelta

from playwright.async_api import expect


async def test_a_secret_is_rotated_and_shown_once(window, api, endpoint):
    page = window.page
    body = {"url": endpoint.url, "description": "Shop"}
    made = await api.ask("POST", "/endpoints", json=body, expect=201)
    await window.go("/endpoints")
    await page.get_by_role("link", name=re.compile("Shop")).click()

    await page.get_by_role("button", name="Rotate secret").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Hours during which").fill("1")
    await dialog.get_by_role("button", name="Rotate", exact=True).click()
    secret = await dialog.locator(".secret code").inner_text()
    await expect(dialog).to_contain_text("The old one signs as well until")
    await dialog.get_by_role("button", name="I have it").click()
    await expect(dialog).to_have_count(0)
    assert secret not in await page.content()

    await page.get_by_role("button", name="Send a test").click()
    await dialog.get_by_role("button", name="Send", exact=True).click()
    await expect(dialog).to_contain_text("It was taken, HTTP 200")
    endpoint.requests[-1].verify(secret)
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert secret not in str(shown)


async def test_what_is_wrong_in_a_form_is_said_in_it(window, api, endpoint):
    page = window.page
    made = await api.ask("POST", "/endpoints", json={"url": endpoint.url}, expect=201)
    await window.go(f"/endpoints/{made['id']}")
    await page.get_by_role("button", name="Send a test").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Payload (JSON)").fill("{no json")
    await dialog.get_by_role("button", name="Send", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text("JSON")
    assert endpoint.requests == []
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_jobs_are_filtered_chosen_and_cancelled(window, api):
    page = window.page
    for number in range(3):
        await api.create(queue_name="mail", tags=["spring"], payload={"n": number})
    other = await api.create(queue_name="sms", tags=["autumn"])
    await window.go("/jobs")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(4)

    await page.get_by_text("Narrow down").click()
    await page.get_by_label("Tag").fill("spring")
    await page.get_by_label("Tag").press("Enter")
    await expect(rows).to_have_count(3)
    assert "tag=spring" in page.url
    await page.reload()
    await expect(rows).to_have_count(3)

    await page.get_by_role("checkbox", name="Choose all that are shown").check()
    await page.get_by_role("button", name="Cancel 3").click()
    await page.get_by_role("button", name="Cancel them").click()
    await expect(page.get_by_text("3 of 3 jobs cancelled")).to_be_visible()
    await expect(rows.filter(has_text="cancelled")).to_have_count(3)
    await page.get_by_role("button", name="pending").click()
    await expect(page.get_by_text("No job is like that.")).to_be_visible()
    await page.get_by_role("button", name="Show all jobs").click()
    await expect(rows).to_have_count(4)
    assert (await api.job(other))["status"] == "pending"


async def test_a_job_is_found_by_its_id_and_by_words(window, api):
    page = window.page
    id_ = await api.create(queue_name="invoices")
    await page.keyboard.press("/")
    await page.keyboard.type(id_)
    await page.keyboard.press("Enter")
    await expect(page.locator("main h1")).to_contain_text(id_[-12:])
    await page.keyboard.press("/")
    await page.keyboard.type("invoices")
    await page.keyboard.press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(1)


async def test_keys_are_made_and_revoked(window, api, house, tenant):
    page = window.page
    await window.go("/settings")
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name", exact=True).fill("mailer")
    await dialog.get_by_label("Queues").fill("mail, sms")
    await dialog.get_by_role("button", name="Make it").click()
    key = await dialog.locator(".secret code").inner_text()
    await dialog.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text="mailer")
    await expect(row).to_contain_text("mail, sms")
    scoped = {"Authorization": f"Bearer {key}"}
    await api.ask("GET", "/jobs", headers=scoped, expect=200)

    await row.get_by_role("button", name="Revoke").click()
    await dialog.get_by_role("button", name="Revoke it").click()
    await expect(page.get_by_text("The key is revoked")).to_be_visible()
    status, _, _ = await api.ask("GET", "/jobs", headers=scoped)
    assert status == 401
    await expect(row).to_contain_text("revoked")
    await expect(row.get_by_role("button", name="Revoke")).to_have_count(0)


async def test_a_key_has_an_end_and_a_rate(window, api):
    page = window.page
    await window.go("/settings")
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name", exact=True).fill("partner")
    await dialog.get_by_label("Good until").fill("2099-01-01T00:00")
    await dialog.get_by_label("Requests a minute").fill("60")
    await dialog.get_by_role("button", name="Make it").click()
    await dialog.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text="partner")
    await expect(row).to_contain_text("60 a minute")
    keys = await api.ask("GET", "/api-keys", expect=200)
    [made] = [key for key in keys if key["name"] == "partner"]
    assert made["rate_limit"] == 60
    assert made["expires_at"].startswith(("2098-12-31", "2099-01-01"))

    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    body = {"name": "short", "expires_at": soon}
    await api.ask("POST", "/api-keys", json=body, expect=201)
    await page.reload()
    row = page.get_by_role("row").filter(has_text="short")
    await expect(row.locator(".badge")).to_have_text("expired")


async def test_a_job_in_work_is_left_to_who_works_on_it(window, api):
    page = window.page
    id_ = await api.create(queue_name="mail")
    asked = {"queue_name": "mail", "worker_id": "w"}
    await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    await window.go(f"/jobs/{id_}")
    await expect(page.locator("main h1 .badge")).to_have_text("processing")
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    await window.go("/jobs")
    await page.get_by_role("checkbox", name=f"Choose {id_}").check()
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    await expect(cancel).to_be_disabled()


async def test_a_house_that_is_away_is_said_and_found_again(
    window, house, api, streaming
):
    page = window.page
    await window.go("/queues")
    await house.stop("ingest")
    await expect(page.locator(".standing")).to_have_text("Reconnecting")
    await page.get_by_role("link", name="Workers").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("cannot be reached")

    await house.start("ingest", **streaming)
    await expect(page.locator(".standing")).to_have_text("Live", timeout=30_000)
    await alert.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("No workers have registered.")).to_be_visible()
    await page.get_by_role("link", name="Queues").click()
    await expect(page.get_by_text("No queues yet.")).to_be_visible()
    await api.create(queue_name="after-all")
    await expect(page.get_by_role("link", name="after-all")).to_be_visible()

"""Dead letters, retried and purged: a group, those chosen, and all of them."""

import re

from playwright.async_api import expect

from tests.support.tenants import scoped
from tests.support.windows import Window


async def dead(api, number, *, queue="billing", error="card declined"):
    """Let jobs fail for good; return their ids."""
    ids = []
    for _ in range(number):
        await api.create(queue_name=queue)
    asked = {"queue_name": queue, "worker_id": "w", "limit": number}
    claimed = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    for job in claimed["jobs"]:
        end = {"worker_id": "w", "lease_id": job["lease_id"], "error": error}
        path = f"/jobs/{job['id']}/fail"
        await api.ask("POST", path, json={**end, "no_retry": True}, expect=200)
        ids.append(job["id"])
    return ids


async def test_a_group_of_dead_letters_is_purged_and_another_retried(window, api):
    page = window.page
    await dead(api, 3, error="card declined")
    kept = await dead(api, 2, queue="mail", error="no such user")
    await window.go("/dead-letters")
    await expect(page.get_by_text("5 jobs were given up.")).to_be_visible()

    await page.get_by_role("button", name=re.compile("card declined")).click()
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_role("button", name="Purge these").click()
    await page.get_by_role("button", name="Purge them").click()
    await expect(page.get_by_text("3 are purged")).to_be_visible()
    await expect(page.get_by_text("None is left of these.")).to_be_visible()
    await page.get_by_role("button", name=re.compile("no such user")).click()
    await page.get_by_role("checkbox", name=f"Choose {kept[0]}").check()
    await (
        page.get_by_role("region", name="What is chosen")
        .get_by_role("button", name="Retry")
        .click()
    )
    await page.get_by_role("button", name="Retry them").click()
    await expect(page.get_by_text("1 are tried again")).to_be_visible()
    assert (await api.job(kept[0]))["status"] == "pending"
    assert (await api.job(kept[1]))["status"] == "deadletter"


async def test_a_long_purge_shows_how_far_it_is_and_can_be_stopped(window, api):
    page = window.page
    await dead(api, 100)
    await dead(api, 100)
    await dead(api, 30)
    await window.go("/dead-letters")

    async def slowly(route):
        await page.wait_for_timeout(700)
        await route.continue_()

    await page.route("**/api/v1/jobs/dlq/purge", slowly)
    await page.get_by_role("button", name="Purge all").click()
    await page.get_by_role("button", name="Purge them").click()
    at = page.get_by_role("progressbar", name="Progress")
    await expect(at).to_have_attribute("max", "230")
    await expect(page.get_by_text("Purging: 100 of 230")).to_be_visible()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("200 are purged")).to_be_visible()
    left = await api.ask("GET", "/jobs/dlq/groups", expect=200)
    assert [group["count"] for group in left["groups"]] == [30]


async def test_how_many_are_purged_is_not_what_the_groups_happen_to_show(window, api):
    page = window.page
    await dead(api, 3, error="card declined")

    async def few(route):
        answer = await route.fetch()
        said = await answer.json()
        for group in said["groups"]:
            group["count"] = 1
        await route.fulfill(json={**said, "complete": False})

    await page.route("**/api/v1/jobs/dlq/groups*", few)
    await window.go("/dead-letters")
    await page.get_by_role("button", name="Purge all").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Purge 3 dead letters?")
    await dialog.get_by_role("button", name="Leave it").click()

    await page.get_by_role("button", name=re.compile("card declined")).click()
    await page.get_by_role("button", name="Purge these").click()
    await expect(dialog).to_contain_text("all of these dead letters, at least 1?")
    await dialog.get_by_role("button", name="Purge them").click()
    await expect(page.get_by_text("3 are purged")).to_be_visible()
    await page.unroute_all(behavior="wait")


async def test_a_key_of_some_queues_deals_with_what_is_chosen_and_with_all(
    browser, house, api
):
    letters = [await dead(api, 2, queue=queue) for queue in ("billing", "mail")]
    await dead(api, 1, queue="secret")
    own = await scoped(api, "billing", "mail")
    window = await Window.open(browser, house.base_url)
    await window.sign_in(own.tenant.api_key)
    page = window.page
    await window.go("/dead-letters")
    await expect(page.locator("tbody tr")).to_have_count(4)
    for ids in letters:
        await page.get_by_role("checkbox", name=f"Choose {ids[0]}").check()
    chosen = page.get_by_role("region", name="What is chosen")
    await chosen.get_by_role("button", name="Retry").click()
    await page.get_by_role("button", name="Retry them").click()
    await expect(page.get_by_text("2 are tried again")).to_be_visible()
    await expect(page.locator("tbody tr")).to_have_count(2)

    await page.get_by_role("button", name="Purge all").click()
    await page.get_by_role("button", name="Purge them").click()
    await expect(page.get_by_text("2 are purged")).to_be_visible()
    left = await api.ask("GET", "/jobs/dlq/groups", expect=200)
    assert [group["queue_name"] for group in left["groups"]] == ["secret"]
    await window.close()
    assert window.complaints == []

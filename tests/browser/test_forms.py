"""What is typed stays, is sent as it stands, and can be taken away again."""

from playwright.async_api import expect

from tests.support.endpoints import create_endpoint
from tests.support.waiting import until


async def test_what_is_typed_stays_while_events_come(window, api, endpoint):
    page = window.page
    made = await create_endpoint(api, url=endpoint.url)
    await window.go(f"/endpoints/{made['id']}")
    await page.get_by_role("button", name="Rate").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Deliveries a second").fill("7.5")
    await dialog.get_by_label("At the same time").fill("3")
    delivered = page.locator(".figure").filter(has_text="Delivered")
    for number in range(1, 4):
        await api.create({"endpoint_id": made["id"]})
        await expect(delivered.locator(".figure-value")).to_have_text(str(number))
    await expect(dialog.get_by_label("Deliveries a second")).to_have_value("7.5")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
    assert (shown["rate_limit_per_second"], shown["max_concurrency"]) == (7.5, 3)


async def test_a_limit_of_a_queue_is_set_and_taken_away(window, api):
    page = window.page
    await api.create(queue_name="mail")
    await window.go("/queues")
    card = page.get_by_role("region", name="Queue mail")
    dialog = page.get_by_role("dialog")

    async def limit(text):
        await card.get_by_role("button", name="Limits").click()
        await dialog.get_by_label("Jobs begun a second").fill(text)
        for number in range(2):
            await api.create(queue_name="mail", payload={"n": number})
        await expect(dialog.get_by_label("Jobs begun a second")).to_have_value(text)
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_have_count(0)
        return (await api.ask("GET", "/queues/mail", expect=200))["rate_limit"]

    assert await limit("25") == 25
    await expect(card).to_contain_text("25 jobs a second")
    assert await limit("") is None
    await expect(card).to_contain_text("none")


async def test_the_payload_of_a_test_is_sent_as_it_was_typed(window, api, endpoint):
    page = window.page
    made = await create_endpoint(api, url=endpoint.url)
    await window.go(f"/endpoints/{made['id']}")
    await page.get_by_role("button", name="Send a test").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Payload (JSON)").fill('{"id": 9007199254740993}')
    await dialog.get_by_role("button", name="Send", exact=True).click()
    await expect(dialog).to_contain_text("It was taken")

    async def sent():
        return b"9007199254740993" in endpoint.requests[-1].body

    assert await until(sent)

"""The event stream: it goes on after whatever stopped it, and rests while unseen."""

from playwright.async_api import expect

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""
REFUSAL = {"code": "UNAUTHORIZED", "message": "over"}


def answering(*statuses):
    """Return what answers a route with each status in turn."""
    left = list(statuses)

    async def answer(route):
        await route.fulfill(status=left.pop(0), json=REFUSAL)

    return answer


async def test_a_token_that_cannot_be_renewed_now_is_renewed_later(window):
    page = window.page
    await page.route("**/api/v1/events", answering(401, 401), times=2)
    await page.route("**/api/v1/auth/refresh", answering(503, 429), times=2)
    await page.reload()
    await expect(page.locator(".standing")).to_have_text("Live")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()


async def test_a_session_that_is_over_leads_to_the_door(window):
    page = window.page
    await page.route("**/api/v1/events", answering(401), times=1)
    await page.route("**/api/v1/auth/refresh", answering(401), times=1)
    await page.reload()
    await expect(page.get_by_label("API key")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_page_that_nobody_sees_lets_go_of_its_stream(window, api):
    page = window.page
    await page.clock.install()
    asked = []
    page.on(
        "request",
        lambda request: (
            asked.append(request) if request.url.endswith("/api/v1/events") else None
        ),
    )
    await window.go("/events")
    await api.create(queue_name="before")
    rows = page.locator(".tail > li")
    await expect(rows).to_have_count(1)
    assert len(asked) == 1

    await page.evaluate(HIDE, True)
    await page.clock.fast_forward(61_000)
    await expect(page.locator(".standing")).to_have_text("Reconnecting")
    await page.clock.fast_forward(61_000)
    await api.create(queue_name="meanwhile")
    assert len(asked) == 1

    await page.evaluate(HIDE, False)
    await expect(page.locator(".standing")).to_have_text("Live")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("meanwhile")
    assert await asked[1].header_value("last-event-id")

"""Everything can be done without a mouse, and one sees where one is."""

import pytest
from playwright.async_api import expect

from tests.support.scenery import furnish
from tests.support.windows import PHONE

FOCUSED = """() => {
  const one = document.activeElement;
  if (one === null || one === document.body) return null;
  const box = one.getBoundingClientRect();
  const style = getComputedStyle(one);
  const inner = getComputedStyle(one.querySelector("rect") ?? one);
  return {
    what: one.outerHTML.slice(0, 120),
    seen: box.width > 0 && box.height > 0,
    ring: style.boxShadow !== "none" || style.outlineStyle !== "none"
      || inner.strokeWidth === "2.5px",
  };
}"""
#: What can be used with a mouse.
USABLE = (
    "a[href], button:not(:disabled), input, select, textarea, summary, [tabindex='0']"
)


async def test_the_first_stop_skips_to_the_page(window):
    page = window.page
    await page.reload()
    await window.settled()
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the page")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    assert page.url.endswith("#page")


async def test_shortcuts_go_everywhere_and_the_help_says_so(window):
    page = window.page
    await page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(dialog).to_be_visible()
    keys = [
        (
            await row.locator("kbd").all_inner_texts(),
            await row.locator("dd").inner_text(),
        )
        for row in await dialog.locator("dl > div").all()
    ]
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    pages = [(key, title) for key, title in keys if key[0] == "g"]
    assert len(pages) == 10
    for (_, key), title in pages:
        await page.keyboard.press("g")
        await page.keyboard.press(key)
        await expect(page.locator("main h1")).to_have_text(title)
        await expect(page).to_have_title(f"{title} · Bellhop")
    # A letter in a field is a letter.
    await page.keyboard.press("/")
    await expect(page.locator("#find")).to_be_focused()
    await page.keyboard.type("gj?")
    await expect(page.locator("#find")).to_have_value("gj?")
    await page.keyboard.press("Escape")
    await expect(page.locator("#find")).not_to_be_focused()


async def test_rows_are_walked_and_opened(window, api):
    page = window.page
    ids = [await api.create() for _ in range(3)]
    await window.go("/jobs")
    await expect(page.locator("tbody tr")).to_have_count(3)
    for _ in range(2):
        await page.keyboard.press("j")
    await page.keyboard.press("k")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.locator("main h1")).to_contain_text(ids[1][-12:])
    await page.go_back()
    await expect(page.locator("tbody tr")).to_have_count(3)


async def test_rows_without_a_link_are_walked_as_well(window, api):
    page = window.page
    for hostname in ("a1", "b2"):
        body = {"queue_name": "mail", "hostname": hostname}
        await api.ask("POST", "/workers/register", json=body, expect=201)
    await window.go("/workers")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await page.keyboard.press("j")
    await expect(rows.first).to_be_focused()
    await page.keyboard.press("j")
    await expect(rows.last).to_be_focused()
    await window.go("/queues")
    await api.create(queue_name="mail")
    await expect(page.locator(".cards > li")).to_have_count(1)
    await page.keyboard.press("j")
    await expect(page.get_by_role("link", name="mail", exact=True)).to_be_focused()


async def test_single_keys_can_be_turned_off(window):
    page = window.page
    switch = page.get_by_role("checkbox", name="Single keys do something")
    help_ = page.get_by_role("button", name="Keyboard shortcuts")
    await help_.click()
    await switch.uncheck()
    await page.keyboard.press("Escape")
    await page.reload()
    await window.settled()
    for key in ("?", "/", "g", "q"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator("#find")).not_to_be_focused()
    await expect(page.locator("main h1")).to_have_text("Overview")

    await help_.click()
    await switch.check()
    await page.keyboard.press("Escape")
    await page.keyboard.press("g")
    await page.keyboard.press("q")
    await expect(page.locator("main h1")).to_have_text("Queues")


async def test_who_goes_to_a_page_begins_at_its_name(window, api):
    page = window.page
    id_ = await api.create(queue_name="mail")
    await page.get_by_role("link", name="Jobs", exact=True).click()
    title = page.locator("main h1")
    await expect(title).to_have_text("Jobs")
    await expect(title).to_be_focused()
    await page.locator("tbody a").click()
    await expect(title).to_contain_text(id_[-12:])
    await expect(title).to_be_focused()
    await page.go_back()
    await expect(title).to_have_text("Jobs")
    await expect(title).to_be_focused()


@pytest.fixture
async def scene(api, conn, endpoint):
    return await furnish(api, conn, endpoint)


async def test_the_tab_key_reaches_all_there_is_and_shows_where(window, scene):
    page = window.page
    lost = {}
    for name in ("overview", "job-retried", "endpoint-sick", "workflow-failed"):
        await window.go(scene.paths[name])
        stops = []
        for _ in range(150):
            await page.keyboard.press("Tab")
            stop = await page.evaluate(FOCUSED)
            if stop is None:
                break
            stops.append(stop)
        assert [one["what"] for one in stops if not one["ring"]] == []
        assert all(one["seen"] for one in stops)
        usable = page.locator(USABLE)
        count = await usable.evaluate_all(
            "(all) => all.filter((one) => one.checkVisibility()).length"
        )
        lost[name] = count - len(stops)
    assert lost == dict.fromkeys(lost, 0)


async def test_a_phone_has_a_menu(window):
    page = window.page
    await page.set_viewport_size(PHONE)
    nav = page.get_by_role("navigation", name="Pages")
    await expect(nav).to_be_hidden()
    menu = page.get_by_role("button", name="Menu")
    await menu.click()
    await expect(menu).to_have_attribute("aria-expanded", "true")
    await nav.get_by_role("link", name="Schedules").click()
    await expect(page.locator("main h1")).to_have_text("Schedules")
    await expect(nav).to_be_hidden()


async def test_colours_are_chosen_and_remembered(window):
    page = window.page
    root = page.locator("html")
    await expect(root).to_have_attribute("data-theme", "light")
    await page.get_by_role("button", name="Colours: system").click()
    await page.get_by_role("button", name="Colours: light").click()
    await expect(root).to_have_attribute("data-theme", "dark")
    await page.reload()
    await expect(root).to_have_attribute("data-theme", "dark")

"""Every page, in light and dark, on a desk and on a phone: readable, and for everybody.

``--pictures DIR`` keeps a picture of each.
"""

from pathlib import Path

import pytest

from tests.support.scenery import furnish
from tests.support.windows import DESK, PHONE, Window

DASHBOARD = Path(__file__).parents[2] / "services/streamer/dashboard"
GRAVE = {"serious", "critical"}


@pytest.fixture
def axe(built):
    """The text of axe-core, which the tool chain of the pages brings."""
    return (DASHBOARD / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture
async def scene(api, conn, endpoint):
    return await furnish(api, conn, endpoint)


async def findings(page):
    """Return what axe-core finds grave: what it is, and where."""
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], one["help"], [node["target"] for node in one["nodes"]][:4])
        for one in found["violations"]
        if one["impact"] in GRAVE
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious_and_nothing_is_cut_off(
    request, house, tenant, browser, scene, axe, theme
):
    pictures = request.config.getoption("--pictures")
    grave, wide = {}, {}
    window = await Window.open(browser, house.base_url, color_scheme=theme)
    await window.context.add_init_script(axe)
    await window.page.reload()
    grave["door"] = await findings(window.page)
    await window.sign_in(tenant.api_key)
    for name, path in scene.paths.items():
        await window.go(path)
        grave[name] = await findings(window.page)
        await picture(window, pictures, f"{name}-{theme}")
        await window.page.set_viewport_size(PHONE)
        wide[name] = await window.page.evaluate(
            "document.documentElement.scrollWidth - innerWidth"
        )
        if theme == "light":
            await picture(window, pictures, f"{name}-phone")
            grave[f"{name} on a phone"] = await findings(window.page)
        await window.page.set_viewport_size(DESK)
    await window.page.keyboard.press("?")
    grave["help"] = await findings(window.page)
    await picture(window, pictures, f"help-{theme}")
    await window.close()

    assert {name: found for name, found in grave.items() if found} == {}
    assert {name: pixels for name, pixels in wide.items() if pixels > 0} == {}
    assert window.complaints == []


async def picture(window, directory, name):
    """Keep a picture of the whole page, when pictures are wanted."""
    if directory:
        await window.page.wait_for_timeout(400)
        path = Path(directory, f"{name}.png")
        await window.page.screenshot(path=path, full_page=True)

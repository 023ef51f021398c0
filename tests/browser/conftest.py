"""Fixtures of tests that look at the dashboard: pages, a whole stack, a browser.

The pages are built before the first test, by the house's own way to build them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from libs.cli.embedded.ports import free_port
from libs.common.tokens import spelled_keys, token_keys
from tests.support.browsers import CHROMIUM, open_browser
from tests.support.house import (
    SECRET_KEY,
    assert_invariants,
    new_tenant,
    open_api,
    run_house,
)
from tests.support.watching import open_gallery
from tests.support.windows import Window

ROOT = Path(__file__).parents[2]
#: What says that a registry cannot be reached, and not that the pages are wrong.
OUT_OF_REACH = ("`npm ci` failed", "its wheel did not install")
BUILD_SECONDS_MAX = 300


def pytest_collection_modifyitems(items):
    """Without a browser nothing of this folder runs; a build may take its time."""
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(BUILD_SECONDS_MAX))
        if CHROMIUM is None:
            reason = "no chromium, chromium-browser or google-chrome here: install one"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def built():
    """The pages, built from what stands in the tree."""
    made = subprocess.run(
        [sys.executable, "libs/cli/pages.py", sys.prefix],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if any(words in made.stderr for words in OUT_OF_REACH):
        pytest.skip(f"the tool chain of the pages cannot be had: {made.stderr[-500:]}")
    assert made.returncode == 0, made.stderr


@pytest.fixture
def streaming():
    """What ingest is told of the streamer."""
    return {
        "streamer_url": f"http://127.0.0.1:{free_port()}",
        "token_key": spelled_keys(token_keys(SECRET_KEY)),
    }


@pytest.fixture
async def house(database_url, nats_url, built, streaming):
    """All five services behind one address."""
    async with (
        open_gallery(
            database_url,
            nats_url,
            http_port=int(streaming["streamer_url"].rsplit(":", 1)[1]),
            token_key=streaming["token_key"],
            system_health_seconds=1.0,
        ),
        run_house(database_url, nats_url, **streaming) as house,
    ):
        yield house
        await assert_invariants(database_url)


@pytest.fixture
async def tenant(database_url):
    """An organization with a key."""
    return await new_tenant(database_url)


@pytest.fixture
async def api(house, tenant):
    """A client of the tenant's."""
    async with open_api(house, tenant) as client:
        yield client


@pytest.fixture
async def browser():
    """A browser with no pages."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def window(house, tenant, browser):
    """A window with somebody signed in; in the end it has nothing to complain of."""
    window = await Window.open(browser, house.base_url)
    await window.sign_in(tenant.api_key)
    yield window
    await window.close()
    assert window.complaints == []

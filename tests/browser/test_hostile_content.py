"""Whatever a producer, a receiver or a worker writes is text, and never the page's.

Each text below runs `hit` if a browser takes it for more than text, and the policy of
the page must not have been needed: it reports nothing.
"""

import json

import pytest
from playwright.async_api import expect

from tests.support import flows
from tests.support.endpoint import Answer
from tests.support.waiting import until
from tests.support.windows import Window

TRICKS = (
    "<script>hit('script')</script>",
    "<img src=x onerror=hit('img')>",
    "\"><svg onload=hit('svg')>",
    "javascript:hit('url')",
    "</pre></code></style><iframe srcdoc='<script>parent.hit(1)</script>'>",
    "{{constructor.constructor('hit(1)')()}} ${hit(1)}",
    "\u202egnp.exe\ufeff\x7f<b>bold</b>",
)
TRICK = " ".join(TRICKS)
WATCH = "globalThis.hits = []; globalThis.hit = (what) => hits.push(what);"


@pytest.fixture
async def window(house, tenant, browser):
    window = await Window.open(browser, house.base_url)
    await window.context.add_init_script(WATCH)
    await window.page.reload()
    await window.sign_in(tenant.api_key)
    yield window
    await window.close()


async def unharmed(window):
    """Nothing ran, nothing was tried, and no element came from a text."""
    assert await window.page.evaluate("hits") == []
    assert window.complaints == []
    found = await window.page.evaluate(
        "document.querySelectorAll('#app :is(script, img, iframe, b > b, svg[onload])')"
        ".length"
    )
    assert found == 0
    schemes = await window.page.evaluate(
        "[...document.links].map((link) => link.protocol)"
    )
    assert set(schemes) <= {"http:"}


async def test_payloads_answers_names_and_errors_are_shown_as_text(
    window, api, endpoint
):
    page = window.page
    endpoint.otherwise = Answer(
        500,
        TRICK.encode(),
        {"X-Trick": TRICKS[1], "Content-Type": "text/html", "Link": TRICKS[3]},
    )
    sent = await api.create(
        {"url": endpoint.url, "headers": {"X-Own": TRICKS[0]}},
        payload={TRICK: TRICKS},
        tags=[TRICKS[0], TRICKS[1]],
        job_type=TRICKS[1],
        max_retries=0,
    )
    await api.until_status(sent, "deadletter")
    failed = await api.create(queue_name="work", payload=TRICK)
    asked = {"queue_name": "work", "worker_id": TRICKS[1]}
    claimed = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    end = {
        "worker_id": TRICKS[1],
        "lease_id": claimed["jobs"][0]["lease_id"],
        "error": TRICK.replace("\x7f", ""),
        "no_retry": True,
    }
    await api.ask("POST", f"/jobs/{failed}/fail", json=end, expect=200)

    await window.go(f"/jobs/{sent}")
    await expect(page.get_by_role("region", name="payload")).to_contain_text(TRICKS[0])
    body = page.get_by_role("region", name="response body of attempt 1")
    await expect(body).to_contain_text(TRICKS[4])
    headers = page.get_by_role("region", name="response headers of attempt 1")
    await expect(headers).to_contain_text(TRICKS[1])
    await unharmed(window)
    await window.go(f"/jobs/{failed}")
    await expect(page.locator(".callout")).to_contain_text(TRICKS[0])
    await unharmed(window)
    for path in ("/jobs", "/dead-letters", "/events", "/", "/queues", "/workers"):
        await window.go(path)
        await unharmed(window)
    await window.go("/dead-letters")
    await page.locator(".rows button").first.click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await unharmed(window)


async def test_names_of_everything_else_are_shown_as_text(window, api, endpoint):
    page = window.page
    flow = await flows.create(
        api, flows.step("a"), flows.step("b", "a"), name="Flow", description=TRICK
    )
    target = await api.ask(
        "POST",
        "/endpoints",
        json={"url": endpoint.url_of("/%3Cscript%3E"), "description": TRICKS[1]},
        expect=201,
    )
    body = {
        "name": TRICKS[1],
        "description": TRICK,
        "queue_name": "mail",
        "cron_expression": "0 3 * * *",
        "payload_template": {TRICKS[2]: TRICK},
    }
    timed = await api.ask("POST", "/schedules", json=body, expect=201)
    worker = {"queue_name": "mail", "hostname": TRICKS[1], "worker_type": TRICKS[0]}
    await api.ask("POST", "/workers/register", json=worker, expect=201)

    for path, text in (
        ("/workflows", TRICKS[1]),
        (f"/workflows/{flow['workflow_id']}", TRICKS[1]),
        ("/endpoints", TRICKS[1]),
        (f"/endpoints/{target['id']}", TRICKS[1]),
        ("/schedules", TRICKS[1]),
        (f"/schedules/{timed['id']}", TRICKS[1]),
        ("/workers", TRICKS[1]),
    ):
        await window.go(path)
        await expect(page.locator("main")).to_contain_text(text)
        await unharmed(window)


async def test_addresses_that_others_made_up_lead_to_nothing_bad(window):
    page = window.page
    for path in (
        "/jobs?q=%3Cscript%3Ehit(1)%3C/script%3E&status=%22%3E%3Csvg%20onload=hit(1)%3E",
        "/jobs/%3Cimg%20src=x%20onerror=hit(1)%3E",
        "/jobs/..%2F..%2Fauth%2Fme",
        "/dead-letters?queue=a%0d%0ab&error=%3Cscript%3E",
        "/endpoints/%E0%A4%A",
        "/<script>hit(1)</script>",
        "/events?filter=%3Cscript%3E#<img src=x onerror=hit(1)>",
    ):
        await page.goto(f"/dashboard{path}")
        await expect(page.locator("main")).not_to_be_empty()
        await expect(page.locator(".brand")).to_be_visible()
        await unharmed(window)


async def test_the_policy_stops_what_would_be_inline_or_from_elsewhere(
    window, endpoint
):
    page = window.page
    await page.evaluate(
        """([elsewhere]) => {
        const add = (name, set) => {
          const made = document.createElement(name);
          try { set(made); } catch (error) { console.error(String(error)); }
          document.body.append(made);
        };
        add("script", (one) => one.append("hit('inline')"));
        add("script", (one) => one.setAttribute("src", elsewhere));
        add("img", (one) => one.setAttribute("src", elsewhere));
        add("iframe", (one) => one.setAttribute("src", elsewhere));
        add("div", (one) => { one.innerHTML = "<img src=x onerror=hit('html')>"; });
        add("div", (one) => one.setAttribute("onclick", "hit('handler')"));
        document.body.lastElementChild.click();
        fetch(elsewhere).catch(() => undefined);
        }""",
        [endpoint.url],
    )

    async def stopped():
        said = "\n".join(window.complaints)
        for directive in ("img-src", "frame-src", "connect-src", "require-trusted"):
            assert f"violation of {directive}" in said, said
        for sort in ("TrustedScript", "TrustedScriptURL", "TrustedHTML"):
            assert f"'{sort}' assignment" in said, said
        return True

    await until(stopped)
    assert await page.evaluate("hits") == []
    assert endpoint.requests == []


async def test_a_script_that_was_smuggled_into_the_page_does_not_run(window):
    page = window.page

    async def smuggle(route):
        answer = await route.fetch()
        text = (await answer.text()).replace(
            "<body>",
            "<body onload=hit('onload')><script>hit('inline')</script>"
            "<style>body { color: red }</style>"
            "<script src=https://elsewhere.example/x.js></script>",
        )
        await route.fulfill(response=answer, body=text)

    await page.route("**/dashboard/queues", smuggle)
    await window.go("/queues")

    async def stopped():
        said = "\n".join(window.complaints)
        for words in (
            "script-src-elem by inline",
            "script-src-elem by https://elsewhere.example",
            "script-src-attr by inline",
            "style-src-elem by inline",
        ):
            assert f"violation of {words}" in said, said
        return True

    await until(stopped)
    assert await page.evaluate("hits") == []


async def test_no_other_page_can_frame_it(browser, house):
    window = await Window.open(browser, house.base_url)
    page = await window.context.new_page()
    await page.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(
            body=f"<iframe src={json.dumps(house.base_url)}></iframe>",
            content_type="text/html",
        ),
    )
    await page.goto("http://elsewhere.example/")
    frame = page.frames[1]
    assert await frame.locator(".door").count() == 0
    assert "chrome-error" in frame.url
    await window.close()

"""A browser watches with what it has: `EventSource`, `WebSocket`, `fetch`."""

import pytest
from aiohttp import web

from libs.cli.embedded.ports import free_port
from libs.common.store import settlement
from tests.support import stock
from tests.support.browsers import needs_chromium, open_browser
from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.watching import open_gallery, tenant

pytestmark = needs_chromium

#: A page of somebody else's: from another origin than the streams.
PAGE = """<!doctype html><title>Dashboard</title><script>
  const seen = [], opened = [];
  function watch(url) {
    const source = window.source = new EventSource(url);
    source.onopen = () => opened.push(source.readyState);
    source.onmessage = ({lastEventId, data}) =>
      seen.push([lastEventId, JSON.parse(data).type]);
  }
  function connect(url) {
    const socket = window.socket = new WebSocket(url);
    socket.onopen = () => opened.push(socket.readyState);
    socket.onmessage = (event) => seen.push(JSON.parse(event.data));
  }
  async function ask(url, headers) {
    const response = await fetch(url, {headers});
    const {value} = await response.body.getReader().read();
    return new TextDecoder().decode(value);
  }
</script>"""


@pytest.fixture
async def page():
    """An open page of a dashboard that stands somewhere else."""

    async def show(_):
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with open_browser() as browser:
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}/")
        yield page
    await runner.cleanup()


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


async def seen(page, count, *, at_most=10.0):
    async def all_seen():
        got = await page.evaluate("seen")
        assert len(got) == count, got
        return got

    return await until(all_seen, at_most=at_most)


async def opens(page, times, *, at_most=10.0):
    async def opened():
        return await page.evaluate("opened.length") >= times

    await until(opened, at_most=at_most)


def frames(words):
    """What a page sees of jobs that were completed."""
    return [
        frame
        for word in words
        for frame in (
            [f"{word.position}.1", "JobStatusChange"],
            [word.position, "JobCompleted"],
        )
    ]


async def test_an_event_source_goes_on_by_itself_where_it_was_cut_off(
    database_url, nats_url, conn, acme, page
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    port = free_port()
    query = f"token={acme.key}&queue=mail"

    async def reopened(times):
        """Open the streamer again, and wait until the page has found it."""
        async with open_gallery(database_url, nats_url, http_port=port) as gallery:
            if times == 1:
                url = f"{gallery.url}/api/v1/events?{query}"
                await page.evaluate("url => watch(url)", url)
            await opens(page, times, at_most=20)
            if times > 1:
                await seen(page, 3 * (times - 1))

    async with run_house(database_url, nats_url, services=("scheduler",)):
        # It has seen no event yet, and knows nevertheless where it began.
        await reopened(1)
        for times in (2, 3, 4):
            await stock.create(conn, line, 3)
            await reopened(times)

    rows = await conn.fetch("SELECT xid::text || '-' || seq AS mark FROM journal")
    got = await page.evaluate("seen")
    assert {mark for mark, _ in got} == {row["mark"] for row in rows}
    assert [kind for _, kind in got] == ["JobCreated"] * 9


async def test_an_event_source_of_a_job_asks_no_more_when_it_has_ended(
    database_url, nats_url, conn, acme, page
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    [job] = await stock.create(conn, line)
    [claimed] = await stock.claim(conn, line)
    await settlement.settle(conn, attempts=[stock.ended(claimed)], actor="pod")
    async with open_gallery(database_url, nats_url) as gallery:
        url = f"{gallery.url}/api/v1/events/jobs/{job}?token={acme.key}"
        await page.evaluate("url => watch(url)", url)
        [[_, kind]] = await seen(page, 1)

        async def closed():
            return await page.evaluate("source.readyState === EventSource.CLOSED")

        # It comes back once, and is told that there is no more.
        await until(closed, at_most=15)
    assert kind == "JobStatusChange"
    assert await page.evaluate("seen.length") == 1


async def test_a_websocket_and_a_fetch_of_another_origin(
    database_url, nats_url, acme, page
):
    word = acme.changed("completed", details={})
    async with open_gallery(database_url, nats_url) as gallery:
        address = gallery.url.replace("http", "ws")
        await page.evaluate(
            "url => connect(url)", f"{address}/api/v1/ws?token={acme.key}"
        )
        await opens(page, 1)
        await page.evaluate("""socket.send('{"cmd":"Subscribe","queue":"mail"}')""")
        [ping] = await seen(page, 1)
        await gallery.announce(word)
        _, *told = await seen(page, 3)
        text = await page.evaluate(
            "([url, headers]) => ask(url, headers)",
            [f"{gallery.url}/api/v1/events", acme.headers | {"Last-Event-ID": "0-0"}],
        )

    assert ping["type"] == "Ping"
    assert [[one["id"], one["type"]] for one in told] == frames([word])
    assert text.startswith(": connected")

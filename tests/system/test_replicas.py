"""Two of each service: they share the work, and nothing is sent twice."""

import asyncio
import re
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import psutil
import pytest

from libs.cli.embedded.ports import free_port
from libs.cli.service_process import tree_environment
from tests.support.house import SECRET_KEY, answers, assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.stacks import living, own_stack
from tests.support.waiting import until

FAST = {"strategy": "schedule", "schedule_seconds": [0.2], "jitter": 0}
BULK = 100
#: One of so many is refused when it comes first, and one of so many is for later.
REFUSED, LATER = 10, 7
#: Enough for the kernel to give some to each of two processes.
WATCHERS = 24
#: A figure of which each process of a service has some when it had a share of the work.
FIGURES = {
    "ingest": "bellhop_api_requests_total",
    "dispatcher": "bellhop_jobs_claimed_total",
    "delivery": "bellhop_deliveries_total",
    "scheduler": "bellhop_jobs_promoted_total",
    "streamer": "bellhop_events_heard_total",
}


class Receiver:
    """Refuses some webhooks when they come first; knows how often each must come."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self._refused: set[str] = set()
        self.expected: Counter[str] = Counter()
        endpoint.otherwise = self.answer

    def answer(self, request):
        wanted = b'"refuse": true' in request.body or b'"refuse":true' in request.body
        if wanted and request.id not in self._refused:
            self._refused.add(request.id)
            return 500
        return 204

    async def offer(self, ask, *, queue, bulks):
        """Create webhooks of every kind, and note how often each is to arrive."""
        for _ in range(bulks):
            later = datetime.now(UTC) + timedelta(seconds=1.5)
            refused = [n % REFUSED == 0 for n in range(BULK)]
            jobs = [
                {"payload": {"n": n, "refuse": refuse}}
                | ({"scheduled_at": later.isoformat()} if n % LATER == 0 else {})
                for n, refuse in enumerate(refused)
            ]
            body = {
                "queue_name": queue,
                "target": {"url": self._endpoint.url},
                "retry": FAST,
                "jobs": jobs,
            }
            made = await ask("POST", "/jobs/bulk", json=body)
            for one, refuse in zip(made["succeeded"], refused, strict=True):
                self.expected[one["job_id"]] = 1 + refuse


async def settled(database_url, jobs):
    """Wait until so many jobs are completed and nothing is under way."""
    conn = await asyncpg.connect(database_url)
    try:

        async def check():
            done = await conn.fetchval("SELECT count(*) FROM finished")
            assert done == jobs, f"{done} of {jobs}"
            return not await conn.fetchval("SELECT EXISTS (SELECT FROM leases)")

        await until(check, at_most=90)
    finally:
        await conn.close()


async def figures(file):
    """Return what each process says of its share, by its name."""
    found = {}
    async with aiohttp.ClientSession() as http:
        for name, service in file.services.items():
            url = service.health_url.replace("/health/ready", "/metrics")
            async with http.get(url) as answer:
                text = await answer.text()
            figure = FIGURES[name.partition("-")[0]]
            values = re.findall(rf"^{figure}\S* (\S+)$", text, re.MULTILINE)
            found[name] = sum(map(float, values))
    return found


@pytest.mark.timeout(240)
async def test_two_of_each_service_carry_every_webhook_exactly_once(
    tmp_path, database_url, nats_url, endpoint
):
    receiver = Receiver(endpoint)
    given = {"DATABASE_URL": database_url, "NATS_URL": nats_url}
    async with own_stack(tmp_path / "stack", **given) as stack:
        said = await stack.bellhop("start", "--replicas=2")
        assert said.code == 0, said.text
        file = stack.file
        assert len(file.services) == 10
        assert (await stack.bellhop("status")).text.count(" ready (pid") == 10
        # A connection for each request: the kernel gives each process some.
        async with aiohttp.ClientSession(
            f"{file.base_url}/api/v1/",
            headers={"Authorization": f"Bearer {file.api_key}"},
            connector=aiohttp.TCPConnector(force_close=True),
        ) as http:

            async def ask(method, path, **more):
                async with http.request(method, path.lstrip("/"), **more) as answer:
                    assert answer.ok, await answer.text()
                    return await answer.json()

            async def watch():
                async with http.get("events") as stream:
                    assert stream.ok
                    while not (await stream.content.readline()).startswith(b"id:"):
                        pass
                    await over.wait()

            over = asyncio.Event()
            watching = asyncio.gather(*(watch() for _ in range(WATCHERS)))
            await asyncio.gather(
                *(receiver.offer(ask, queue=f"q{n}", bulks=4) for n in range(5))
            )
            await settled(database_url, len(receiver.expected))
            assert Counter(endpoint.ids) == receiver.expected

            shares = await figures(file)
            assert all(shares.values()), shares
            over.set()
            await watching
            await assert_invariants(database_url)

        processes = stack.processes()
        assert (await stack.bellhop("stop")).code == 0
        assert living(processes) == []


@pytest.mark.timeout(240)
async def test_processes_that_come_and_go_in_good_order_send_nothing_twice(
    tmp_path, database_url, nats_url, tenant, endpoint
):
    receiver = Receiver(endpoint)
    names = ("ingest", "scheduler", "dispatcher", "dispatcher#2", "delivery")
    async with (
        run_processes(database_url, nats_url, logs=tmp_path, services=names) as house,
        open_api(house, tenant) as api,
    ):

        async def ask(method, path, **more):
            return await api.ask(method, path, expect=200, **more)

        async def relieve(kind):
            """Put another one in the place of one that works."""
            before = len(endpoint.requests)
            await house.start(f"{kind}#3")
            await until(lambda: len(endpoint.requests) > before, at_most=30)
            assert await house.stop(kind) == 0

        async def relieve_all():
            for kind in ("delivery", "dispatcher", "scheduler"):
                await relieve(kind)

        relieving = asyncio.create_task(relieve_all())
        while not relieving.done():
            await receiver.offer(ask, queue="mail", bulks=1)
            await asyncio.sleep(0.5)
        await relieving
        await settled(database_url, len(receiver.expected))

        assert Counter(endpoint.ids) == receiver.expected
    await assert_invariants(database_url)


async def test_serve_keeps_several_processes_and_stops_them_all(tmp_path, nats_url):
    first = free_port()
    environment = {
        **{k: v for k, v in tree_environment().items() if not k.startswith("BELLHOP_")},
        "NATS_URL": nats_url,
        "BELLHOP_SECRET_KEY": SECRET_KEY,
        "BELLHOP_HEALTH_PORT": str(first),
    }
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "libs.cli"),
        *("serve", "delivery", "--workers", "2"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    process = psutil.Process(parent.pid)

    async def both_are_ready():
        return all(
            [await answers(f"http://127.0.0.1:{port}") for port in (first, first + 1)]
        )

    try:
        await until(both_are_ready, at_most=60)
        before = process.children()
        assert len(before) == 2
        before[0].kill()
        await until(
            lambda: len(process.children()) == 2 and process.children() != before,
            at_most=30,
        )
        await until(both_are_ready, at_most=60)
        children = process.children()
    finally:
        parent.send_signal(signal.SIGTERM)
        _, said = await parent.communicate()

    assert parent.returncode == 0, said.decode()
    assert b"starting it again" in said
    assert living(children) == []

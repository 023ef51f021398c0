"""A pod whose receivers mean harm: the healthy ones notice nothing, nor does memory."""

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from statistics import median, quantiles

import psutil
import pytest

from libs.common.messages import AttemptsEnded, Delivery, Verdict
from tests.support import delivery, hostile
from tests.support.delivery import Dispatcher, job, run_dispatcher
from tests.support.processes import ROOT, run_processes
from tests.support.waiting import until

HEALTHY_PER_SECOND = 100
SECONDS = 6
#: How far the memory of a pod may grow while it is being harmed.
GROWTH_BYTES_MAX = 64 * 1024 * 1024


@asynccontextmanager
async def hostile_receivers():
    """All of them, in a process of their own: how busy they are is not the pod's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.hostile",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ports = json.loads(await process.stdout.readline())
        yield {name: hostile.url_of(name, port) for name, port in ports.items()}
    finally:
        process.kill()
        await process.wait()


class Book:
    """Who was sent to when, and what came of it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        dispatcher.commits = self._hear
        self.sent: dict[str, float] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.seconds: dict[str, float] = {}

    async def send(self, *jobs: Delivery) -> None:
        self.sent |= dict.fromkeys((one.job_id for one in jobs), time.monotonic())
        await self._dispatcher.hand_out(*jobs)

    def _hear(self, report: AttemptsEnded) -> bool:
        now = time.monotonic()
        for verdict in report.verdicts:
            self.verdicts[verdict.job_id] = verdict
            self.seconds[verdict.job_id] = now - self.sent[verdict.job_id]
        return True

    async def all_are_told(self) -> None:
        def told() -> bool:
            assert self.sent.keys() <= self.verdicts.keys()
            return True

        await until(told, at_most=30)


async def healthy_for(book: Book, url: str) -> list[str]:
    """Send to a healthy receiver at its pace; return the jobs."""
    jobs: list[str] = []
    for _ in range(SECONDS * HEALTHY_PER_SECOND // 5):
        few = [job(url) for _ in range(5)]
        jobs += [one.job_id for one in few]
        await book.send(*few)
        await asyncio.sleep(5 / HEALTHY_PER_SECOND)
    return jobs


async def harmful_for(book: Book, urls: dict[str, str]) -> dict[str, str]:
    """Send to all that mean harm, every second; return who got which job."""
    names: dict[str, str] = {}
    for _ in range(SECONDS):
        jobs = [job(url, b"{}", timeout_seconds=2) for url in urls.values()]
        names |= {one.job_id: name for one, name in zip(jobs, urls, strict=True)}
        for start in range(0, len(jobs), 8):
            await book.send(*jobs[start : start + 8])
            await asyncio.sleep(8 / len(jobs))
    return names


def figures(book: Book, jobs: list[str]) -> str:
    attempts = [book.verdicts[one].duration_ms for one in jobs]
    ways = [book.seconds[one] * 1000 for one in jobs]
    return (
        f"attempt p50 {median(attempts):.1f} ms, "
        f"p99 {quantiles(attempts, n=100)[-1]:.1f} ms; "
        f"there and back p50 {median(ways):.1f} ms, "
        f"p99 {quantiles(ways, n=100)[-1]:.1f} ms"
    )


@pytest.mark.timeout(180)
async def test_the_healthy_keep_their_pace_and_memory_stays_flat(
    database_url, nats_url, endpoint, tmp_path
):
    async with (
        hostile_receivers() as urls,
        run_dispatcher(nats_url) as dispatcher,
        run_processes(
            database_url,
            nats_url,
            logs=tmp_path,
            services=("delivery",),
            secret_key=delivery.SECRET_KEY,
        ) as processes,
    ):
        pod = psutil.Process(processes.running["delivery"].pid)
        book = Book(dispatcher)
        alone = await healthy_for(book, endpoint.url)
        # Whoever is met for the first time is remembered: that is no growth.
        await asyncio.wait_for(harmful_once(book, urls), 30)
        await book.all_are_told()
        before = pod.memory_info().rss
        used = pod.cpu_times()

        async with asyncio.TaskGroup() as group:
            healthy = group.create_task(healthy_for(book, endpoint.url))
            harmful = group.create_task(harmful_for(book, urls))
            peak = group.create_task(peak_of(pod, healthy))
        await book.all_are_told()
        seconds = sum(pod.cpu_times()[:2]) - sum(used[:2])

    print(
        f"\nhealthy, alone:              {figures(book, alone)}"
        f"\nhealthy, among {len(urls)} that harm: {figures(book, healthy.result())}"
        f"\nmemory: {before / 2**20:.0f} MiB before, "
        f"{peak.result() / 2**20:.0f} MiB at most; "
        f"processor: {seconds / SECONDS:.0%}"
    )
    assert {book.verdicts[one].status for one in alone + healthy.result()} == {200}
    assert peak.result() - before < GROWTH_BYTES_MAX
    for job_id, name in harmful.result().items():
        verdict = book.verdicts[job_id]
        assert verdict.sent, name
        if verdict.status is None:
            assert verdict.error, name
        else:
            assert verdict.status == hostile.HOSTILE[name].status, name
            assert len(verdict.body) <= 16 * 1024, name


async def harmful_once(book: Book, urls: dict[str, str]) -> None:
    jobs = [job(url, b"{}", timeout_seconds=1) for url in urls.values()]
    for start in range(0, len(jobs), 8):
        await book.send(*jobs[start : start + 8])


async def peak_of(pod: psutil.Process, until_done: "asyncio.Task[list[str]]") -> int:
    peak = 0
    while not until_done.done():
        peak = max(peak, pod.memory_info().rss)
        await asyncio.sleep(0.05)
    return peak

"""The delivery service in this process, and a dispatcher that the test plays."""

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec
from multidict import CIMultiDict

from libs.cli.embedded.ports import free_port
from libs.common import endpoints, streams
from libs.common.bus import Bus, Question, open_bus
from libs.common.ids import new_id
from libs.common.messages import (
    NULL,
    WORK,
    AttemptDeliveries,
    AttemptsEnded,
    BodyWanted,
    Delivery,
    LeasesHeld,
    Receiver,
    SealedKey,
    Verdict,
)
from libs.common.sealing import Sealer
from libs.common.server_clock import ServerClock
from services.delivery.service import serve
from services.delivery.settings import Settings
from tests.support.waiting import until

SECRET_KEY: Final = b64encode(os.urandom(32)).decode()
SEALER: Final = Sealer(SECRET_KEY)

ORGANIZATION: Final = "org-1"
#: The organization's signing secret: as it is, and as its receivers know it.
SECRET: Final = os.urandom(32)
WHSEC: Final = "whsec_" + b64encode(SECRET).decode()


def job(
    url: str, body: bytes = b'{"a": 1}', *, apart: bool = False, **fields
) -> Delivery:
    """Return one attempt to make; its body travels with the batch or *apart*."""
    return Delivery(
        **{
            "job_id": str(new_id()),
            "organization_id": ORGANIZATION,
            "attempt": 1,
            "url": url,
            "timeout_seconds": 10.0,
            "body_bytes": len(body),
            "body": NULL if apart or not body else msgspec.Raw(body),
            **fields,
        }
    )


def sealed(secret: bytes = SECRET, *, owner: str = ORGANIZATION) -> list[bytes]:
    return [SEALER.seal(secret, owner=owner)]


def receiver(endpoint_id: str, *, auth=None, tls=None, **fields) -> Receiver:
    """Return a configured endpoint, signed with `SECRET` unless told otherwise."""

    def seal(part: bytes) -> bytes:
        return SEALER.seal(part, owner=endpoint_id)

    return Receiver(
        **{
            "keys": [SealedKey(scheme="v1", sealed=seal(SECRET))],
            "auth": None if auth is None else seal(endpoints.encode(auth)),
            "tls": None if tls is None else seal(endpoints.encode(tls)),
            **fields,
        }
    )


def headers_in(lines: str) -> CIMultiDict[str]:
    """Return the headers of a request as a receiver reads their lines."""
    *every, end = lines.split("\r\n")
    assert end == ""
    headers: CIMultiDict[str] = CIMultiDict()
    for line in every:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    return headers


class Dispatcher:
    """Hands batches out and hears how they went; answers unless told not to."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.clock = ServerClock(bus, WORK)
        self.name = name
        self.reports: list[AttemptsEnded] = []
        self.held: list[LeasesHeld] = []
        self.wanted: list[BodyWanted] = []
        #: What `BodyWanted` gets, by job.
        self.bodies: dict[str, bytes] = {}
        #: Whether a report is answered: asked about each.
        self.commits: Callable[[AttemptsEnded], bool] = lambda _: True
        self._questions: asyncio.Queue[tuple[Question, bytes]] = asyncio.Queue()

    async def hand_out(
        self,
        *jobs: Delivery,
        lease_seconds: float = 8.0,
        seconds_ago: float = 0.0,
        secrets=None,
        receivers=None,
    ) -> str:
        """Send one batch, as if *seconds_ago*, and return its lease id."""
        word = AttemptDeliveries(
            lease_id=str(new_id()),
            dispatcher=self.name,
            lease_seconds=lease_seconds,
            sent_at=await self.clock.earliest() - seconds_ago,
            secrets={ORGANIZATION: sealed()} if secrets is None else secrets,
            receivers=receivers or {},
            jobs=list(jobs),
        )
        await self.send(word.encode())
        return word.lease_id

    async def send(self, data: bytes) -> None:
        """Put anything where batches go."""
        await streams.send(
            self.bus, WORK, AttemptDeliveries.subject, data, id_=str(new_id())
        )

    @property
    def verdicts(self) -> list[Verdict]:
        """Every verdict that was heard, those said twice included."""
        return [verdict for report in self.reports for verdict in report.verdicts]

    async def verdict_of(self, job: Delivery, *, at_most: float = 10.0) -> Verdict:
        def find() -> Verdict | None:
            return next((v for v in self.verdicts if v.job_id == job.job_id), None)

        found: Verdict = await until(find, at_most=at_most)
        return found

    async def holds(self, *lease_ids: str) -> None:
        """Wait until the pod names exactly these leases as ours."""

        def named() -> bool:
            assert self.held
            return set(self.held[-1].leases.get(self.name, ())) == set(lease_ids)

        await until(named)

    # --- what it hears -------------------------------------------------------------

    def hear_report(self, question: Question) -> None:
        report = AttemptsEnded.decode(question.data)
        self.reports.append(report)
        if self.commits(report):
            self._questions.put_nowait((question, b""))

    def hear_wanted(self, question: Question) -> None:
        word = BodyWanted.decode(question.data)
        self.wanted.append(word)
        body = self.bodies.get(word.job_id, b"")
        piece = body[word.offset : word.offset + word.length]
        self._questions.put_nowait((question, piece))

    async def answer(self) -> None:
        while True:
            question, data = await self._questions.get()
            await question.answer(data)


@asynccontextmanager
async def run_dispatcher(
    nats_url: str,
    name: str = "dispatcher-1",
    *,
    hears_own: bool = True,
    hears_any: bool = True,
) -> AsyncIterator[Dispatcher]:
    """Play a dispatcher until the block ends."""
    stopping = asyncio.Event()
    async with open_bus(nats_url, service="test") as bus:
        await bus.until_connected(stopping)
        dispatcher = Dispatcher(bus, name)
        hears = [
            bus.hear(LeasesHeld, dispatcher.held.append, stopping=stopping),
            bus.answer(BodyWanted.subject, dispatcher.hear_wanted, stopping=stopping),
        ]
        subjects = [AttemptsEnded.subject_of(name)] * hears_own
        subjects += [AttemptsEnded.anybody] * hears_any
        hears += [
            bus.answer(subject, dispatcher.hear_report, stopping=stopping)
            for subject in subjects
        ]
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(dispatcher.answer())
            for hearing in hears:
                group.create_task(hearing)
            yield dispatcher
            stopping.set()
            answering.cancel()


class Pod:
    """A delivery service in this process."""

    def __init__(
        self, task: asyncio.Task[None], stopping: asyncio.Event, health_port: int
    ) -> None:
        self._task = task
        self._stopping = stopping
        self._url = f"http://127.0.0.1:{health_port}"

    def stop(self) -> None:
        """Ask it to drain, as SIGTERM would."""
        self._stopping.set()

    async def stopped(self, *, at_most: float = 10.0) -> None:
        """Wait until it has drained."""
        await asyncio.wait_for(asyncio.shield(self._task), at_most)

    async def is_alive(self):
        return await self._status("/health/live") == 200

    async def is_ready(self):
        return await self._status("/health/ready") == 200

    async def is_not_ready(self):
        return await self._status("/health/ready") == 503

    async def metrics(self) -> str:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self._url}/metrics") as answer,
        ):
            return await answer.text()

    async def _status(self, path: str) -> int | None:
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(self._url + path) as answer,
            ):
                return answer.status
        except aiohttp.ClientConnectionError:
            return None


@asynccontextmanager
async def run_delivery(nats_url: str, **settings) -> AsyncIterator[Pod]:
    """Run the service until it is stopped, or cut off at the end of the block."""
    stopping, health_port = asyncio.Event(), free_port()
    knobs = Settings(
        **{
            "NATS_URL": nats_url,
            "environment": "development",
            "health_port": health_port,
            "secret_key": SECRET_KEY,
            **settings,
        }
    )
    task = asyncio.create_task(serve(knobs, stopping))
    pod = Pod(task, stopping, health_port)
    try:
        yield pod
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

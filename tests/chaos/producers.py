"""Who hands webhooks in, of every kind, with keys and without, and cancels some."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

from tests.chaos.asking import Client
from tests.chaos.limits import QUEUES
from tests.chaos.receivers import SHORT_SECONDS, TIMEOUT_SECONDS, Receivers

#: Soon, and for as long as a run may last.
RETRY: Final = {"strategy": "schedule", "schedule_seconds": [0.3, 1, 2], "jitter": 0}
PATIENT: Final = 90
LINES: Final = 3
EVENT: Final = "chaos.happened"


@dataclass
class Producer:
    """One organization's producers of webhooks."""

    client: Client
    receivers: Receivers
    luck: random.Random
    endpoints: dict[str, str] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)

    @property
    def slug(self) -> str:
        """What its keys begin with."""
        return str(self.client.tenant.id)

    async def prepare(self) -> None:
        """Configure queues; create endpoints: one takes turns, two hear of messages."""
        for queue, config in QUEUES.items():
            path = f"/queues/{queue}/config"
            configured = await self.client.surely("PUT", path, config)
            assert configured is not None
            assert configured.status == 200, configured
        fields = {"timeout_seconds": TIMEOUT_SECONDS, "retry": RETRY, "max_retries": 50}
        for name, path, types in (
            ("ordered", "/line", ["never.happens"]),
            ("first", "/steady/first", [EVENT]),
            ("second", "/flaky/second", [EVENT]),
        ):
            body = {"url": self.receivers.url(path), "event_types": types, **fields}
            answer = await self.client.surely("POST", "/endpoints", body)
            assert answer is not None
            assert answer.status == 201, answer
            self.endpoints[name] = answer.body["id"]

    async def produce(self, stopping: asyncio.Event, *, rate: float) -> None:
        """Hand in what chance has, about *rate* jobs a second, until stopped."""
        kinds: list[tuple[Callable[[], Coroutine[Any, Any, None]], float]] = [
            (self.steady, 4),
            (self.flaky, 3),
            (self.bulk, 0.4),
            (self.later, 1),
            (self.cancelled, 1),
            (self.expiring, 0.5),
            (self.hostile, 0.3),
            (self.message, 1),
        ]
        makers, weights = zip(*kinds, strict=True)
        async with asyncio.TaskGroup() as tasks:
            for line in range(LINES):
                tasks.create_task(self.keep_line(f"line {line}", stopping))
            while not stopping.is_set():
                (make,) = self.luck.choices(makers, weights)
                if not self.client.has_enough:
                    tasks.create_task(make())
                await asyncio.sleep(self.luck.expovariate(rate))

    async def steady(self) -> None:
        """A webhook without a key: handed in once, whatever comes of it."""
        body = self._body("/steady")
        answer = await self.client.once("POST", "/jobs", body)
        if answer is not None and answer.status == 201:
            self._accepted(answer.body["id"], "steady")

    async def flaky(self) -> None:
        """A webhook with a key, handed in until somebody says yes."""
        await self._create("flaky", self._body("/flaky"))

    async def later(self) -> None:
        """A webhook for in a few seconds."""
        at = datetime.now(UTC) + timedelta(seconds=self.luck.uniform(0.5, 5))
        body = self._body("/steady", scheduled_at=at.isoformat())
        await self._create("later", body)

    async def cancelled(self) -> None:
        """One for later that is cancelled: once that is answered, it never comes."""
        at = datetime.now(UTC) + timedelta(seconds=self.luck.uniform(0.2, 4))
        body = self._body("/steady", scheduled_at=at.isoformat())
        job = await self._create("cancelled", body)
        if job is None:
            return
        await asyncio.sleep(self.luck.uniform(0, 2))
        answer = await self.client.surely("DELETE", f"/jobs/{job}", None)
        if answer is not None and answer.status < 300:
            self.client.history.note("cancelled", job, asked_at=answer.asked_at)

    async def expiring(self) -> None:
        """A worker's job in a queue where nobody works: it expires."""
        at = datetime.now(UTC) + timedelta(seconds=self.luck.uniform(1, 4))
        body = {"queue_name": "nobody", "payload": {}, "expires_at": at.isoformat()}
        await self._create("expiring", body)

    async def bulk(self) -> None:
        """A dozen at once."""
        jobs = [
            {"payload": {"n": n}, "idempotency_key": self._key()} for n in range(12)
        ]
        body = {"jobs": jobs, "default_max_retries": PATIENT, **self._body("/steady")}
        del body["payload"]
        del body["max_retries"]
        answer = await self.client.surely("POST", "/jobs/bulk", body)
        if answer is None or answer.status != 200:
            return
        for made in answer.body["succeeded"]:
            key = jobs[made["index"]]["idempotency_key"]
            self._accepted(made["job_id"], "bulk", key=key)

    async def hostile(self) -> None:
        """A webhook to somebody who means harm: it is given up, and nobody suffers."""
        name = self.luck.choice(sorted(self.receivers.hostile))
        body = self._body("/", max_retries=1)
        url = self.receivers.hostile[name]
        body["target"] = {"url": url, "timeout_seconds": SHORT_SECONDS}
        await self._create("hostile", body)

    async def message(self) -> None:
        """A message to the two endpoints that hear of it."""
        key = self._key()
        body = {"event_type": EVENT, "payload": {"key": key}, "idempotency_key": key}
        answer = await self.client.surely("POST", "/messages", body)
        if answer is not None and answer.status in {200, 201}:
            self.client.history.note("message", answer.body["id"], key=key)

    async def keep_line(self, line: str, stopping: asyncio.Event) -> None:
        """Hand in jobs of one ordering key, each when the one before was answered."""
        for number in count():
            if stopping.is_set():
                return
            body = {
                "queue_name": "lines",
                "payload": {"n": number},
                "target": {"endpoint_id": self.endpoints["ordered"]},
                "ordering_key": line,
            }
            job = await self._create("line", body, line=f"{self.slug} {line}")
            if job is None:
                return
            await asyncio.sleep(self.luck.expovariate(2))

    def _body(self, path: str, **fields: Any) -> dict[str, Any]:
        return {
            "queue_name": f"hooks-{self.luck.randrange(3)}",
            "payload": {"n": next(self._numbers)},
            "target": {
                "url": self.receivers.url(path),
                "timeout_seconds": TIMEOUT_SECONDS,
            },
            "retry": RETRY,
            "max_retries": PATIENT,
            **fields,
        }

    def _key(self) -> str:
        return f"{self.slug} {next(self._numbers)}"

    async def _create(
        self, kind: str, body: dict[str, Any], *, line: str = ""
    ) -> str | None:
        """Create a job until it is answered; return its id."""
        key = self._key()
        body = {**body, "idempotency_key": key}
        answer = await self.client.surely("POST", "/jobs", body)
        if answer is None:
            return None
        assert answer.status in {200, 201}, answer
        job = str(answer.body["id"])
        self._accepted(job, kind, key=key, line=line)
        return job

    def _accepted(self, job: str, kind: str, *, key: str = "", line: str = "") -> None:
        tenant = str(self.client.tenant.id)
        self.client.history.note(
            "accepted", job, kind=kind, key=key, line=line, tenant=tenant
        )

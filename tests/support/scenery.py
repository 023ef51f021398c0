"""A day in the life of a tenant, made through the API: one of everything that is shown.

For looking at the dashboard, by eye and by machine: jobs in every state, groups of dead
letters, receivers that are well and that are not, workflows, schedules, workers, and
(in the tables that count) some hours of figures for the plots.
"""

import math
import random
from dataclasses import dataclass
from functools import partial

import asyncpg

from tests.support import flows
from tests.support.endpoint import Answer, Endpoint, Received
from tests.support.house import Api
from tests.support.waiting import until

NOW = {"strategy": "schedule", "schedule_seconds": [0.2], "jitter": 0}
LONG = {"lease_duration_secs": 3600}
ERRORS = (
    ("billing", "card_declined: insufficient funds", 7),
    ("billing", "stripe: connection reset by peer", 3),
    ("thumbnails", "cannot identify image file", 4),
    ("mail", "550 5.1.1 no such user", 2),
)


@dataclass(frozen=True)
class Scene:
    """What there is to look at, by its ids."""

    retried_id: str
    waiting_id: str
    dead_id: str
    well_id: str
    sick_id: str
    running_flow_id: str
    failed_flow_id: str
    schedule_id: str

    @property
    def paths(self) -> dict[str, str]:
        """Every page that there is, by a name."""
        return {
            "overview": "/",
            "queues": "/queues",
            "jobs": "/jobs",
            "job-retried": f"/jobs/{self.retried_id}",
            "job-waiting": f"/jobs/{self.waiting_id}",
            "job-dead": f"/jobs/{self.dead_id}",
            "dead-letters": "/dead-letters",
            "endpoints": "/endpoints",
            "endpoint-well": f"/endpoints/{self.well_id}",
            "endpoint-sick": f"/endpoints/{self.sick_id}",
            "workflows": "/workflows",
            "workflow-running": f"/workflows/{self.running_flow_id}",
            "workflow-failed": f"/workflows/{self.failed_flow_id}",
            "schedules": "/schedules",
            "schedule": f"/schedules/{self.schedule_id}",
            "workers": "/workers",
            "events": "/events",
            "settings": "/settings",
            "nowhere": "/nowhere",
        }


async def furnish(api: Api, conn: asyncpg.Connection, endpoint: Endpoint) -> Scene:
    """Let a day pass; *endpoint* answers what its paths say."""
    endpoint.otherwise = partial(_answer, endpoint)
    dead_id = await _work(api)
    well_id, sick_id = await _send(api, endpoint)
    retried_id = await api.create(
        endpoint.url_of("/moody"),
        queue_name="webhooks",
        job_type="order.paid",
        payload={"order": {"id": "ord_4711", "total": 4990, "currency": "EUR"}},
        tags=["shop", "priority"],
        retry=NOW,
    )
    for number in range(5):
        waiting_id = await api.create(
            queue_name="exports", payload={"report": number}, job_type="report.monthly"
        )
    await api.ask("POST", "/queues/exports/pause", expect=200)
    await api.create(
        queue_name="mail", scheduled_at="2099-01-01T08:00:00Z", job_type="mail.reminder"
    )
    running_flow_id, failed_flow_id = await _flow(api)
    schedule_id = await _plan(api)
    await api.until_status(retried_id, "completed")
    await _remember(conn)
    return Scene(
        retried_id=retried_id,
        waiting_id=waiting_id,
        dead_id=dead_id,
        well_id=well_id,
        sick_id=sick_id,
        running_flow_id=running_flow_id,
        failed_flow_id=failed_flow_id,
        schedule_id=schedule_id,
    )


def _answer(endpoint: Endpoint, request: Received) -> Answer:
    """Answer as the path says; the moody one takes the third."""
    if "/down" in request.path:
        return Answer(503, b'{"error": "maintenance until 16:00"}')
    before = sum(one.path == request.path for one in endpoint.requests)
    if "/moody" in request.path and before < 3:
        return Answer(500, b"upstream timed out")
    return Answer(200, b'{"received": true}', {"Content-Type": "application/json"})


async def _work(api: Api) -> str:
    """Let workers complete some jobs and fail others; return a dead letter's id."""
    for hostname, queue in (("worker-a1", "mail"), ("worker-b7", "thumbnails")):
        body = {
            "queue_name": queue,
            "hostname": hostname,
            "worker_type": "python",
            "max_concurrency": 8,
            "version": "2.4.1",
        }
        await api.ask("POST", "/workers/register", json=body, expect=201)
    dead = ""
    for queue, error, number in ERRORS:
        for n in range(number):
            dead = await api.create(
                queue_name=queue, job_type=f"{queue}.task", payload={"n": n}
            )
            await _end(api, queue, "fail", error=error, no_retry=True)
    for n in range(12):
        payload = {"to": f"user{n}@a.example"}
        await api.create(queue_name="mail", job_type="mail.welcome", payload=payload)
        if n < 8:
            await _end(api, "mail", "complete", result={"sent": True})
    await api.ask(
        "POST",
        "/jobs/claim",
        json={"queue_name": "mail", "worker_id": "worker-a1", **LONG, "limit": 2},
        expect=200,
    )
    return dead


async def _end(api: Api, queue: str, verb: str, **fields) -> None:
    asked = {"queue_name": queue, "worker_id": "worker-a1", "limit": 1}
    (job,) = (await api.ask("POST", "/jobs/claim", json=asked, expect=200))["jobs"]
    body = {"worker_id": "worker-a1", "lease_id": job["lease_id"], **fields}
    await api.ask("POST", f"/jobs/{job['id']}/{verb}", json=body, expect=200)


async def _send(api: Api, endpoint: Endpoint) -> tuple[str, str]:
    """Send messages to a receiver that is well, and to one that is not."""
    well = await api.ask(
        "POST",
        "/endpoints",
        json={
            "url": endpoint.url_of("/hooks/orders"),
            "description": "Shop backend",
            "event_types": ["order.*"],
            "rate_limit_per_second": 50,
        },
        expect=201,
    )
    sick = await api.ask(
        "POST",
        "/endpoints",
        json={
            "url": endpoint.url_of("/down/crm"),
            "description": "CRM of the sales team",
            "max_retries": 0,
        },
        expect=201,
    )
    for n in range(14):
        kind = ("order.created", "order.paid", "order.shipped")[n % 3]
        body = {"event_type": kind, "payload": {"order": n}}
        await api.ask("POST", "/messages", json=body, expect=201)

    async def failing():
        shown = await api.ask("GET", f"/endpoints/{sick['id']}", expect=200)
        fine = await api.ask("GET", f"/endpoints/{well['id']}", expect=200)
        assert shown["stats"]["failed_24h"] >= 3
        return fine["stats"]["succeeded_24h"] >= 14

    await until(failing, at_most=30)
    return well["id"], sick["id"]


async def _flow(api: Api) -> tuple[str, str]:
    """Leave a workflow half done, and another one failed."""
    steps = [
        flows.step("fetch-orders"),
        flows.step("fetch-customers"),
        flows.step("join", "fetch-orders", "fetch-customers"),
        flows.step("render-pdf", "join"),
        flows.step("render-csv", "join"),
        flows.step("upload", "render-pdf", "render-csv"),
        flows.step("notify", "upload"),
    ]
    running = await flows.create(api, *steps, name="Monthly report")
    for _ in range(2):
        for name, job in (await flows.claim(api)).items():
            if name != "render-csv":
                await flows.complete(api, job)
    asked = {"queue_name": flows.QUEUE, "worker_id": "worker-b7", **LONG}
    await api.ask("POST", "/jobs/claim", json={**asked, "limit": 9}, expect=200)
    failed = await flows.create(
        api,
        flows.step("download"),
        flows.step("scan", "download"),
        flows.step("publish", "scan"),
        name="Import of a catalogue",
    )
    await flows.complete(api, (await flows.claim(api))["download"])
    await flows.give_up(api, (await flows.claim(api))["scan"])
    return running["workflow_id"], failed["workflow_id"]


async def _plan(api: Api) -> str:
    """Make schedules; return the id of one that has fired."""
    made = {}
    for name, rule, queue in (
        ("Nightly report", "0 3 * * *", "exports"),
        ("Renewals", "*/15 8-18 * * 1-5", "billing"),
        ("Clean up", "30 2 * * 0", "mail"),
    ):
        body = {
            "name": name,
            "queue_name": queue,
            "cron_expression": rule,
            "timezone": "Europe/Berlin",
            "payload_template": {"kind": name.lower()},
        }
        made[name] = (await api.ask("POST", "/schedules", json=body, expect=201))["id"]
    for _ in range(2):
        await api.ask("POST", f"/schedules/{made['Nightly report']}/trigger")
    await api.ask("POST", f"/schedules/{made['Clean up']}/pause", expect=200)
    return str(made["Nightly report"])


async def _remember(conn: asyncpg.Connection) -> None:
    """Count what happened in the hours before, as if it had been announced then."""
    luck = random.Random(7)
    lane = await conn.fetchval("SELECT min(lane_id) FROM tallies")
    passed = await conn.fetchval(
        "SELECT extract(epoch FROM now() - date_bin('5 min', now(), '2000-01-01'))"
    )
    rows = []
    for number in range(73):
        jobs = int(900 + 500 * luck.random() + (700 if 20 < number < 30 else 0))
        if number == 0:
            jobs = int(jobs * float(passed) / 300)
        bad = int(jobs * (0.01 + 0.02 * luck.random()))
        wait, work = 40 + 30 * luck.random(), 120 + 60 * luck.random()
        more = _backlog(number) - _backlog(number + 1) if number else 0
        rows += [
            (lane, number, "created", jobs - bad + more, 0.0, 0.0),
            (lane, number, "started", jobs, 0.0, wait * jobs),
            (lane, number, "completed", jobs - bad, work * (jobs - bad), 0.0),
            (lane, number, "retrying", bad, work * bad, 0.0),
        ]
    await conn.executemany(
        "INSERT INTO tallies AS old"
        " (lane_id, bucket, transition, jobs, duration_ms, wait_ms)"
        " VALUES ($1, date_bin('5 min', now(), '2000-01-01') - $2 * interval '5 min',"
        " $3::text::transition, $4, $5, $6)"
        " ON CONFLICT (lane_id, bucket, transition) DO UPDATE"
        " SET jobs = old.jobs + excluded.jobs,"
        " duration_ms = old.duration_ms + excluded.duration_ms,"
        " wait_ms = old.wait_ms + excluded.wait_ms",
        rows,
    )


def _backlog(number: int) -> int:
    """How many jobs were open so many buckets ago: twice a wave came in."""
    return int(
        sum(
            size * math.exp(-(((number - at) / width) ** 2))
            for size, at, width in ((180, 6, 2.2), (420, 30, 5))
        )
    )
